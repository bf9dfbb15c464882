"""Which connection a call uses: by the server's isolation, within its capacity, with backoff after failed starts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from metamcp.concurrency.reactor import Reactor
from metamcp.config.model import Isolation, ServerSpec
from metamcp.errors import AtCapacity, MetaMCPError, server_unavailable
from metamcp.runtime.child import Child
from metamcp.runtime.states import ServerState, backoff_seconds
from metamcp.runtime.supervisor import Supervisor
from metamcp.telemetry import logs
from metamcp.upstream.connection import Listener, UpstreamConnection
from metamcp.upstream.opening import Opening, SpokenEra
from metamcp.upstream.spares import Spares

SHARED = "*"
"""The key of the one instance for all; of a server that speaks both eras, one in each (``shared_key``). Every
key that begins with it belongs to no session; a session's key is its id."""

CATALOG = f"{SHARED}catalog"
"""The key of the short-lived connection that asks a server what it has."""

PROBE = f"{SHARED}probe"
"""Keys of instances that are asked which era they speak, and may die of it."""

_EVICT_AFTER = 1.0  # seconds of rest after which an idle instance may make room for another session
_RENEW_MS = 5000  # before an instance that could not be had is asked for again
_QUICK_DEATH = 10.0  # seconds: a server that dies sooner after its start counts as one that failed to start
_log = logs.get("upstream.pool")


@dataclass(slots=True)
class _Server:
    """What the pool knows about one configured server."""

    spec: ServerSpec
    spares: Spares
    connections: dict[str, UpstreamConnection] = field(default_factory=dict)
    failures: int = 0
    not_before: float = 0.0
    spare_failures: int = 0
    no_spare_before: float = 0.0
    reason: str = ""
    fatal: MetaMCPError | None = None
    state: ServerState = ServerState.IDLE
    since: float = 0.0
    last_exit: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class ServerView:
    """One server as the outside sees it."""

    name: str
    state: ServerState
    since: float
    reason: str
    instances: int
    last_exit: dict[str, object] | None


class UpstreamPool:
    """Owned by the reactor's thread."""

    def __init__(
        self,
        reactor: Reactor,
        servers: Mapping[str, ServerSpec],
        supervisor: Supervisor,
        jitter: Callable[[], float],
    ) -> None:
        self._reactor = reactor
        self._supervisor = supervisor
        self._jitter = jitter
        self._serial = itertools.count(1)
        now = reactor.clock()
        self._servers = {
            name: _Server(spec, self._spares(spec), state=_first_state(spec), since=now)
            for name, spec in servers.items()
        }

    # --- leasing ---------------------------------------------------------------------------------------

    def key(self, spec: ServerSpec, client: str, era: SpokenEra) -> str:
        """Who shares an instance: the requests of one ``client`` (a session), all with all, or nobody."""
        isolation = isolation_of(spec, era)
        if isolation == "shared":
            return shared_key(era)
        return client if isolation == "session" else f"call-{next(self._serial)}"

    def lease_idle(self, spec: ServerSpec, group: str, opening: Opening, listener: Listener) -> UpstreamConnection:
        """A connection of ``group`` that nobody uses now, for one call alone; a new one if there is none."""
        for key, connection in self._servers[spec.name].connections.items():
            if key.startswith(f"{group}#") and connection.alive and not connection.in_flight:
                connection.listener = listener
                return connection
        return self.lease(spec, f"{group}#{next(self._serial)}", opening, listener)

    def lease(self, spec: ServerSpec, key: str, opening: Opening, listener: Listener) -> UpstreamConnection:
        """The connection for ``key``, started if there is none. Raises ServerUnavailable or AtCapacity."""
        server = self._servers[spec.name]
        connection = server.connections.get(key)
        if connection is not None and connection.alive:
            return connection
        self._refuse_while_backing_off(server)
        if not _is_own(key):
            self._make_room(server)
        spare = None if _is_own(key) else server.spares.take()
        session = "" if key.startswith(SHARED) else key
        child = spare.child if spare else self._supervisor.start(spec, session)
        child.session = session
        connection = UpstreamConnection(
            self._reactor, spec, child, opening, listener, lambda closed: self._closed(server, key, closed)
        )
        server.connections[key] = connection
        if spare is not None:
            spare.replay()
        connection.key = key
        connection.unneeded = key.startswith(PROBE)
        connection.when_ready(lambda error: self._started(server) if error is None else None)
        self._refresh(server)
        return connection

    def renew(self, ended: UpstreamConnection, wanted: Callable[[], bool]) -> None:
        """A new instance in the place of one that ended, as soon as it can be had and for as long as it is wanted."""
        if not wanted():
            return
        try:
            self.lease(ended.spec, ended.key, ended.opening, ended.listener)
        except MetaMCPError as refused:
            seconds = refused.data.get("retryAfterMs", _RENEW_MS) / 1000
            self._reactor.call_later(seconds, lambda: self.renew(ended, wanted))

    def of_session(self, session: str) -> list[UpstreamConnection]:
        """The live connections that belong to one session alone."""
        found = (server.connections.get(session) for server in self._servers.values())
        return [connection for connection in found if connection is not None]

    def release(self, session: str, reason: str) -> None:
        """The session is over: so are its own instances."""
        for connection in self.of_session(session):
            connection.close(reason)

    def find(self, server: str, key: str) -> UpstreamConnection | None:
        """The live connection for ``key``."""
        connection = self._servers[server].connections.get(key)
        return connection if connection is not None and connection.alive else None

    # --- housekeeping ----------------------------------------------------------------------------------

    def sweep(self) -> None:
        """End late calls and instances that have been idle for too long, start spares. Never touches a call in
        flight."""
        now = self._reactor.clock()
        for server in self._servers.values():
            for connection in tuple(server.connections.values()):
                connection.expire(now)
                idle = now - connection.last_used
                used = connection.in_flight or connection.watched
                if not used and connection.alive and idle >= server.spec.idle_seconds:
                    connection.close(f"idle for {server.spec.idle_seconds:g} s")
            self._refill(server, now)
            self._refresh(server)

    def views(self) -> list[ServerView]:
        return [
            ServerView(
                name, server.state, server.since, server.reason, len(server.connections), server.last_exit
            )
            for name, server in self._servers.items()
        ]

    # --- inside ----------------------------------------------------------------------------------------

    def _refuse_while_backing_off(self, server: _Server) -> None:
        wait = server.not_before - self._reactor.clock()
        if not server.spec.enabled:
            raise server_unavailable(server.spec.name, ServerState.DISABLED, "it is disabled in the configuration")
        if wait > 0:
            text = f"{server.reason}; next start in {wait:.1f} s"
            raise server_unavailable(server.spec.name, ServerState.BACKOFF, text, int(wait * 1000) + 1)

    def _spares(self, spec: ServerSpec) -> Spares:
        return Spares(self._reactor, self._supervisor, spec, lambda child: self._spare_ended(spec.name, child))

    def _refill(self, server: _Server, now: float) -> None:
        if not server.spec.warm or not server.spec.enabled or server.spec.url:
            return
        if now >= max(server.not_before, server.no_spare_before):
            server.spares.refill(min(server.spec.warm, server.spec.max_instances - len(_of_clients(server))))

    def _spare_ended(self, name: str, child: Child) -> None:
        """That a server does not like to wait says nothing about its calls: only its spares back off."""
        server = self._servers[name]
        self._supervisor.gone(child)
        server.spare_failures += 1
        pause = backoff_seconds(server.spare_failures, self._jitter())
        server.no_spare_before = self._reactor.clock() + pause
        reason = child.exit.describe() if child.exit else "it ended"
        fields = logs.fields(server=name, failures=server.spare_failures, reason=reason, retry_in=round(pause, 1))
        _log.warning("spare-ended", extra=fields)

    def _make_room(self, server: _Server) -> None:
        """Within ``maxInstances``: the longest idle instance goes first; if all are busy, the caller is refused.
        An instance that is stopping has left its place already; the gateway's own short-lived ones need none, or
        they and the clients could lock each other out."""
        live = _of_clients(server)
        if len(live) < server.spec.max_instances:
            return
        rested = self._reactor.clock() - _EVICT_AFTER
        idle = [connection for connection in live if not connection.in_flight and connection.last_used <= rested]
        if not idle:
            text = f"server {server.spec.name!r} is at capacity: all {server.spec.max_instances} instances are in use"
            raise AtCapacity(text, server=server.spec.name)
        min(idle, key=lambda connection: connection.last_used).close("made room for another session")

    def _started(self, server: _Server) -> None:
        server.fatal = None
        server.reason = ""
        server.spare_failures = 0
        self._refresh(server)

    def _closed(self, server: _Server, key: str, connection: UpstreamConnection) -> None:
        if server.connections.get(key) is connection:
            del server.connections[key]
        ended = connection.child.exit
        self._supervisor.gone(connection.child)
        # Also the start of an instance that was only to be probed may fail for a reason that holds for all.
        if ended is not None and (not connection.unneeded or connection.child.error is not None):
            self._count_failure(server, connection)
        elif connection.started_well:
            server.failures = 0
        if ended is not None:
            server.last_exit = {
                "exitCode": ended.code, "signal": ended.signal, "reason": ended.describe(),
                "stderr": list(ended.stderr),
            }
        self._refresh(server)

    def _count_failure(self, server: _Server, connection: UpstreamConnection) -> None:
        now = self._reactor.clock()
        child, ended = connection.child, connection.child.exit
        tail = f" ({ended.last_words})" if ended and ended.last_words else ""
        server.reason = f"{ended.describe() if ended else 'it ended'}{tail}"
        if child.error is not None and child.error.fault == "operator":
            # Only an operator can change that; every new call asks again, which costs no container.
            server.fatal = child.error
            return
        if connection.started_well and now - child.born > _QUICK_DEATH:
            server.failures = 0
            return
        server.failures += 1
        # The first death after a good start is forgiven: the next call gets a new instance at once.
        if not connection.started_well or server.failures > 1:
            server.not_before = now + backoff_seconds(server.failures, self._jitter())
            _log.warning(
                "server-backing-off",
                extra=logs.fields(server=server.spec.name, failures=server.failures, reason=server.reason),
            )

    def _refresh(self, server: _Server) -> None:
        state = _state_of(server, self._reactor.clock())
        if state is not server.state:
            server.state, server.since = state, self._reactor.clock()


def isolation_of(spec: ServerSpec, era: SpokenEra) -> Isolation:
    """As configured; else an instance for each session, unless the server keeps nothing between requests."""
    return spec.isolation or ("session" if era == "legacy" else "shared")


def _is_own(key: str) -> bool:
    """Of an instance that the gateway starts for itself, to ask the server about itself."""
    return key.startswith((CATALOG, PROBE))


def _of_clients(server: _Server) -> list[UpstreamConnection]:
    return [item for key, item in server.connections.items() if item.alive and not _is_own(key)]


def _first_state(spec: ServerSpec) -> ServerState:
    return ServerState.IDLE if spec.enabled else ServerState.DISABLED


def shared_key(era: SpokenEra) -> str:
    return SHARED if era == "legacy" else f"{SHARED}{era}"


def _state_of(server: _Server, now: float) -> ServerState:
    if not server.spec.enabled:
        return ServerState.DISABLED
    live = [connection for connection in server.connections.values() if connection.alive]
    if any(connection.started_well for connection in live):
        busy = any(connection.in_flight for connection in live)
        return ServerState.BUSY if busy else ServerState.READY
    if live:
        return ServerState.STARTING
    if server.fatal is not None:
        return ServerState.FATAL
    return ServerState.BACKOFF if server.not_before > now else ServerState.IDLE
