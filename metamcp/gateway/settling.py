"""Who waits for the first answers of servers; and one word about all that changed in a turn, not one for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from metamcp.concurrency.reactor import Reactor


@dataclass(slots=True, eq=False)
class _Waiter:
    servers: frozenset[str]
    callback: Callable[[], None]
    done: bool = False


class Settling:
    """Owned by the reactor's thread. Who waits is called after ``on_change`` has been told, so that it sees the lists
    that it waited for."""

    def __init__(
        self, reactor: Reactor, settled: Callable[[str], bool], on_change: Callable[[frozenset[str]], None]
    ) -> None:
        self._reactor = reactor
        self._settled = settled
        self._on_change = on_change
        self._changed: set[str] = set()
        self._waiters: list[_Waiter] = []

    def changed(self, server: str) -> None:
        """At a start a hundred servers become known in one turn; to merge their lists costs the more the more there
        are, so that is done once."""
        if not self._changed:
            self._reactor.call_soon(self._tell)
        self._changed.add(server)

    def wait(self, servers: frozenset[str], timeout: float, callback: Callable[[], None]) -> None:
        """Call back once: when all of ``servers`` are settled, or after ``timeout`` seconds."""
        if not self._changed and all(map(self._settled, servers)):
            callback()
            return
        waiter = _Waiter(servers, callback)
        self._waiters.append(waiter)
        self.wake()
        if not waiter.done:
            self._reactor.call_later(timeout, lambda: self._release(waiter))

    def wake(self) -> None:
        """Something settled."""
        if self._changed:
            return  # first things first
        for waiter in tuple(self._waiters):
            if all(map(self._settled, waiter.servers)):
                self._release(waiter)

    def _tell(self) -> None:
        changed, self._changed = frozenset(self._changed), set()
        self._on_change(changed)
        self.wake()

    def _release(self, waiter: _Waiter) -> None:
        if not waiter.done:
            waiter.done = True
            self._waiters.remove(waiter)
            waiter.callback()
