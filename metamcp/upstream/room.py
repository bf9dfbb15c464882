"""Which instances give way when others wait for a place. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from metamcp.runtime.places import Place, Scope
from metamcp.upstream.connection import UpstreamConnection

REST_SECONDS = 1.0
"""An instance that was used a moment ago will be used again."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One that waits for ``place``, because ``scope`` is full."""

    place: Place
    scope: Scope


Held = tuple[UpstreamConnection, Place]
"""An instance and the place that it holds."""


def giving_way(claims: Iterable[Claim], held: Sequence[Held], now: float) -> list[UpstreamConnection]:
    """Spares first, then what rested longest; never one with a call in flight, and one that somebody waits to hear from
    only after the others. Places that are being left already are counted: one end for each claim, and no more."""
    ending: set[UpstreamConnection] = {connection for connection, _ in held if not connection.alive}
    chosen: list[UpstreamConnection] = []
    spoken_for: set[UpstreamConnection] = set()
    for claim in claims:
        rivals = [connection for connection, place in held if claim.place.shares(place, claim.scope)]
        left = next((rival for rival in rivals if rival in ending and rival not in spoken_for), None)
        if left is None:
            candidates = (rival for rival in rivals if rival not in ending and _may_end(rival, now))
            left = min(candidates, key=_worth, default=None)
            if left is None:
                continue
            chosen.append(left)
            ending.add(left)
        spoken_for.add(left)
    return chosen


def _may_end(connection: UpstreamConnection, now: float) -> bool:
    if not connection.alive or connection.in_flight or connection.child.queued:
        return False
    return connection.spare or (connection.started_well and connection.last_used <= now - REST_SECONDS)


def _worth(connection: UpstreamConnection) -> tuple[bool, bool, float]:
    return (not connection.spare, connection.watched, connection.last_used)
