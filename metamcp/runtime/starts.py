"""Whose turn it is to start: a machine that starts a hundred containers at once starts none of them in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from metamcp.concurrency.reactor import Reactor
from metamcp.runtime.child import Child
from metamcp.runtime.states import ChildState

START_SECONDS = 3.0
"""A start is over when the server has answered, or after so long: one that hangs must not hold up the others."""

_MOST_WAITING = 1024
_STARTED = (ChildState.SPARE, ChildState.READY, ChildState.EXITED)


class Starts:
    """Owned by the reactor's thread. At most ``most`` starts are under way, over all servers; the others wait in the
    order in which they came."""

    def __init__(self, reactor: Reactor, most: int) -> None:
        self._reactor = reactor
        self._most = most
        self._waiting: deque[tuple[Child, Callable[[], None]]] = deque()
        self._under_way: set[Child] = set()

    @property
    def free(self) -> int:
        """Starts that could begin at once."""
        return 0 if self._waiting else self._most - len(self._under_way)

    def add(self, child: Child, begin: Callable[[], None]) -> bool:
        """Call ``begin`` when it is the turn of ``child``, unless that has ended by then. False: too many wait."""
        if len(self._waiting) >= _MOST_WAITING:
            return False
        child.queued = True
        child.on_change = lambda: self._changed(child)
        self._waiting.append((child, begin))
        self._next()
        return True

    def _next(self) -> None:
        while self._waiting and len(self._under_way) < self._most:
            child, begin = self._waiting.popleft()
            if child.state is ChildState.STARTING:
                self._begin(child, begin)

    def _begin(self, child: Child, begin: Callable[[], None]) -> None:
        self._under_way.add(child)
        self._reactor.call_later(START_SECONDS, lambda: self._over(child))
        child.queued = False
        begin()

    def _changed(self, child: Child) -> None:
        if child.state in _STARTED:
            self._over(child)

    def _over(self, child: Child) -> None:
        if child in self._under_way:
            self._under_way.remove(child)
            self._next()
