"""Children that were started before anybody needed them, so that a client does not wait for a container.

Nobody has spoken to them: each gets the verbatim ``initialize`` of the client that it will serve, so it is as good
as one that was started for that client.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from metamcp.concurrency.reactor import Reactor
from metamcp.config.model import ServerSpec
from metamcp.errors import AtCapacity
from metamcp.runtime.child import Child
from metamcp.runtime.states import ChildState
from metamcp.runtime.supervisor import Supervisor

SETTLE_SECONDS = 1.0
"""A process that has lived so long counts as started."""

_MOST_SAID = 64 * 1024  # bytes that a server may write before anybody spoke to it
_FREE_FOR_CLIENTS = 2  # starts that a spare leaves free for who is waiting for one


class Spare:
    """What it says before its time is kept for the conversation to come."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self._said: list[bytes] = []
        self._bytes = 0
        child.on_data = self._hear

    def replay(self) -> None:
        """Give what it said to whoever listens to its child now."""
        for chunk in self._said:
            self.child.on_data(chunk)

    def _hear(self, chunk: bytes) -> None:
        self._said.append(chunk)
        self._bytes += len(chunk)
        if self._bytes > _MOST_SAID:
            self.child.stop(f"it wrote more than {_MOST_SAID} bytes before anybody spoke to it")


class Spares:
    """Those of one server, the oldest first. Owned by the reactor's thread. ``ended`` is called for one that ended
    before it was taken."""

    def __init__(
        self, reactor: Reactor, supervisor: Supervisor, spec: ServerSpec, ended: Callable[[Child], None]
    ) -> None:
        self._reactor = reactor
        self._supervisor = supervisor
        self._spec = spec
        self._ended = ended
        self._waiting: deque[Spare] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def refill(self, wanted: int) -> None:
        """Start what is missing, as far as nobody else has to wait for it."""
        while len(self._waiting) < wanted and self._supervisor.free_starts > _FREE_FOR_CLIENTS:
            try:
                child = self._supervisor.start(self._spec, "")
            except AtCapacity:
                return
            self._keep(Spare(child))

    def take(self) -> Spare | None:
        """The oldest one that lives; from now on it belongs to the caller."""
        while self._waiting:
            spare = self._waiting.popleft()
            if spare.child.state in (ChildState.STARTING, ChildState.SPARE):
                return spare
        return None

    def _keep(self, spare: Spare) -> None:
        self._waiting.append(spare)
        spare.child.on_exit = lambda _exit: self._lost(spare)
        self._settle_later(spare)

    def _settle_later(self, spare: Spare) -> None:
        self._reactor.call_later(SETTLE_SECONDS, lambda: self._settle(spare))

    def _settle(self, spare: Spare) -> None:
        if spare not in self._waiting:
            return
        if spare.child.pid is None:
            self._settle_later(spare)  # the launch itself takes long
        else:
            spare.child.become(ChildState.SPARE)

    def _lost(self, spare: Spare) -> None:
        if spare in self._waiting:
            self._waiting.remove(spare)
        self._ended(spare.child)
