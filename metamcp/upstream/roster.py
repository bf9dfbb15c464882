"""What the pool knows about one configured server: its instances, its spares, and whether it may be started."""

from __future__ import annotations

from dataclasses import dataclass, field

from metamcp.config.model import MOST_INSTANCES, Isolation, ServerSpec
from metamcp.runtime.places import Place
from metamcp.runtime.states import ServerState
from metamcp.upstream.breaker import Breaker
from metamcp.upstream.connection import UpstreamConnection
from metamcp.upstream.opening import Opening, SpokenEra
from metamcp.upstream.spares import Spares

SHARED = "*"
"""The key of the one instance for all; of a server that speaks both eras, one in each (``shared_key``). Every
key that begins with it belongs to no session; a session's key is its id."""

CATALOG = f"{SHARED}catalog"
"""The key of the short-lived connection that asks a server what it has."""

PROBE = f"{SHARED}probe"
"""Keys of instances that are asked which era they speak, and may die of it."""

TRIAL = f"{SHARED}trial"
"""The key of the one with which a server that was given up is tried again."""

SPARE = f"{SHARED}spare"

_OWN = (CATALOG, PROBE, TRIAL)


@dataclass(slots=True)
class Roster:
    """``instances``: all that have not ended. ``leasable``: by key, those that take calls. ``opening``: how the last
    instance for a client began. ``exited``: when it was that ``last_exit`` tells of. ``command``: what one was started
    with last, secrets masked. ``resting``: it was stopped by hand, so no spare is started before somebody needs it."""

    spec: ServerSpec
    spares: Spares
    breaker: Breaker
    state: ServerState
    since: float
    instances: set[UpstreamConnection] = field(default_factory=set)
    leasable: dict[str, UpstreamConnection] = field(default_factory=dict)
    opening: Opening | None = None
    last_exit: dict[str, object] | None = None
    exited: float = 0.0
    command: list[str] | None = None
    resting: bool = False

    @property
    def most(self) -> int:
        """Instances at once, spares among them; the gateway's own short-lived ones are not counted."""
        return self.spec.max_instances or MOST_INSTANCES

    def note_exit(self, now: float, told: dict[str, object]) -> None:
        """An instance has ended. That we ended one is no news in the place of an end that nobody wanted."""
        if not told["wanted"] or self.last_exit is None or self.last_exit["wanted"]:
            self.exited, self.last_exit = now, told

    def shown_command(self) -> list[str] | None:
        """Of the newest instance that there is, else of the last one."""
        known = [it.child for it in self.instances if it.child.command is not None]
        return max(known, key=lambda child: child.born).command if known else self.command

    def place(self, key: str, principal: str) -> Place:
        return Place(self.spec.name, self.most, principal, is_own(key))

    def of_clients(self) -> list[UpstreamConnection]:
        return [item for key, item in self.leasable.items() if item.alive and not is_own(key)]

    def find(self, key: str) -> UpstreamConnection | None:
        """The live instance for ``key``."""
        connection = self.leasable.get(key)
        return connection if connection is not None and connection.alive else None

    def enter(self, key: str, connection: UpstreamConnection) -> None:
        connection.key = key
        self.instances.add(connection)
        self.leasable[key] = connection

    def leave(self, connection: UpstreamConnection) -> None:
        self.instances.discard(connection)
        self.withdraw(connection)

    def withdraw(self, connection: UpstreamConnection) -> None:
        """It takes no call any more."""
        if self.leasable.get(connection.key) is connection:
            del self.leasable[connection.key]

    def refresh(self, now: float) -> None:
        """Bring ``state`` up to date."""
        state = self._state(now)
        if state is not self.state:
            self.state, self.since = state, now

    def _state(self, now: float) -> ServerState:
        if not self.spec.enabled:
            return ServerState.DISABLED
        live = [item for item in self.instances if item.alive and not item.spare]
        if any(item.started_well for item in live):
            return ServerState.BUSY if any(item.in_flight for item in live) else ServerState.READY
        return ServerState.STARTING if live else self.breaker.state(now)


def is_own(key: str) -> bool:
    """Of an instance that the gateway starts for itself, to ask the server about itself."""
    return key.startswith(_OWN)


def shared_key(era: SpokenEra) -> str:
    return SHARED if era == "legacy" else f"{SHARED}{era}"


def isolation_of(spec: ServerSpec, era: SpokenEra) -> Isolation:
    """As configured; else an instance for each session, unless the server keeps nothing between requests."""
    return spec.isolation or ("session" if era == "legacy" else "shared")
