"""What can be seen of the gateway at any time: the gauges of ``/metrics``, read when somebody asks."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from metamcp import __version__
from metamcp.config.live import Live
from metamcp.downstream.registry import MAX_SESSIONS, SessionRegistry
from metamcp.gateway.bridged import MAX_HELD, HeldCalls
from metamcp.gateway.listening import Listenings
from metamcp.runtime.child import STDIN_LIMIT
from metamcp.runtime.starts import MOST_WAITING as MOST_STARTS
from metamcp.runtime.states import ChildState, ServerState
from metamcp.runtime.supervisor import Supervisor
from metamcp.telemetry import metrics
from metamcp.telemetry.audit_log import QUEUE_LINES, AuditLog
from metamcp.telemetry.metrics import Labels, Samples, Value, lone
from metamcp.upstream.connection import MOST_WAITING
from metamcp.upstream.pool import UpstreamPool

_LIVING = [state for state in ChildState if state is not ChildState.EXITED]


class Waiting(Protocol):
    """Threads with a bounded queue of jobs (``concurrency.tasks.Workers``, ``concurrency.crew.Crew``)."""

    @property
    def name(self) -> str: ...

    @property
    def waiting(self) -> int: ...

    @property
    def limit(self) -> int: ...


class Link(Protocol):
    """The supervisor's end of the link (``link.server.LinkServer``). ``waiting`` and ``limit`` in bytes, for the web
    worker that takes least."""

    @property
    def connections(self) -> int: ...

    @property
    def waiting(self) -> int: ...

    @property
    def limit(self) -> int: ...


@dataclass(slots=True)
class Gauges:
    """Reads everybody, changes nobody; for the reactor's thread. ``since``: Unix seconds. ``engine_connected`` tells
    whether the engine's events come. ``link``: None in embedded mode, which has none."""

    since: float
    live: Live
    registry: SessionRegistry
    listenings: Listenings
    held: HeldCalls
    pool: UpstreamPool
    supervisor: Supervisor
    workers: tuple[Waiting, ...]
    audit_log: AuditLog
    engine_connected: Callable[[], bool]
    link: Link | None = None

    def samples(self) -> Samples:
        """All but what has to be read from the kernel (``gateway/measurement.py``)."""
        return self._itself() | self._clients() | self._servers() | self._queues()

    def _itself(self) -> Samples:
        found: Samples = {
            metrics.BUILD.name: [((__version__, platform.python_version()), 1.0)],
            metrics.STARTED.name: lone(self.since),
            metrics.LOADED.name: lone(self.live.loaded_at),
            metrics.PROBLEMS.name: lone(float(len(self.live.problems))),
            metrics.ENGINE.name: lone(float(self.engine_connected())),
            metrics.AUDIT_LOST.name: lone(float(self.audit_log.lost_ever)),
        }
        if self.link is not None:
            found[metrics.LINKS.name] = lone(float(self.link.connections))
        return found

    def _clients(self) -> Samples:
        every = [(endpoint, transport) for endpoint in self.live.config.endpoints for transport in ("http", "sse")]
        sessions, streams = Counter[Labels](), Counter[Labels]()
        for session in self.registry.sessions:
            at = (session.endpoint, session.transport)
            sessions[at] += 1
            streams[at] += len(session.streams)
        streams.update((endpoint, "http") for endpoint in self.listenings.endpoints)
        return {metrics.SESSIONS.name: _filled(sessions, every), metrics.STREAMS.name: _filled(streams, every)}

    def _servers(self) -> Samples:
        servers = list(self.live.config.servers)
        states = {view.name: view.state for view in self.pool.views()}
        children = Counter[Labels]((child.server, child.state) for child in self.supervisor.children)
        calls = Counter[Labels]()
        for connection in self.pool.connections:
            calls[connection.spec.name,] += connection.in_flight
        return {
            metrics.SERVER_STATE.name: [
                ((server, state), float(states[server] is state))
                for server in servers if server in states for state in ServerState
            ],
            metrics.CHILDREN.name: _filled(children, ((server, state) for server in servers for state in _LIVING)),
            metrics.IN_FLIGHT.name: _filled(calls, ((server,) for server in servers)),
        }  # fmt: skip

    def _queues(self) -> Samples:
        starting = max((connection.waiting for connection in self.pool.connections), default=0)
        lengths = {
            "starts": (self.supervisor.waiting, MOST_STARTS), "calls-before-start": (starting, MOST_WAITING),
            "held-calls": (len(self.held), MAX_HELD), "sessions": (len(self.registry), MAX_SESSIONS),
            "audit": (self.audit_log.waiting, QUEUE_LINES),
        } | {workers.name: (workers.waiting, workers.limit) for workers in self.workers}  # fmt: skip
        unread = max((child.unread for child in self.supervisor.children), default=0)
        sizes = {"server-input": (unread, STDIN_LIMIT)}
        if self.link is not None:
            sizes["link"] = (self.link.waiting, self.link.limit)
        return {
            metrics.QUEUE.name: [((name,), float(length)) for name, (length, _) in lengths.items()],
            metrics.QUEUE_LIMIT.name: [((name,), float(limit)) for name, (_, limit) in lengths.items()],
            metrics.QUEUE_BYTES.name: [((name,), float(size)) for name, (size, _) in sizes.items()],
            metrics.QUEUE_BYTES_LIMIT.name: [((name,), float(limit)) for name, (_, limit) in sizes.items()],
        }


def _filled(found: Counter[Labels], known: Iterable[Labels]) -> list[tuple[Labels, Value]]:
    """With 0 for those that are known and were not found."""
    counts = dict.fromkeys(known, 0) | found
    return [(labels, float(count)) for labels, count in counts.items()]
