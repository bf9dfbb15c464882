"""What operators see beside the answers to their ``questions``: calls, the last hour, streams, endpoints."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.factory.questions import document
from metamcp.gateway.calls import Calls
from metamcp.gateway.endpoints import Endpoints
from metamcp.gateway.history import History
from metamcp.gateway.router import Operator
from metamcp.gateway.snapshot import Snapshot
from metamcp.gateway.standing import StderrStreams, Watching
from metamcp.runtime.memory_use import MemoryUse


@dataclass(frozen=True, slots=True)
class Views:
    """``calls`` is the journal of the audit; ``operators`` by subject."""

    calls: Calls
    history: History
    operators: Mapping[str, Operator]


def build_views(reactor: Reactor, chores: Workers, snapshot: Snapshot) -> Views:
    """Of whom ``snapshot`` reads. Memory is read by ``chores``."""
    supervisor = snapshot.supervisor
    memory = MemoryUse(reactor, chores, lambda: supervisor.children, snapshot.memory)
    history = History(memory, lambda: supervisor.children, time.time)
    calls = Calls(snapshot.wall, history.call)
    endpoints = Endpoints(snapshot.live, snapshot.namespaces)
    watched = {"status": lambda: snapshot.status(memory.of), "calls": calls.document}
    operators: dict[str, Operator] = {
        "events": Watching(reactor, watched, memory.freshen),
        "stderr": StderrStreams(snapshot.live, supervisor.stderr),
        "calls": document(calls.document), "history": document(history.document),
        "endpoints": endpoints.list, "catalog": endpoints.catalog,
    }  # fmt: skip
    return Views(calls, history, operators)
