"""The configuration files while the gateway runs: watched, read, judged, and taken over as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.config.live import Live
from metamcp.config.loader import Loaded, Stamp, load, stamp
from metamcp.config.plan import Licence, Plan, plan
from metamcp.errors import ConfigInvalid
from metamcp.gateway.operators import Body
from metamcp.telemetry import logs

LOOK_SECONDS = 0.5
"""Between two looks at the files. A change is read when the look after it finds nothing new: an editor may still be
writing, and a volume may replace one file after the other."""

Apply = Callable[[Loaded, Plan], None]
Tell = Callable[[Body], None]

_log = logs.get("gateway.reload")


class Reloader:
    """Owned by the reactor's thread; ``workers`` read the files, and should do nothing but what is about files of
    operators, for a file system may hang. Readings come one after the other: a wish that comes during one is met by
    the next. ``found`` is the stamp of the files that ``live`` was loaded from."""

    def __init__(
        self,
        reactor: Reactor,
        workers: Workers,
        config_dir: Path,
        live: Live,
        found: Stamp,
        licence: Licence,
        apply: Apply,
    ) -> None:
        self._reactor = reactor
        self._workers = workers  # a look and a reading at a time, and others' bounded share: the queue is never full
        self._config_dir = config_dir
        self._live = live
        self._licence = licence
        self._apply = apply
        self._read_stamp = self._seen = found
        self._expects_allowlist = found.allowlist is not None
        self._looking = self._reading = False
        self._wishes: list[tuple[str, Tell]] = []

    def watch(self) -> None:
        self._reactor.call_every(LOOK_SECONDS, self._look)

    def request(self, by: str, tell: Tell = lambda _body: None) -> None:
        """Read the files now. ``by``: why, for the log. ``tell`` gets 200 and what changed, or 422 and the mistakes."""
        self._wishes.append((by, tell))
        if not self._reading:
            self._begin()

    # --- looking ---------------------------------------------------------------------------------------

    def _look(self) -> None:
        if self._looking or self._reading:
            return
        self._looking = True

        def look() -> None:
            found = stamp(self._config_dir)
            self._reactor.call_soon(lambda: self._looked(found))

        self._workers.submit(look)

    def _looked(self, found: Stamp) -> None:
        self._looking = False
        quiet, self._seen = found == self._seen, found
        if quiet and found != self._read_stamp and not self._reading:
            self.request("the files changed")

    # --- reading ---------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._reading = True
        wishes, self._wishes = self._wishes, []
        self._workers.submit(lambda: self._read(wishes))

    def _read(self, wishes: list[tuple[str, Tell]]) -> None:
        found = stamp(self._config_dir)
        outcome: tuple[Loaded, Plan] | ConfigInvalid = ConfigInvalid(
            [("(configuration)", "could not be judged; the gateway's log has the details")]
        )
        try:
            loaded = load(self._config_dir, expects_allowlist=self._expects_allowlist)
            outcome = loaded, plan(self._live.loaded, loaded, self._licence)
        except ConfigInvalid as invalid:
            outcome = invalid
        finally:
            # Also after an error that nobody foresaw: the next wish must not wait for this one for ever.
            self._reactor.call_soon(lambda: self._over(wishes, found, outcome))

    def _over(self, wishes: list[tuple[str, Tell]], found: Stamp, outcome: tuple[Loaded, Plan] | ConfigInvalid) -> None:
        self._reading, self._read_stamp = False, found
        by = ", ".join(sorted({reason for reason, _ in wishes}))
        if isinstance(outcome, ConfigInvalid):
            body = self._refuse(outcome, by)
        else:
            body = self._take_over(*outcome, by)
            self._expects_allowlist = self._expects_allowlist or found.allowlist is not None
        for _, tell in wishes:
            tell(body)
        if self._wishes:
            self._begin()

    def _refuse(self, invalid: ConfigInvalid, by: str) -> Body:
        for path, text in self._live.refuse(invalid.problems):
            _log.error("configuration-mistake", extra=logs.fields(path=path, text=text))
        _log.warning("configuration-kept", extra=logs.fields(by=by, mistakes=len(invalid.problems)))
        return 422, {"problems": [{"path": path, "text": text} for path, text in invalid.problems]}

    def _take_over(self, loaded: Loaded, changes: Plan, by: str) -> Body:
        self._apply(loaded, changes)
        document = changes.as_json()
        named = {
            f"{kind}_{what}": ",".join(names)
            for kind, lists in document.items()
            for what, names in lists.items()
            if names
        }
        _log.info("configuration-reloaded", extra=logs.fields(by=by, **(named or {"changes": "none"})))
        return 200, document
