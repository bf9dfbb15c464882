"""Whether a server may be started now: a circuit breaker over its starts. Pure; time and jitter come in.

Closed: every call may start an instance. Open: the last start failed, and the next one is not before its time
(BACKOFF), or many failed in a row (FATAL). Half-open: the time of a FATAL server has come, and one instance is tried;
if it starts, everything is forgiven.
"""

from __future__ import annotations

from dataclasses import dataclass

from metamcp.errors import MetaMCPError, ServerUnavailable, server_unavailable
from metamcp.runtime.states import FATAL_AFTER, HALF_OPEN_SECONDS, ServerState, backoff_seconds

_TRY_SECONDS = 1.0  # before somebody who was refused during a try asks again


@dataclass(slots=True)
class Breaker:
    """Of one server. ``not_before``: monotonic seconds. ``refused``: what only an operator can change (policy, a
    missing secret); it is asked again at each call, which costs no container."""

    server: str
    failures: int = 0
    not_before: float = 0.0
    reason: str = ""
    refused: MetaMCPError | None = None
    trying: bool = False

    def refusal(self, now: float) -> ServerUnavailable | None:
        """Why no instance can be started now; None: one can."""
        state = self.state(now)
        if state is ServerState.BACKOFF:
            return self._unavailable(state, "next start", self.not_before - now)
        if self._given_up:
            return self._unavailable(ServerState.FATAL, "next try", max(0.0, self.not_before - now))
        return None

    def next_try(self, now: float) -> float | None:
        """When a server that cannot be started now can be (monotonic); None: it can, or only an operator can help."""
        waits = self._given_up or self.state(now) is ServerState.BACKOFF
        return self.not_before if waits else None

    def due(self, now: float) -> bool:
        """A FATAL server is to be tried."""
        return self._given_up and not self.trying and now >= self.not_before

    def failed(self, now: float, reason: str, jitter: float, forgivable: bool = False) -> None:
        """``forgivable``: the instance had started well. The first such death costs nothing: the next call gets a new
        one at once."""
        self.failures += 1
        self.reason, self.trying = reason, False
        if self._given_up:
            self.not_before = now + HALF_OPEN_SECONDS
        elif not forgivable or self.failures > 1:
            self.not_before = now + backoff_seconds(self.failures, jitter)

    def refuse(self, error: MetaMCPError) -> None:
        self.refused, self.reason, self.trying = error, error.told, False

    def started(self) -> None:
        """An instance answers. Those that die soon after are still counted, until one has lived (``lived``)."""
        self.refused, self.reason = None, ""
        if self._given_up:
            self.reset()

    def lived(self) -> None:
        self.failures, self.trying = 0, False

    def reset(self) -> None:
        """By hand, or because what was wrong is known to be over."""
        self.failures, self.not_before, self.reason, self.refused, self.trying = 0, 0.0, "", None, False

    def state(self, now: float) -> ServerState:
        """Of a server without instances."""
        if self.refused is not None or self._given_up:
            return ServerState.FATAL
        return ServerState.BACKOFF if self.not_before > now else ServerState.IDLE

    @property
    def _given_up(self) -> bool:
        return self.failures >= FATAL_AFTER

    def _unavailable(self, state: ServerState, what: str, wait: float) -> ServerUnavailable:
        when = "it is being tried now" if self.trying else f"{what} in {wait:.1f} s"
        wait = max(wait, _TRY_SECONDS) if self.trying else wait
        return server_unavailable(self.server, state, f"{self.reason}; {when}", int(wait * 1000) + 1)
