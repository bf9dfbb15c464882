"""The public keys of everybody who issues tokens: fetched before they are needed, renewed, and asked for anew, within
bounds, when a token names one that is not there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from metamcp.access.fetch import FetchFailed, Jwks
from metamcp.access.policy import Trust
from metamcp.concurrency.reactor import Reactor, Timer
from metamcp.concurrency.tasks import Workers
from metamcp.telemetry import logs

RENEW_SECONDS = 600.0
RETRY_FIRST, RETRY_MOST = 2.0, 60.0
FORCED_SECONDS = 10.0
"""Between two fetches for tokens with an unknown key: whoever makes up such tokens must not make us ask the issuer."""

KEPT_SECONDS = 24 * 3600.0
"""For so long keys are good after their issuer could last be asked: it may have taken one back."""

Fetch = Callable[[str, str], Jwks]
"""(issuer, source) -> keys; raises FetchFailed. Runs on a worker."""

_log = logs.get("gateway.issuers")


@dataclass(slots=True)
class _Source:
    issuer: str
    keys: Jwks | None = None
    fetched: float = 0.0
    forced: float = -FORCED_SECONDS
    failures: int = 0
    under_way: bool = False
    next: Timer | None = None
    waiting: list[Callable[[], None]] = field(default_factory=list)


class Issuers:
    """Owned by the reactor's thread. ``changed`` is called when the keys of some source are others."""

    def __init__(self, reactor: Reactor, workers: Workers, fetch: Fetch, changed: Callable[[], None]) -> None:
        self._reactor = reactor
        self._workers = workers
        self._fetch = fetch
        self._changed = changed
        self._sources: dict[str, _Source] = {}

    @property
    def jwks(self) -> dict[str, Jwks]:
        """By source; those that have not been had yet are missing."""
        return {name: source.keys for name, source in self._sources.items() if source.keys is not None}

    def follow(self, trusts: Mapping[str, Trust]) -> None:
        """Be what is configured now. ``trusts`` are by source."""
        for name in self._sources.keys() - trusts.keys():
            self._cancel(self._sources.pop(name))
        for name, trust in trusts.items():
            known = self._sources.get(name)
            if known is None or known.issuer != trust.issuer:
                if known is not None:
                    self._cancel(known)
                self._sources[name] = _Source(trust.issuer)
                self._begin(name)

    def renew(self, name: str, done: Callable[[], None]) -> None:
        """A token names a key of ``name`` that is not there: ``done`` when the keys have been asked for, at once where
        that is not to be done again so soon."""
        source = self._sources.get(name)
        if source is None:
            done()
            return
        now = self._reactor.clock()
        if not source.under_way and now - source.forced < FORCED_SECONDS:
            done()
            return
        source.waiting.append(done)
        if not source.under_way:
            source.forced = now
            self._begin(name)

    def _begin(self, name: str) -> None:
        source = self._sources[name]
        self._cancel(source)
        source.under_way = True

        def run() -> None:
            found: Jwks | FetchFailed = FetchFailed("the keys could not be read; the lines before this one say why")
            try:
                found = self._fetch(source.issuer, name)
            except FetchFailed as failed:
                found = failed
            finally:
                # Also after an error that nobody foresaw: nobody may wait for it for ever.
                self._reactor.call_soon(lambda: self._over(name, source, found))

        if not self._workers.submit(run):
            self._over(name, source, FetchFailed("too much is going on; it is tried again"))

    def _over(self, name: str, source: _Source, found: Jwks | FetchFailed) -> None:
        source.under_way = False
        if self._sources.get(name) is source:
            before = source.keys
            if isinstance(found, FetchFailed):
                pause = self._failed(name, source, found)
            else:
                pause = self._fetched(source, found)
            source.next = self._reactor.call_later(pause, lambda: self._begin(name))
            if source.keys != before:
                self._changed()
        waiting, source.waiting = source.waiting, []
        for done in waiting:
            done()

    def _fetched(self, source: _Source, keys: Jwks) -> float:
        """Seconds until the next time."""
        if source.keys != keys:
            _log.info("issuer-keys", extra=logs.fields(issuer=source.issuer, keys=len(keys)))
        source.keys, source.fetched, source.failures = keys, self._reactor.clock(), 0
        return RENEW_SECONDS

    def _failed(self, name: str, source: _Source, reason: FetchFailed) -> float:
        """Seconds until the next time."""
        source.failures += 1
        if source.keys is not None and self._reactor.clock() - source.fetched > KEPT_SECONDS:
            source.keys = None
        effect = "its tokens are refused" if source.keys is None else "its former keys are used"
        _log.warning(
            "issuer-not-asked", extra=logs.fields(issuer=source.issuer, source=name, reason=reason, effect=effect)
        )
        return float(min(RETRY_FIRST * 2 ** min(source.failures - 1, 10), RETRY_MOST))

    @staticmethod
    def _cancel(source: _Source) -> None:
        if source.next is not None:
            source.next.cancel()
            source.next = None
