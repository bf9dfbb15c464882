"""What each server has, asked once: lists are served from here and start no container for a client.

What is remembered of a server, by what it was (``ImageIds.key``), is served as soon as it is known to be that still.
Everything else is asked by a connection of the gateway's own: at the start, when the server says that a list changed,
when its image became another one, once a day, and again after a failure. An old answer stays until a new one is
complete.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from metamcp.concurrency.reactor import Reactor, Timer
from metamcp.config.model import ServerSpec
from metamcp.errors import MetaMCPError, server_unavailable
from metamcp.gateway.attempt import Attempt, Way
from metamcp.gateway.catalog_memory import Kept
from metamcp.gateway.listings import Entry
from metamcp.gateway.reading_order import ReadingOrder
from metamcp.gateway.settling import Settling
from metamcp.runtime.image_ids import ImageIds
from metamcp.telemetry import logs
from metamcp.upstream.connection import Listener, UpstreamConnection
from metamcp.upstream.era import Eras
from metamcp.upstream.pool import UpstreamPool
from metamcp.upstream.roster import CATALOG, SHARED

_RETRY_FIRST, _RETRY_MOST = 5.0, 300.0  # seconds between attempts to ask a server that failed
_CHANGED_PAUSE = 0.5  # seconds from "list changed" to asking: such words come in bursts, or at every answer
_MOST_DOUBLINGS = 6  # of that pause, one for each time in a row that nothing had changed: 32 s
_DAY = 86400.0  # seconds that an answer is good for, if nobody says otherwise
_SPREAD = 900.0  # seconds over which readings that are due at the same time are spread
_log = logs.get("gateway.catalog")


@dataclass(frozen=True, slots=True)
class Sources:
    """Whom the catalog asks. ``retire(server)``: its image is another one, so no instance of the old one may be given
    to anybody from now on. ``wall``: Unix seconds. ``jitter``: a number of [0, 1)."""

    reactor: Reactor
    pool: UpstreamPool
    eras: Eras
    images: ImageIds
    retire: Callable[[str], None]
    wall: Callable[[], float]
    jitter: Callable[[], float]


@dataclass(slots=True, eq=False)
class _Server:
    spec: ServerSpec
    kept: Kept | None = None  # what is remembered, of what the server is or was
    key: str = ""  # what the server was when ``entry`` was read
    entry: Entry | None = None
    listed: float | None = None  # Unix seconds
    problem: MetaMCPError | None = None
    source: UpstreamConnection | None = None  # an instance for all clients that said its lists changed
    read_at: float = -math.inf
    asking: bool = False
    again: bool = False
    presumed: bool = False  # its era has not been asked since the gateway began
    outdated: bool = False  # its image is another one, and has not been asked yet
    renewed: float = -math.inf  # when that was noticed; instances born before are of the old one
    failures: int = 0
    vain: int = 0  # readings in a row that found what was known
    next: Timer | None = None
    settled: bool = False  # it is served from memory, or the first attempt is over, well or not


class Catalog:
    """Owned by the reactor's thread. ``on_change(servers)`` is called when answers differ from the last; ``keep`` gets
    all that is to be remembered, whenever it is something else."""

    def __init__(
        self,
        sources: Sources,
        servers: Mapping[str, ServerSpec],
        memory: Mapping[str, Kept],
        listener: Listener,
        on_change: Callable[[frozenset[str]], None],
        keep: Callable[[tuple[Kept, ...]], None],
    ) -> None:
        self._reactor, self._pool, self._eras = sources.reactor, sources.pool, sources.eras
        self._images = sources.images
        self._sources = sources
        self._listener = listener
        self._keep = keep
        self._order = ReadingOrder(sources.reactor, lambda name: self._ask(self._servers[name]))
        self._settling = Settling(sources.reactor, self._is_settled, on_change)
        self._servers: dict[str, _Server] = {}
        for spec in servers.values():
            self._add(spec, memory.get(spec.fingerprint()))

    # --- what is known ---------------------------------------------------------------------------------

    def entry(self, server: str) -> Entry | None:
        """What is served; None for a server that is not known yet, or not configured any more."""
        return found.entry if (found := self._servers.get(server)) else None

    def problem(self, server: str) -> MetaMCPError | None:
        """Why the last attempt failed; None when it did not."""
        return found.problem if (found := self._servers.get(server)) else None

    def listed(self, server: str) -> float | None:
        """When ``entry`` was read: Unix seconds."""
        return found.listed if (found := self._servers.get(server)) else None

    def next_try(self, server: str) -> float | None:
        """When one that could not be asked is asked again (monotonic)."""
        found = self._servers.get(server)
        if found is None or found.problem is None or found.next is None:
            return None
        return found.next.due

    def when_settled(self, servers: Iterable[str], timeout: float, callback: Callable[[], None]) -> None:
        """Call back once: when each of ``servers`` is served from memory or was asked, or after ``timeout`` seconds.
        Those that are still to be asked come before all others now."""
        wanted = frozenset(servers)
        self._order.hurry(wanted)
        self._settling.wait(wanted, timeout, callback)

    # --- which servers there are -----------------------------------------------------------------------

    def put(self, spec: ServerSpec) -> None:
        """Add a server, or replace one whose configuration changed: its list stays until the new one is complete.
        ``ImageIds.put`` comes first."""
        old = self._drop(spec.name)
        server = self._add(spec, None)
        if old is not None and old.entry is not None and spec.enabled:
            server.entry, server.listed, server.settled = old.entry, old.listed, True
        self._reactor.call_soon(lambda: self.meet(spec.name))  # when all of the new configuration is in force

    def remove(self, name: str) -> None:
        """Forget a server; whoever is asking it does so in vain."""
        if self._drop(name) is not None:
            self._settling.changed(name)

    def _drop(self, name: str) -> _Server | None:
        server = self._servers.pop(name, None)
        if server is not None and server.next is not None:
            server.next.cancel()
        self._order.over(name)
        return server

    def _add(self, spec: ServerSpec, kept: Kept | None) -> _Server:
        server = self._servers[spec.name] = _Server(spec, kept, presumed=not self._images.watches(spec.name))
        if not spec.enabled:
            server.settled = True
            server.problem = server_unavailable(spec.name, "DISABLED", "it is disabled in the configuration")
        return server

    # --- when they are asked ---------------------------------------------------------------------------

    def refresh_all(self) -> None:
        """The beginning: every server is served from memory or asked, as soon as it is known what it is."""
        for name in tuple(self._servers):
            self.meet(name)

    def meet(self, name: str) -> None:
        """What the server is became known. One that would show a change is not asked when it is remembered."""
        server = self._servers.get(name)
        if server is None or not server.spec.enabled or not self._images.known(name):
            return
        if self._recall(server) and self._images.watches(name):
            self._plan_renewal(server)
        else:
            self.refresh(name)

    def image_changed(self, name: str) -> None:
        """For ImageIds: era and lists are asked anew, of an instance of the new image."""
        server = self._servers.get(name)
        if server is None or (server.key == self._images.key(server.spec) and server.problem is None):
            return  # it was away, and is what it was
        self._recall(server)
        self._sources.retire(name)
        server.outdated, server.renewed = True, self._reactor.clock()
        server.failures = server.vain = 0
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
        server.asking = True
        if server.spec.url:
            self._ask(server)  # nothing has to be started
        else:
            self._order.add(name)

    def renew(self, name: str) -> None:
        """By hand: all that ``name`` has is asked anew, of an instance that is started for it."""
        server = self._servers[name]
        server.outdated, server.renewed = True, self._reactor.clock()
        server.failures = server.vain = 0
        self.refresh(name)

    def retry(self) -> None:
        """Perhaps it was not for the servers' own fault that some could not be asked: those are asked at once."""
        for server in self._servers.values():
            if server.spec.enabled and server.problem is not None and not server.asking:
                server.failures = 0
                self._plan(server, 0.0)

    def changed(self, connection: UpstreamConnection) -> None:
        """A server says that its lists changed: it is asked at once, or once more when it is being asked; never
        more often than every ``_CHANGED_PAUSE``. What an instance for all clients says is asked of that instance."""
        server = self._servers.get(connection.spec.name)
        if server is None or connection.retired or connection.child.born < server.renewed:
            return
        if connection.key.startswith(SHARED) and connection.key != CATALOG:
            server.source = connection
        if server.asking:
            server.again = True
        else:
            pause = _CHANGED_PAUSE * 2.0 ** min(server.vain, _MOST_DOUBLINGS)
            self._plan(server, max(0.0, server.read_at + pause - self._reactor.clock()))

    def _plan(self, server: _Server, seconds: float) -> None:
        """One attempt is planned at a time: the sooner one."""
        if server.next is not None:
            if server.next.due <= self._reactor.clock() + seconds:
                return
            server.next.cancel()
        server.next = self._reactor.call_later(seconds, lambda: self.refresh(server.spec.name))

    def _plan_renewal(self, server: _Server) -> None:
        """Once a day, not all at once."""
        age = self._sources.wall() - (server.listed or 0.0)
        self._plan(server, min(_DAY, max(0.0, _DAY - age)) + self._sources.jitter() * _SPREAD)

    # --- memory ----------------------------------------------------------------------------------------

    def _recall(self, server: _Server) -> bool:
        """Serve what is remembered, if it is of what the server is now."""
        kept = server.kept
        if kept is None or kept.key != self._images.key(server.spec):
            return False
        if server.listed is None:
            self._eras.presume(server.spec)
            _log.info("catalog-recalled", extra=logs.fields(server=server.spec.name, read=kept.at))
            self._take(server, kept)
            self._settle(server)
        return server.problem is None

    def _take(self, server: _Server, kept: Kept) -> bool:
        """Whether it is something else than before."""
        changed = server.entry != kept.entry
        server.entry, server.key, server.listed = kept.entry, kept.key, kept.at
        if changed:
            self._settling.changed(server.spec.name)
        return changed

    def _remember(self, server: _Server, kept: Kept) -> None:
        """Not what was asked of something that the server is no more."""
        if kept.key and kept.key == self._images.key(server.spec):
            server.kept = kept
            self._keep(tuple(other.kept for other in self._servers.values() if other.kept is not None))

    # --- asking ----------------------------------------------------------------------------------------

    def _ask(self, server: _Server) -> None:
        key, fresh = self._images.key(server.spec), server.outdated
        server.again = server.outdated = False

        def over(outcome: Entry | MetaMCPError) -> None:
            if self._servers.get(server.spec.name) is not server:
                return  # removed, or configured anew
            if isinstance(outcome, Entry):
                self._learned(server, key, outcome)
            else:
                self._failed(server, outcome)

        way = Way(fresh, server.presumed, lambda: _source(server), lambda: _once_more(server))
        Attempt(self._pool, self._eras, self._listener, server.spec, way, over).begin()

    def _learned(self, server: _Server, key: str, entry: Entry) -> None:
        kept = Kept(key, self._sources.wall(), entry)
        changed = self._take(server, kept)
        server.problem, server.failures, server.presumed = None, 0, False
        server.vain = 0 if changed else server.vain + 1
        counts = {name: len(items) for name, items in entry.items.items()}
        _log.info("catalog-read", extra=logs.fields(server=entry.server, changed=changed, **counts))
        self._remember(server, kept)
        self._over(server)
        self._plan_renewal(server)

    def _failed(self, server: _Server, error: MetaMCPError) -> None:
        server.problem = error
        server.failures += 1
        pause = min(_RETRY_MOST, _RETRY_FIRST * 2.0 ** min(server.failures - 1, 10))
        _log.warning("catalog-failed", extra=logs.fields(server=server.spec.name, reason=error.told, retry_in=pause))
        self._over(server)
        self._plan(server, pause)

    def _over(self, server: _Server) -> None:
        server.asking = False
        server.read_at = self._reactor.clock()
        self._order.over(server.spec.name)
        self._settle(server)
        if server.outdated:
            self._plan(server, 0.0)  # while it was asked its image became another one

    def _settle(self, server: _Server) -> None:
        server.settled = True
        self._settling.wake()

    def _is_settled(self, name: str) -> bool:
        server = self._servers.get(name)
        return server is None or server.settled


def _source(server: _Server) -> UpstreamConnection | None:
    source, server.source = server.source, None
    return source


def _once_more(server: _Server) -> bool:
    wanted, server.again = server.again and not server.outdated, False
    return wanted
