"""Which eras of the protocol a server speaks: asked once on a disposable instance, remembered with its date.

Asking can end a server or fix it on one era (2026-07-28, Versioning: clients that speak both), so an instance that
was asked is never used for anything else. A verdict is kept by what the server is: its image and its configuration.
Nobody can see from outside that a plain process or a remote server has become another one, so what is kept of those
is presumed only until they have been asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from metamcp.concurrency.reactor import Reactor
from metamcp.config.model import ServerSpec
from metamcp.errors import MetaMCPError
from metamcp.protocol import jsonrpc
from metamcp.protocol.versions import HANDSHAKE
from metamcp.telemetry import logs
from metamcp.upstream.connection import UpstreamConnection
from metamcp.upstream.listeners import Deaf
from metamcp.upstream.opening import Opening, SpokenEra, handshake, own_hello, stateless, supported_versions
from metamcp.upstream.pool import UpstreamPool
from metamcp.upstream.roster import PROBE

PROBE_SECONDS = 10.0
"""Silence for so long counts as "not this era". It may have been a slow start, so it is not remembered on disk."""

REMEMBERED_DAYS = 30.0
_DAY = 86400.0
_UNSUPPORTED_VERSION = -32022

_log = logs.get("upstream.era")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``eras`` that a server speaks; ``at``: Unix seconds."""

    eras: tuple[SpokenEra, ...]
    at: float


@dataclass(frozen=True, slots=True)
class _Finding:
    """What asking came to. ``spoke``: None when the server could not be asked, for the reason in ``error``."""

    spoke: bool | None
    certain: bool = True
    versions: tuple[str, ...] = ()
    error: MetaMCPError | None = None


Found = Callable[[MetaMCPError | None], None]
Identify = Callable[[ServerSpec], str]
"""What a server's verdict is remembered by, or "" when it must not be."""


class Eras:
    """Owned by the reactor's thread. ``remembered`` is what was kept; ``keep`` stores all of it anew, elsewhere."""

    def __init__(
        self,
        reactor: Reactor,
        pool: UpstreamPool,
        identify: Identify,
        wall: Callable[[], float],
        remembered: Mapping[str, Verdict],
        keep: Callable[[Mapping[str, Verdict]], None],
    ) -> None:
        self._reactor = reactor
        self._pool = pool
        self._identify = identify
        self._wall = wall
        self._remembered = dict(remembered)
        self._keep = keep
        self._spoken: dict[str, Verdict] = {}
        self._identities: dict[str, str] = {}
        self._asked: dict[str, ServerSpec] = {}  # the latest that was asked for; what older ones say is late
        self._listener = Deaf()

    def speaks(self, spec: ServerSpec, era: SpokenEra) -> bool:
        """By configuration or verdict; a server that was never asked is taken for one with a handshake."""
        return era in self._eras(spec)

    def verdict(self, server: str) -> Verdict | None:
        return self._spoken.get(server)

    def preferred(self, spec: ServerSpec) -> SpokenEra:
        """The newest era that the server speaks."""
        return "modern" if self.speaks(spec, "modern") else "legacy"

    def nearest(self, spec: ServerSpec, era: SpokenEra) -> SpokenEra:
        """``era`` if the server speaks it, so that nothing has to be translated; else the other one."""
        return era if self.speaks(spec, era) else self.preferred(spec)

    def presume(self, spec: ServerSpec) -> None:
        """Take for true what is remembered, however old, so that nobody has to wait."""
        identity = self._identify(spec)
        verdict = self._remembered.get(identity)
        if verdict is not None:
            self._identities[spec.name], self._spoken[spec.name] = identity, verdict

    def find(self, spec: ServerSpec, found: Found, anew: bool = False) -> None:
        """Call back when the eras of ``spec`` are known, or with the reason why it could not be asked. ``anew``: ask,
        whatever is known; until the answer is there, that holds."""
        identity = self._identify(spec)
        if spec.era != "auto" or (not anew and self._is_known(spec, identity)):
            found(None)
            return
        self._identities[spec.name] = identity
        self._asked[spec.name] = spec
        self._ask(spec, stateless(), lambda finding: self._discovered(spec, finding, found))

    def forget(self, server: str) -> None:
        """Its configuration is another one. Whoever waits for a verdict on the former one is not called back."""
        for known in (self._spoken, self._identities, self._asked):
            known.pop(server, None)

    def confirm(self, spec: ServerSpec, era: SpokenEra) -> None:
        """``era`` was spoken: a verdict that was only a guess is one to remember now."""
        verdict = self._spoken.get(spec.name)
        if verdict is not None and era in verdict.eras:
            self._remember(spec, verdict)

    def objected(self, spec: ServerSpec, objection: bytes) -> bool:
        """The server refused the handshake with ``objection``. True when that shows that it speaks the newer era
        alone, which is known from now on (2026-07-28, Versioning: UnsupportedProtocolVersionError)."""
        if spec.era != "auto" or self.speaks(spec, "modern") or jsonrpc.error_code(objection) != _UNSUPPORTED_VERSION:
            return False
        self._learn(spec, ("modern",), certain=True)
        return True

    # --- inside ----------------------------------------------------------------------------------------

    def _eras(self, spec: ServerSpec) -> tuple[SpokenEra, ...]:
        if spec.era != "auto":
            return (spec.era,)
        verdict = self._spoken.get(spec.name)
        return verdict.eras if verdict else ("legacy",)

    def _late(self, spec: ServerSpec) -> bool:
        return self._asked.get(spec.name) is not spec

    def _is_known(self, spec: ServerSpec, identity: str) -> bool:
        """Of what the server is now, not of what it was. A verdict that is kept is good for a time only."""
        verdict = self._remembered.get(identity)
        if verdict is not None and self._wall() - verdict.at < REMEMBERED_DAYS * _DAY:
            self._identities[spec.name], self._spoken[spec.name] = identity, verdict
            return True
        known = spec.name in self._spoken and self._identities.get(spec.name) == identity
        return known and verdict is None

    def _discovered(self, spec: ServerSpec, finding: _Finding, found: Found) -> None:
        if self._late(spec):
            return
        if finding.spoke is None:
            found(finding.error)
        elif not finding.spoke:
            self._learn(spec, ("legacy",), finding.certain)
            found(None)
        elif HANDSHAKE.keys() & set(finding.versions):
            self._learn(spec, ("legacy", "modern"), certain=True)
            found(None)
        else:
            self._ask(spec, handshake(own_hello()), lambda other: self._greeted(spec, other, found))

    def _greeted(self, spec: ServerSpec, finding: _Finding, found: Found) -> None:
        if self._late(spec):
            return
        self._learn(spec, ("legacy", "modern") if finding.spoke else ("modern",), finding.certain)
        found(None)

    def _ask(self, spec: ServerSpec, opening: Opening, over: Callable[[_Finding], None]) -> None:
        try:
            connection = self._pool.lease(spec, f"{PROBE}-{opening.era}", opening, self._listener)
        except MetaMCPError as error:
            over(_Finding(None, error=error))
            return
        timer = self._reactor.call_later(PROBE_SECONDS, lambda: connection.close(f"silent for {PROBE_SECONDS:g} s"))

        def answered(error: MetaMCPError | None) -> None:
            timer.cancel()
            connection.close("it was only asked which era it speaks")
            over(_finding(connection, error))

        connection.when_ready(answered)

    def _learn(self, spec: ServerSpec, eras: tuple[SpokenEra, ...], certain: bool) -> None:
        verdict = Verdict(eras, self._wall())
        self._spoken[spec.name] = verdict
        _log.info("era-found", extra=logs.fields(server=spec.name, eras="+".join(eras), certain=certain))
        if certain:
            self._remember(spec, verdict)

    def _remember(self, spec: ServerSpec, verdict: Verdict) -> None:
        identity = self._identities.get(spec.name)
        if identity and self._remembered.get(identity) != verdict:
            old = self._wall() - REMEMBERED_DAYS * _DAY
            self._remembered = {key: kept for key, kept in self._remembered.items() if kept.at >= old}
            self._remembered[identity] = verdict
            self._keep(dict(self._remembered))


def _finding(connection: UpstreamConnection, error: MetaMCPError | None) -> _Finding:
    if error is None:
        return _Finding(True, versions=supported_versions(connection.server_says))
    if connection.objection:
        return _Finding(False)
    if connection.child.error is not None or connection.engine_refused:
        return _Finding(None, error=error)
    return _Finding(False, certain=False)  # it ended, or was silent; perhaps for another reason

