"""What each server has, asked once: lists are served from here and start no container for a client.

A server is asked by a connection of the gateway's own, when the gateway starts, when the server says that a
list changed, and again after a failure. An old answer stays until a new one is complete.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from metamcp.concurrency.reactor import Reactor, Timer
from metamcp.config.model import ServerSpec
from metamcp.errors import MetaMCPError
from metamcp.gateway.listings import Entry
from metamcp.gateway.reading import Reading
from metamcp.telemetry import logs
from metamcp.upstream.connection import Listener, UpstreamConnection
from metamcp.upstream.era import Eras
from metamcp.upstream.opening import handshake, own_hello, stateless
from metamcp.upstream.pool import UpstreamPool
from metamcp.upstream.roster import CATALOG, SHARED, isolation_of, shared_key

_RETRY_FIRST, _RETRY_MOST = 5.0, 300.0  # seconds between attempts to ask a server that failed
_CHANGED_PAUSE = 0.5  # seconds from "list changed" to asking: such words come in bursts, or at every answer
_MOST_DOUBLINGS = 6  # of that pause, one for each time in a row that nothing had changed: 32 s
_ROUNDS = 3  # readings in a row of a server whose lists change while they are read
_log = logs.get("gateway.catalog")


@dataclass(slots=True)
class _Server:
    spec: ServerSpec
    entry: Entry | None = None
    problem: MetaMCPError | None = None
    source: UpstreamConnection | None = None  # an instance for all clients that said its lists changed
    read_at: float = -math.inf
    asking: bool = False
    again: bool = False
    failures: int = 0
    vain: int = 0  # readings in a row that found what was known
    next: Timer | None = None
    settled: bool = False  # the first attempt is over, well or not


@dataclass(slots=True, eq=False)
class _Waiter:
    servers: frozenset[str]
    callback: Callable[[], None]
    done: bool = field(default=False)


class Catalog:
    """Owned by the reactor's thread. ``on_change(server)`` is called when an answer differs from the last."""

    def __init__(
        self,
        reactor: Reactor,
        pool: UpstreamPool,
        eras: Eras,
        servers: Mapping[str, ServerSpec],
        listener: Listener,
        on_change: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._pool = pool
        self._eras = eras
        self._listener = listener
        self._servers = {name: _Server(spec, settled=not spec.enabled) for name, spec in servers.items()}
        self._on_change = on_change
        self._waiters: list[_Waiter] = []

    def entry(self, server: str) -> Entry | None:
        return self._servers[server].entry

    def problem(self, server: str) -> MetaMCPError | None:
        """Why the last attempt failed; None when it did not."""
        return self._servers[server].problem

    def refresh_all(self) -> None:
        for name, server in self._servers.items():
            if server.spec.enabled:
                self.refresh(name)

    def refresh(self, name: str) -> None:
        """Ask ``name`` again; a second wish while it is being asked is met by one more round."""
        server = self._servers[name]
        if server.asking:
            server.again = True
            return
        if server.next is not None:
            server.next.cancel()
            server.next = None
        server.asking, server.again = True, False
        self._ask(server)

    def changed(self, connection: UpstreamConnection) -> None:
        """A server says that its lists changed: it is asked at once, or once more when it is being asked; never
        more often than every ``_CHANGED_PAUSE``. What an instance for all clients says is asked of that instance."""
        server = self._servers[connection.spec.name]
        if connection.key.startswith(SHARED) and connection.key != CATALOG:
            server.source = connection
        if server.asking:
            server.again = True
        else:
            pause = _CHANGED_PAUSE * 2.0 ** min(server.vain, _MOST_DOUBLINGS)
            self._plan(server, max(0.0, server.read_at + pause - self._reactor.clock()))

    def when_settled(self, servers: Iterable[str], timeout: float, callback: Callable[[], None]) -> None:
        """Call back once: when each of ``servers`` was asked at least once, or after ``timeout`` seconds."""
        waiter = _Waiter(frozenset(servers), callback)
        self._waiters.append(waiter)
        self._wake()
        if not waiter.done:
            self._reactor.call_later(timeout, lambda: self._release(waiter))

    # --- asking ----------------------------------------------------------------------------------------

    def _ask(self, server: _Server) -> None:
        def found(error: MetaMCPError | None) -> None:
            if error is not None:
                self._failed(server, error)
            else:
                self._lease(server)

        self._eras.find(server.spec, found)

    def _lease(self, server: _Server) -> None:
        source, server.source = server.source, None
        if source is not None and source.alive:
            self._read(server, source, _ROUNDS)
            return
        era = self._eras.preferred(server.spec)
        key = shared_key(era) if isolation_of(server.spec, era) == "shared" else CATALOG
        opening = stateless() if era == "modern" else handshake(own_hello())
        try:
            connection = self._pool.lease(server.spec, key, opening, self._listener)
        except MetaMCPError as error:
            self._failed(server, error)
            return
        self._read(server, connection, _ROUNDS)

    def _read(self, server: _Server, connection: UpstreamConnection, rounds: int) -> None:
        def over(outcome: Entry | MetaMCPError) -> None:
            if server.again and rounds > 1 and connection.alive and isinstance(outcome, Entry):
                # The same instance again: many servers say "list changed" whenever they start, so asking a new
                # one each time would never come to an end.
                server.again = False
                self._read(server, connection, rounds - 1)
                return
            if connection.key == CATALOG:
                connection.close("the catalog was read")
            if isinstance(outcome, Entry):
                self._eras.confirm(server.spec, connection.era)
                self._learned(server, outcome)
            elif self._eras.objected(server.spec, connection.objection):
                self._lease(server)
            else:
                self._failed(server, outcome)

        Reading(connection, over).begin()

    def _learned(self, server: _Server, entry: Entry) -> None:
        changed = server.entry != entry
        server.entry, server.problem, server.failures = entry, None, 0
        server.vain = 0 if changed else server.vain + 1
        counts = {name: len(items) for name, items in entry.items.items()}
        _log.info("catalog-read", extra=logs.fields(server=entry.server, changed=changed, **counts))
        self._settle(server)
        if changed:
            self._on_change(entry.server)

    def _failed(self, server: _Server, error: MetaMCPError) -> None:
        server.problem = error
        server.failures += 1
        pause = min(_RETRY_MOST, _RETRY_FIRST * 2.0 ** min(server.failures - 1, 10))
        _log.warning("catalog-failed", extra=logs.fields(server=server.spec.name, reason=error.text, retry_in=pause))
        self._settle(server)
        self._plan(server, pause)

    def _plan(self, server: _Server, seconds: float) -> None:
        """One attempt is planned at a time: the sooner one."""
        if server.next is not None:
            if server.next.due <= self._reactor.clock() + seconds:
                return
            server.next.cancel()
        server.next = self._reactor.call_later(seconds, lambda: self.refresh(server.spec.name))

    def _settle(self, server: _Server) -> None:
        server.asking = False
        server.read_at = self._reactor.clock()
        server.settled = True
        self._wake()

    def _wake(self) -> None:
        for waiter in tuple(self._waiters):
            if all(self._servers[name].settled for name in waiter.servers):
                self._release(waiter)

    def _release(self, waiter: _Waiter) -> None:
        if not waiter.done:
            waiter.done = True
            self._waiters.remove(waiter)
            waiter.callback()
