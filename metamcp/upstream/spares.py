"""Instances that were started before anybody needed them, so that a client does not wait for a container.

A server must get the verbatim ``initialize`` of the client that it will serve. As long as all clients of late have said
the same, a spare is told so in advance and is ready; where they differ, or nobody has come yet, it is only started, and
hears the first word when it is known whose it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from metamcp.concurrency.reactor import Reactor
from metamcp.errors import AtCapacity
from metamcp.runtime.states import SETTLE_SECONDS, ChildState, backoff_seconds
from metamcp.telemetry import logs
from metamcp.upstream.connection import Listener, UpstreamConnection
from metamcp.upstream.listeners import Keeping
from metamcp.upstream.opening import Opening

_CLIENTS = 8  # that must have said the same before a spare is told so
_log = logs.get("upstream.spares")

Start = Callable[[Listener], UpstreamConnection]
"""A new instance to which nobody has spoken. Raises AtCapacity."""


class Spares:
    """Those of one server, the oldest first. Owned by the reactor's thread."""

    def __init__(self, reactor: Reactor, start: Start) -> None:
        self._reactor = reactor
        self._start = start
        self._waiting: list[UpstreamConnection] = []
        self._recent: deque[Opening] = deque(maxlen=_CLIENTS)
        self._failures = 0
        self._not_before = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def expect(self, opening: Opening) -> None:
        """A client began with ``opening``; the next one may do so, too."""
        self._recent.append(opening)

    def take(self, opening: Opening, listener: Listener) -> UpstreamConnection | None:
        """One that is good for ``opening``; it belongs to the caller now, and speaks to ``listener``."""
        fitting = [spare for spare in self._waiting if spare.alive and _fits(spare, opening)]
        if not fitting:
            self._give_up_one()
            return None
        spare = max(fitting, key=_readiness)
        self._waiting.remove(spare)
        self._hand_over(spare, opening, listener)
        self._failures = 0
        return spare

    def refill(self, wanted: int) -> None:
        """Start what is missing, end what is too much, and tell those that nobody has spoken to what is known now."""
        for spare in self._waiting[max(0, wanted) :]:
            self._end(spare, "so many spares are no longer wanted")
        while len(self._waiting) < wanted and self._reactor.clock() >= self._not_before:
            try:
                spare = self._start(Keeping())
            except AtCapacity:
                return
            spare.spare = True
            self._waiting.append(spare)
            self._settle_later(spare)
        self._open_early()

    def lost(self, spare: UpstreamConnection, jitter: float) -> bool:
        """Whether ``spare``, which ended, was one of these. That a server does not like to wait says nothing about its
        calls: only its spares back off."""
        if spare not in self._waiting:
            return False
        self._waiting.remove(spare)
        if spare.unneeded:
            return True
        self._failures += 1
        pause = backoff_seconds(self._failures, jitter)
        self._not_before = self._reactor.clock() + pause
        ended = spare.child.exit
        fields = logs.fields(
            server=spare.spec.name, failures=self._failures, reason=ended.describe() if ended else "it ended",
            retry_in=round(pause, 1),
        )  # fmt: skip
        _log.warning("spare-ended", extra=fields)
        return True

    def drop(self, reason: str) -> None:
        """End all of them, and forget what they cost."""
        for spare in tuple(self._waiting):
            self._end(spare, reason)
        self._failures, self._not_before = 0, 0.0

    # --- inside ----------------------------------------------------------------------------------------

    @property
    def _expected(self) -> Opening | None:
        first = self._recent[0] if self._recent else None
        return first if first is not None and all(first.same(other) for other in self._recent) else None

    def _open_early(self) -> None:
        expected = self._expected
        if expected is not None:
            for spare in self._waiting:
                if spare.opening is None and spare.alive:
                    spare.open(expected)

    def _give_up_one(self) -> None:
        """Clients say something else now than those for whom the spares were made ready: make others."""
        if self._waiting:
            self._end(self._waiting[0], "it was made ready for another client")

    def _end(self, spare: UpstreamConnection, reason: str) -> None:
        self._waiting.remove(spare)
        spare.close(reason)

    def _hand_over(self, spare: UpstreamConnection, opening: Opening, listener: Listener) -> None:
        kept, spare.listener, spare.spare = spare.listener, listener, False
        if spare.opening is None:
            spare.open(opening)
        elif spare.started_well:
            spare.child.become(ChildState.READY)
            listener.on_ready(spare)
        if isinstance(kept, Keeping):
            kept.tell(spare, listener)

    def _settle_later(self, spare: UpstreamConnection) -> None:
        self._reactor.call_later(SETTLE_SECONDS, lambda: self._settle(spare))

    def _settle(self, spare: UpstreamConnection) -> None:
        if spare not in self._waiting or spare.opening is not None:
            return
        if not spare.child.runs:
            self._settle_later(spare)  # the launch itself takes long
        else:
            spare.child.become(ChildState.SPARE)


def _fits(spare: UpstreamConnection, opening: Opening) -> bool:
    return spare.opening is None or spare.opening.same(opening)


def _readiness(spare: UpstreamConnection) -> int:
    return spare.started_well + (spare.opening is not None)
