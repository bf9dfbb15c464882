"""What the gateway says about itself: the sole source of ``/api/status``, ``/api/events`` and ``/ready``."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from metamcp import __version__
from metamcp.config.live import Live
from metamcp.config.model import ServerSpec
from metamcp.downstream.registry import SessionRegistry
from metamcp.errors import MetaMCPError
from metamcp.gateway.catalog import Catalog
from metamcp.gateway.namespaces import Namespaces
from metamcp.runtime.child import Child
from metamcp.runtime.image_ids import ImageIds
from metamcp.runtime.memory_use import Read
from metamcp.runtime.screening.ledger import Record
from metamcp.runtime.states import ServerState
from metamcp.runtime.supervisor import Supervisor
from metamcp.upstream.pool import ServerView, UpstreamPool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Reads everybody, changes nobody. ``memory`` reads how much a child uses; ``wall`` turns monotonic seconds into
    Unix time."""

    instance: str
    since: float  # Unix seconds
    live: Live
    namespaces: Namespaces
    registry: SessionRegistry
    pool: UpstreamPool
    supervisor: Supervisor
    catalog: Catalog
    images: ImageIds
    image_of: Callable[[ServerSpec], str | None]
    recorded: Callable[[str], Record | None]  # by a complete reference
    memory: Read
    wall: Callable[[float], float]

    def status(self, memory: Read | None = None) -> dict[str, Any]:
        """The document of ``/api/status`` (docs/operations.md). ``memory``: where it need not be read now."""
        memory = memory or self.memory
        return {
            "instance": self.instance,
            "version": __version__,
            "supervisor": {"pid": os.getpid(), "since": self.since},
            "configuration": {
                "loadedAt": self.live.loaded_at,
                "problems": [{"path": path, "text": text} for path, text in self.live.problems],
            },
            "sessions": [
                {
                    "id": session.short_id, "endpoint": session.endpoint, "principal": session.principal,
                    "revision": session.revision, "transport": session.transport,
                    "since": self.wall(session.since), "lastUsed": self.wall(session.last_used),
                }
                for session in self.registry.sessions
            ],
            "servers": [self._server(view) for view in self.pool.views()],
            "children": [self._child(child, memory) for child in self.supervisor.children],
            "namespaces": {
                namespace.spec.name: {"missing": namespace.missing(), "problems": namespace.problems}
                for namespace in self.namespaces
            },
        }

    def ready(self) -> dict[str, Any]:
        """``ready`` and the reasons why not: every enabled server whose list is not known."""
        reasons = {}
        for namespace in self.namespaces:
            for server, reason in namespace.missing().items():
                if self.live.config.servers[server].enabled:
                    reasons[f"server {server}"] = reason
        return {"ready": not reasons, "reasons": reasons}

    def _server(self, view: ServerView) -> dict[str, Any]:
        problem = self.catalog.problem(view.name)
        state, reason = _judged(view, problem)
        return {
            "name": view.name, "state": state, "since": self.wall(view.since), "reason": reason,
            "advice": _advice(view, problem) if reason else None, "nextTryAt": self._next_try(view),
            "image": self.image_of(self.live.config.servers[view.name]), "digest": self.images.id(view.name),
            "drift": self._drift(view.name),
            "listed": self.catalog.listed(view.name), "instances": view.instances, "command": view.command,
            "lastExit": None if view.last_exit is None else {"at": self.wall(view.exited), **view.last_exit},
        }  # fmt: skip

    def _next_try(self, view: ServerView) -> float | None:
        """When a server that cannot be had may be, by itself or by a call."""
        due = [moment for moment in (view.next_try, self.catalog.next_try(view.name)) if moment is not None]
        return self.wall(min(due)) if due else None

    def _drift(self, server: str) -> str | None:
        """The id of the image that the reference named first, where it names another one now."""
        now, reference = self.images.id(server), self.images.reference(server)
        record = self.recorded(reference) if reference else None
        return record.id if record is not None and now and record.id != now else None

    def _child(self, child: Child, memory: Read) -> dict[str, Any]:
        return {
            "pid": child.pid, "containerId": child.container_id or None,
            "containerName": child.container_name or None,
            "server": child.server, "session": child.session[:8] or None, "state": child.state,
            "since": self.wall(child.since), "memoryBytes": memory(child),
        }  # fmt: skip


def _judged(view: ServerView, problem: MetaMCPError | None) -> tuple[ServerState, str]:
    """A server whose lists could not be read is not IDLE: it is asked again after a pause."""
    if problem is None or view.state in (ServerState.BACKOFF, ServerState.FATAL):
        return view.state, view.reason
    return ServerState.BACKOFF if view.state is ServerState.IDLE else view.state, problem.told


def _advice(view: ServerView, problem: MetaMCPError | None) -> str | None:
    """What to try, where that is known."""
    known = (problem.data.get("advice") or problem.data.get("hint")) if problem is not None else None
    known = known or (view.last_exit or {}).get("advice")
    if known is None and view.state is ServerState.FATAL:
        known = f"mend what the reason says, then python -m metamcp reset {view.name}"
    return str(known) if known else None
