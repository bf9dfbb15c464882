"""How much memory each child uses, as read a moment ago: reading takes two files for each, so a worker does it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.runtime.child import Child

FRESH_SECONDS = 5.0
"""So old a reading may be for whoever watches."""

Read = Callable[[Child], int | None]
"""Bytes in use; None where that cannot be seen. Any thread."""


def reading(of_container: Callable[[str], int | None]) -> Read:
    """``of_container`` is asked with an id."""

    def read(child: Child) -> int | None:
        return of_container(child.container_id) if child.is_container else _resident(child.pid)

    return read


def _resident(pid: int | None) -> int | None:
    """Resident bytes of a plain process (proc(5), statm)."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123  no path arithmetic here
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None


class MemoryUse:
    """Owned by the reactor's thread."""

    def __init__(
        self, reactor: Reactor, workers: Workers, children: Callable[[], Sequence[Child]], read: Read
    ) -> None:
        self._reactor = reactor
        self._workers = workers
        self._children = children
        self._read = read
        self._known: Mapping[Child, int | None] = {}
        self._read_at = float("-inf")
        self._reading = False
        self._waiting: list[Callable[[], None]] = []

    def of(self, child: Child) -> int | None:
        """As read last; None for one that was not there then."""
        return self._known.get(child)

    def freshen(self) -> None:
        """Have it read again, unless that was done a moment ago, or is being done."""
        if not self._reading and self._reactor.clock() - self._read_at >= FRESH_SECONDS:
            self._begin()

    def when_fresh(self, callback: Callable[[], None]) -> None:
        """Call back when it has been read, if that was not done a moment ago."""
        self.freshen()
        if self._reading:
            self._waiting.append(callback)
        else:
            callback()

    def _begin(self) -> None:
        self._reading = True
        children = tuple(self._children())

        def run() -> None:
            found: dict[Child, int | None] = {}
            try:
                found = {child: self._read(child) for child in children}
            finally:
                # Also after an error that nobody foresaw: whoever asks must not wait for this for ever.
                self._reactor.call_soon(lambda: self._over(found))

        if not self._workers.submit(run):
            self._over({})

    def _over(self, found: Mapping[Child, int | None]) -> None:
        self._reading, self._known, self._read_at = False, found, self._reactor.clock()
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done()
