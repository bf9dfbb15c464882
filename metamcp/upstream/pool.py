"""Which connection a call uses: by the server's isolation, within its capacity, with backoff after failed starts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from metamcp.concurrency.reactor import Reactor
from metamcp.config.given import NOTHING, Given
from metamcp.config.model import ServerSpec
from metamcp.errors import AtCapacity, MetaMCPError, server_unavailable
from metamcp.runtime.child import Child
from metamcp.runtime.command.grammar import is_container_command
from metamcp.runtime.places import Scope
from metamcp.runtime.states import ServerState
from metamcp.runtime.supervisor import Supervisor
from metamcp.telemetry import logs
from metamcp.telemetry.tally import Tally
from metamcp.upstream.breaker import Breaker
from metamcp.upstream.connection import Listener, UpstreamConnection
from metamcp.upstream.ends import last_exit, reason_of
from metamcp.upstream.listeners import Deaf
from metamcp.upstream.opening import Opening, SpokenEra
from metamcp.upstream.room import Claim, giving_way
from metamcp.upstream.roster import PROBE, SHARED, SPARE, TRIAL, Roster, is_own, isolation_of, shared_key
from metamcp.upstream.spares import Spares

FREE_FOR_CLIENTS = 2
"""Starts that a spare leaves free for who is waiting for one."""

_RECONFIGURED = "its configuration is another one now, or gone"
_RENEW_MS = 5000  # before an instance that could not be had is asked for again
_QUICK_DEATH = 10.0  # seconds: a server that dies sooner after its start counts as one that failed to start
_FULL: dict[Scope, str] = {
    "server": "server {0!r} is at capacity: all its instances are in use",
    "principal": "this client is at capacity: all instances that it may have are in use",
    "gateway": "the gateway is at capacity: all instances that it may have are in use",
}
_log = logs.get("upstream.pool")


@dataclass(frozen=True, slots=True)
class ServerView:
    """One server as the outside sees it. Moments are monotonic seconds; ``next_try``: when it may be started, if not
    now; ``exited``: of ``last_exit``."""

    name: str
    state: ServerState
    since: float
    reason: str
    instances: int
    last_exit: dict[str, object] | None
    exited: float
    next_try: float | None
    command: list[str] | None


class UpstreamPool:
    """Owned by the reactor's thread."""

    def __init__(
        self,
        reactor: Reactor,
        servers: Mapping[str, ServerSpec],
        supervisor: Supervisor,
        jitter: Callable[[], float],
        tally: Tally,
    ) -> None:
        self._reactor = reactor
        self._supervisor = supervisor
        self._jitter = jitter
        self._tally = tally
        self._serial = itertools.count(1)
        self._connections: dict[Child, UpstreamConnection] = {}
        self._servers = {name: self._roster(spec) for name, spec in servers.items()}
        self._former: list[Roster] = []  # of former configurations, until their last instance has ended

    # --- leasing ---------------------------------------------------------------------------------------

    def key(self, spec: ServerSpec, client: str, era: SpokenEra) -> str:
        """Who shares an instance: the requests of one ``client`` (a session), all with all, or nobody."""
        isolation = isolation_of(spec, era)
        if isolation == "shared":
            return shared_key(era)
        return client if isolation == "session" else f"call-{next(self._serial)}"

    def least_busy(self, spec: ServerSpec, key: str) -> str:
        """The key of that instance for all which has the fewest calls in flight; of a further one while all of them
        are busy, if the server may have several (``maxInstances`` of ``shared``)."""
        server, most = self._server(spec.name), spec.max_instances or 1
        keys = [key, *(f"{key}+{number}" for number in range(2, most + 1))]
        busy = {name: found.in_flight for name in keys if (found := server.find(name)) is not None}
        unused = next((name for name in keys if name not in busy), None)
        if unused is not None and all(busy.values()):
            return unused
        return min(busy, key=lambda name: busy[name])

    def lease_idle(
        self, spec: ServerSpec, group: str, opening: Opening, listener: Listener, principal: str = "",
        given: Given = NOTHING,
    ) -> UpstreamConnection:  # fmt: skip
        """A connection of ``group`` that nobody uses now, for one call alone; a new one if there is none."""
        for key, connection in self._server(spec.name).leasable.items():
            if key.startswith(f"{group}#") and connection.alive and not connection.in_flight:
                connection.listener = listener
                return connection
        return self.lease(spec, f"{group}#{next(self._serial)}", opening, listener, principal, given)

    def lease(
        self, spec: ServerSpec, key: str, opening: Opening, listener: Listener, principal: str = "",
        given: Given = NOTHING,
    ) -> UpstreamConnection:  # fmt: skip
        """The connection for ``key``: the one that there is, a spare, or one that is started now, if need be when
        another one gives way. A spare has nothing that is ``given``, so it is for those alone who have nothing.
        Raises ServerUnavailable, or AtCapacity when too many wait."""
        server = self._server(spec.name)
        connection = server.find(key)
        if connection is not None:
            return connection
        self._refuse(server, key)
        if not is_own(key):
            server.opening, server.resting = opening, False
        connection = None if given else self._spare_for(server, key, opening, listener, principal)
        if connection is None:
            connection = self._start(server, key, listener, principal, given)
            connection.open(opening)
        if not key.startswith(PROBE) and (not is_own(key) or opening.era == "modern"):
            server.spares.expect(opening)
        connection.unneeded = key.startswith(PROBE)
        connection.when_ready(lambda error: self._started(server) if error is None else None)
        self._make_room()
        server.refresh(self._reactor.clock())
        return connection

    def renew(self, ended: UpstreamConnection, wanted: Callable[[], bool]) -> None:
        """A new instance in the place of one that ended, as soon as it can be had and for as long as it is wanted."""
        server = self._servers.get(ended.spec.name)
        if server is None or ended.opening is None or not wanted():
            return
        try:
            self.lease(server.spec, ended.key, ended.opening, ended.listener, ended.principal, ended.given)
        except MetaMCPError as refused:
            seconds = refused.data.get("retryAfterMs", _RENEW_MS) / 1000
            self._reactor.call_later(seconds, lambda: self.renew(ended, wanted))

    @property
    def connections(self) -> tuple[UpstreamConnection, ...]:
        """All that have not ended."""
        return tuple(self._connections.values())

    def of_session(self, session: str) -> list[UpstreamConnection]:
        """The live connections that belong to one session alone."""
        found = (server.leasable.get(session) for server in self._servers.values())
        return [connection for connection in found if connection is not None]

    def release(self, session: str, reason: str) -> None:
        """The session is over: so are its own instances, also those of a former configuration."""
        for server in self._all():
            for connection in tuple(server.instances):
                if connection.key == session:
                    connection.close(reason)

    def end(self, reason: str) -> None:
        """The gateway ends, and with it every instance, which speaks against none of them."""
        for server in self._all():
            for connection in tuple(server.instances):
                connection.close(reason)

    def find(self, server: str, key: str) -> UpstreamConnection | None:
        """The live connection for ``key``."""
        return self._servers[server].find(key) if server in self._servers else None

    # --- instances that are not what they should be ----------------------------------------------------

    def reconfigure(self, servers: Mapping[str, ServerSpec], retired: Collection[str]) -> None:
        """From now on leases follow ``servers``. Those ``retired`` are not what they were, or are gone: their
        instances are retired, their failures are forgotten."""
        known = {name: server for name, server in self._servers.items() if name in servers and name not in retired}
        leaving = [server for name, server in self._servers.items() if name not in known]
        self._servers = {name: known.get(name) or self._roster(spec) for name, spec in servers.items()}
        for name, server in known.items():
            server.spec = servers[name]
        self._former += leaving
        for server in leaving:
            self._retire(server, _RECONFIGURED, sessions=True)

    def retire(self, name: str, reason: str, sessions: bool) -> None:
        """The instances of server ``name`` are no longer what a new one would be: they take no call any more and end
        with their last one, spares at once. ``sessions``: also those that belong to one session, which lose what they
        know of it. What failed before says nothing of a new one."""
        self._retire(self._servers[name], reason, sessions)
        self.reset(name)

    def _retire(self, server: Roster, reason: str, sessions: bool) -> None:
        server.spares.drop(reason)
        for connection in tuple(server.instances):
            if connection.alive and (sessions or connection.key.startswith(SHARED)):
                connection.retired = reason
                server.withdraw(connection)
                self._rest(server, connection, self._reactor.clock())

    def stop(self, name: str, reason: str) -> int:
        """By hand: end every instance now, also one with calls or of a former configuration, and keep no spares until
        somebody needs the server. How many there were."""
        server, rosters = self._servers[name], [roster for roster in self._all() if roster.spec.name == name]
        alive = [connection for roster in rosters for connection in roster.instances if connection.alive]
        server.spares.drop(reason)
        for connection in alive:
            connection.close(reason)
        server.resting = True
        server.refresh(self._reactor.clock())
        return len(alive)

    def wake(self, name: str) -> None:
        """By hand: it may have spares again."""
        self._servers[name].resting = False

    def refusal(self, name: str) -> MetaMCPError | None:
        """Why the server ``name`` cannot be started now; None: it can."""
        return self._servers[name].breaker.refusal(self._reactor.clock())

    def reset(self, name: str) -> None:
        """By hand: forget why the server was given up, or backs off."""
        server = self._servers[name]
        server.breaker.reset()
        server.refresh(self._reactor.clock())

    def engine_back(self) -> None:
        """The engine answers again: containers that could not start for want of it are not held back any longer."""
        for name, server in self._servers.items():
            if is_container_command(server.spec.command) and not server.spec.url:
                self.reset(name)

    # --- housekeeping ----------------------------------------------------------------------------------

    def sweep(self) -> None:
        """End late calls and instances that have been idle for too long, ask the silent ones whether they are there,
        start spares, try what was given up. Never touches a call in flight."""
        now = self._reactor.clock()
        for server in self._all():
            for connection in tuple(server.instances):
                connection.expire(now)
                connection.check(now)
                self._rest(server, connection, now)
        self._former = [server for server in self._former if server.instances]
        for server in self._servers.values():
            self._refill(server, now)
            if server.breaker.due(now):
                self._try(server)
            server.refresh(now)
        self._end_waiting(now)
        self._make_room()

    def views(self) -> list[ServerView]:
        now = self._reactor.clock()
        return [
            ServerView(
                name, server.state, server.since, server.breaker.reason, len(server.instances), server.last_exit,
                server.exited, server.breaker.next_try(now), server.shown_command(),
            )
            for name, server in self._servers.items()
        ]  # fmt: skip

    # --- inside: starting ------------------------------------------------------------------------------

    def _all(self) -> Iterator[Roster]:
        yield from self._servers.values()
        yield from self._former

    def _server(self, name: str) -> Roster:
        """Raises ServerUnavailable for one that is no longer configured."""
        if name not in self._servers:
            raise server_unavailable(name, ServerState.DISABLED, "it is not in the configuration any more")
        return self._servers[name]

    def _roster(self, spec: ServerSpec) -> Roster:
        def start_spare(listener: Listener) -> UpstreamConnection:
            return self._start(self._servers[spec.name], f"{SPARE}-{next(self._serial)}", listener, "")

        state = ServerState.IDLE if spec.enabled else ServerState.DISABLED
        return Roster(spec, Spares(self._reactor, start_spare), Breaker(spec.name), state, self._reactor.clock())

    def _refuse(self, server: Roster, key: str) -> None:
        if not server.spec.enabled:
            raise server_unavailable(server.spec.name, ServerState.DISABLED, "it is disabled in the configuration")
        refusal = server.breaker.refusal(self._reactor.clock())
        if refusal is not None and key != TRIAL:
            raise refusal

    def _spare_for(
        self, server: Roster, key: str, opening: Opening, listener: Listener, principal: str
    ) -> UpstreamConnection | None:
        if is_own(key) or self._supervisor.full_for(principal):
            return None
        connection = server.spares.take(opening, listener)
        if connection is not None:
            server.withdraw(connection)
            server.enter(key, connection)
            connection.principal = principal
            self._supervisor.assign(connection.child, _session(key), principal)
        return connection

    def _start(
        self, server: Roster, key: str, listener: Listener, principal: str, given: Given = NOTHING
    ) -> UpstreamConnection:
        started = replace(server.spec, given=given) if given else server.spec
        child = self._supervisor.start(started, _session(key), server.place(key, principal))
        if given.values:
            logs.redact.hold(given.values.values())
        self._tally.started(server.spec.name)
        connection = UpstreamConnection(
            self._reactor, server.spec, child, listener, lambda closed: self._closed(server, closed), self._tally
        )
        connection.principal, connection.given = principal, given
        self._connections[child] = connection
        server.enter(key, connection)
        return connection

    def _refill(self, server: Roster, now: float) -> None:
        if server.spec.url or server.resting:
            return
        others = len(server.of_clients()) - len(server.spares)
        wanted = min(server.spec.warm if server.spec.enabled else 0, max(0, server.most - others))
        place = server.place(SPARE, "")
        crowded = self._supervisor.free_starts <= FREE_FOR_CLIENTS or self._supervisor.lacks(place)
        if crowded or self._supervisor.lacking or server.breaker.refusal(now) is not None:
            wanted = min(wanted, len(server.spares))
        server.spares.refill(wanted)

    def _make_room(self) -> None:
        """Where others wait for a place: what rested longest ends."""
        claims = [
            Claim(place, scope)
            for child, scope in self._supervisor.lacking
            if (place := self._supervisor.place(child)) and not self._connections[child].spare
        ]
        if not claims:
            return
        held = [
            (connection, place)
            for child, connection in self._connections.items()
            if not child.queued and (place := self._supervisor.place(child)) is not None
        ]
        for connection in giving_way(claims, held, self._reactor.clock()):
            connection.close("made room for another session")

    def _end_waiting(self, now: float) -> None:
        """Nobody gave way in time."""
        for child, scope in self._supervisor.lacking:
            spec = self._connections[child].spec
            if now - child.born >= spec.timeouts.start:
                child.fail(self._too_many(spec, scope))

    def _too_many(self, spec: ServerSpec, scope: Scope) -> AtCapacity:
        seconds = f"after {spec.timeouts.start:g} s none had become free"
        return AtCapacity(f"{_FULL[scope].format(spec.name)}; {seconds}", server=spec.name, retryAfterMs=1000)

    def _try(self, server: Roster) -> None:
        """Half-open: one instance shows whether the server can be started again."""
        if server.opening is None:
            server.breaker.reset()
            return
        server.breaker.trying = True
        try:
            connection = self.lease(server.spec, TRIAL, server.opening, Deaf())
        except MetaMCPError:
            server.breaker.trying = False  # too much is going on; the next sweep tries again
            return
        connection.when_ready(lambda error: connection.close("it was only tried") if error is None else None)

    # --- inside: ends ----------------------------------------------------------------------------------

    def _rest(self, server: Roster, connection: UpstreamConnection, now: float) -> None:
        if not connection.alive or connection.in_flight:
            return
        if connection.retired:
            connection.close(connection.retired)
        idle = not connection.watched and not connection.spare
        if idle and now - connection.last_used >= server.spec.idle_seconds:
            connection.close(f"idle for {server.spec.idle_seconds:g} s")

    def _started(self, server: Roster) -> None:
        server.breaker.started()
        server.refresh(self._reactor.clock())

    def _closed(self, server: Roster, connection: UpstreamConnection) -> None:
        server.leave(connection)
        if connection.key == TRIAL:
            server.breaker.trying = False
        self._connections.pop(connection.child, None)
        if connection.given.values:
            logs.redact.let_go(connection.given.values.values())
        self._supervisor.gone(connection.child)
        self._tally.ended(server.spec.name, reason_of(connection))
        ended = connection.child.exit
        given_up = isinstance(connection.child.error, AtCapacity)  # it never began
        if server.spares.lost(connection, self._jitter()) or ended is None or given_up:
            return
        # Also the start of an instance that was only to be probed may fail for a reason that holds for all.
        if not connection.unneeded or connection.child.error is not None:
            self._count_failure(server, connection)
        elif connection.started_well:
            server.breaker.lived()
        server.command = connection.child.command or server.command
        wanted = connection.unneeded and connection.child.error is None
        own = wanted and is_own(connection.key) and not connection.engine_refused
        if not own:  # whose end, after a question of ours, is no news of the server
            server.note_exit(self._reactor.clock(), last_exit(connection, ended, wanted))
        server.refresh(self._reactor.clock())

    def _count_failure(self, server: Roster, connection: UpstreamConnection) -> None:
        if connection.given:
            return  # what its client alone has may be why: nobody else must wait for that
        now, breaker = self._reactor.clock(), server.breaker
        child, ended = connection.child, connection.child.exit
        if child.error is not None and child.error.fault == "operator":
            breaker.refuse(child.error)
            refused = logs.fields(server=server.spec.name, rule=child.error.rule, reason=child.error.told)
            _log.warning("server-refused", extra=refused)
            return
        if connection.started_well and now - child.born > _QUICK_DEATH:
            breaker.lived()
            return
        tail = f" ({ended.last_words})" if ended and ended.last_words else ""
        hint = f"; {ended.hint.rstrip('.')}" if ended and ended.hint else ""
        reason = f"{ended.describe() if ended else 'it ended'}{tail}{hint}"
        breaker.failed(now, reason, self._jitter(), forgivable=connection.started_well)
        if breaker.refusal(now) is not None:
            event = "server-given-up" if breaker.state(now) is ServerState.FATAL else "server-backing-off"
            fields = logs.fields(server=server.spec.name, failures=breaker.failures, reason=reason)
            _log.warning(event, extra=fields)


def _session(key: str) -> str:
    return "" if key.startswith(SHARED) else key
