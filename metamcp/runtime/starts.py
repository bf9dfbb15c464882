"""Who may start, and when: a machine that starts a hundred containers at once starts none of them in time, and one that
holds too many serves nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from metamcp.concurrency.reactor import Reactor
from metamcp.runtime.child import Child
from metamcp.runtime.places import Caps, Place, Places, Scope
from metamcp.runtime.states import OVER, ChildState

START_SECONDS = 3.0
"""A start is over when the server has answered, or after so long: one that hangs must not hold up the others."""

MOST_WAITING = 1024
_STARTED = (ChildState.SPARE, ChildState.READY)


@dataclass(slots=True, eq=False)
class _Waiting:
    child: Child
    begin: Callable[[], None]


class Starts:
    """Owned by the reactor's thread. At most ``most`` starts are under way, over all servers, and no child begins
    without a place (``Places``). The others wait in the order in which they came; one that lacks a place holds up
    nobody else."""

    def __init__(self, reactor: Reactor, most: int, caps: Caps) -> None:
        self._reactor = reactor
        self._most = most
        self._places = Places(caps)
        self._waiting: list[_Waiting] = []
        self._under_way: set[Child] = set()
        self._at: dict[Child, Place] = {}

    @property
    def free(self) -> int:
        """Starts that could begin at once."""
        return 0 if len(self.lacking) < len(self._waiting) else self._most - len(self._under_way)

    @property
    def waiting(self) -> int:
        """Children that wait for their turn or a place."""
        return len(self._waiting)

    @property
    def lacking(self) -> list[tuple[Child, Scope]]:
        """The waiting ones that need a place, and where."""
        found = [(item.child, self._lacking(item)) for item in self._waiting]
        return [(child, scope) for child, scope in found if scope is not None]

    def lacks(self, place: Place) -> bool:
        """Whether a child at ``place`` would have to wait for somebody else's end."""
        return self._places.lacking(place) is not None

    def place(self, child: Child) -> Place | None:
        """Where ``child`` is, or waits to be; None: it counts nowhere."""
        return self._at.get(child)

    def add(self, child: Child, place: Place, begin: Callable[[], None]) -> bool:
        """Call ``begin`` when it is the turn of ``child``, unless that has ended by then. False: too many wait."""
        if len(self._waiting) >= MOST_WAITING:
            return False
        child.queued = True
        child.on_change = lambda: self._changed(child)
        self._at[child] = place
        self._waiting.append(_Waiting(child, begin))
        self._next()
        return True

    def full_for(self, principal: str) -> bool:
        """``principal`` has as many children as it may have."""
        return self._places.full_for(principal)

    def move(self, child: Child, principal: str) -> None:
        """From now on ``child`` counts for ``principal``, too."""
        old = self._at.get(child)
        if old is not None:
            self._at[child] = replace(old, principal=principal)
            if not child.queued:
                self._places.leave(old)
                self._places.enter(self._at[child])

    # --- inside ----------------------------------------------------------------------------------------

    def _lacking(self, item: _Waiting) -> Scope | None:
        return self._places.lacking(self._at[item.child])

    def _next(self) -> None:
        for item in tuple(self._waiting):
            if len(self._under_way) >= self._most:
                return
            if self._lacking(item) is None:
                self._waiting.remove(item)
                self._begin(item)

    def _begin(self, item: _Waiting) -> None:
        child = item.child
        self._places.enter(self._at[child])
        self._under_way.add(child)
        self._reactor.call_later(START_SECONDS, lambda: self._over(child))
        child.queued, child.begun = False, self._reactor.clock()
        item.begin()

    def _changed(self, child: Child) -> None:
        if child.queued and child.state in OVER:
            self._forget(child)
        elif child.state is ChildState.EXITED and (place := self._at.pop(child, None)) is not None:
            self._places.leave(place)
            self._under_way.discard(child)
            self._next()
        elif child.state in _STARTED:
            self._over(child)

    def _forget(self, child: Child) -> None:
        """It was given up while it waited."""
        self._waiting = [item for item in self._waiting if item.child is not child]
        self._at.pop(child, None)

    def _over(self, child: Child) -> None:
        if child in self._under_way:
            self._under_way.remove(child)
            self._next()
