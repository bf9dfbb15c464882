"""How many children there may be: of one server, of one principal, in all. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

Scope = Literal["server", "principal", "gateway"]


@dataclass(frozen=True, slots=True)
class Caps:
    """``in_all``: children of all servers and clients; ``of_principal``: of one client's key."""

    in_all: int = 500
    of_principal: int = 500


@dataclass(frozen=True, slots=True)
class Place:
    """What a child counts for. ``most``: children of its server. ``principal``: "" for nobody in particular. The
    gateway's own short-lived children count for nothing, or they and the clients could lock each other out; at most
    as many as may start at once exist."""

    server: str
    most: int
    principal: str = ""
    own: bool = False

    def shares(self, other: Place, scope: Scope) -> bool:
        """Whether a child at ``other`` gives way to one at this place, when ``scope`` is full."""
        if other.own or (scope == "server" and self.server != other.server):
            return False
        return scope != "principal" or self.principal == other.principal


class Places:
    """The places that are taken."""

    def __init__(self, caps: Caps) -> None:
        self.caps = caps
        self._in_all = 0
        self._servers: Counter[str] = Counter()
        self._principals: Counter[str] = Counter()

    def lacking(self, place: Place) -> Scope | None:
        """What is full for one more child at ``place``; None: it may come."""
        if place.own:
            return None
        if self._servers[place.server] >= place.most:
            return "server"
        if self.full_for(place.principal):
            return "principal"
        return "gateway" if self._in_all >= self.caps.in_all else None

    def full_for(self, principal: str) -> bool:
        return principal != "" and self._principals[principal] >= self.caps.of_principal

    def enter(self, place: Place) -> None:
        self._count(place, 1)

    def leave(self, place: Place) -> None:
        self._count(place, -1)

    def _count(self, place: Place, step: int) -> None:
        if place.own:
            return
        self._in_all += step
        for counter, key in ((self._servers, place.server), (self._principals, place.principal)):
            counter[key] += step
            if not counter[key]:
                del counter[key]
