"""Whose lists are read next: a few servers at a time, those first that a client waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from metamcp.concurrency.reactor import Reactor, Timer

MOST_READINGS = 4
"""Readings under way at once. A client's own start so waits for a few of ours at most, never for a hundred."""

PATIENCE_SECONDS = 5.0
"""A reading that takes longer counts no more: one that hangs must not hold up the others."""

MOST_AT_ALL = 8
"""Counting or not: where every start takes long, the machine is too busy, and more of them would make it worse."""


class ReadingOrder:
    """Owned by the reactor's thread. ``begin(server)`` is called when it is the server's turn."""

    def __init__(self, reactor: Reactor, begin: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._begin = begin
        self._waiting: dict[str, None] = {}  # in the order of their turns
        self._under_way: set[str] = set()
        self._counting: dict[str, Timer] = {}  # of those under way
        self._looping = False

    def add(self, server: str) -> None:
        self._waiting[server] = None
        self._next()

    def hurry(self, servers: Iterable[str]) -> None:
        """A client waits for ``servers``: those of them that have not begun come before all others."""
        first = {name: None for name in servers if name in self._waiting}
        self._waiting = first | self._waiting

    def over(self, server: str) -> None:
        """Its reading has ended, or is not wanted any more."""
        self._waiting.pop(server, None)
        self._under_way.discard(server)
        self._count_no_more(server)

    def _next(self) -> None:
        """A loop, not a recursion: ``begin`` may call ``over`` before it returns."""
        if self._looping:
            return
        self._looping = True
        try:
            while self._waiting and len(self._counting) < MOST_READINGS and len(self._under_way) < MOST_AT_ALL:
                self._start(next(iter(self._waiting)))
        finally:
            self._looping = False

    def _start(self, server: str) -> None:
        del self._waiting[server]
        self._under_way.add(server)
        self._counting[server] = self._reactor.call_later(PATIENCE_SECONDS, lambda: self._count_no_more(server))
        self._begin(server)

    def _count_no_more(self, server: str) -> None:
        timer = self._counting.pop(server, None)
        if timer is not None:
            timer.cancel()
        self._next()
