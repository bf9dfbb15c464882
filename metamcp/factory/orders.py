"""What operators order, beside what they ask (``questions``): each is answered at once, and goes on by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from metamcp.config.live import Live
from metamcp.gateway.catalog import Catalog
from metamcp.gateway.interface import Ask, Reply
from metamcp.gateway.operators import Body, answer, unknown_server
from metamcp.gateway.reload import Reloader
from metamcp.gateway.router import Operator
from metamcp.upstream.pool import UpstreamPool

_STOPPED, _RESTARTED = "an operator stopped it", "an operator restarted it"


def done(text: str, **more: Any) -> Body:
    return (200, {"done": True, "text": text, **more})


@dataclass(frozen=True, slots=True)
class Orders:
    """About servers. For the reactor's thread."""

    live: Live
    pool: UpstreamPool
    catalog: Catalog

    def operators(self) -> dict[str, Operator]:
        """By subject."""
        return {
            "restart": self._about_server(self.restart), "stop": self._about_server(self.stop),
            "wake": self._about_server(self.wake), "reset": self._about_server(self.reset),
        }  # fmt: skip

    def restart(self, server: str) -> Body:
        """Whatever runs ends, calls in flight with it; then it is read anew what the server has."""
        ended = self.pool.stop(server, _RESTARTED)
        self.pool.reset(server)
        self.pool.wake(server)
        self.catalog.renew(server)
        return done(f"{_instances(ended)} of {server!r} ended; one is started to read its lists anew", ended=ended)

    def stop(self, server: str) -> Body:
        ended = self.pool.stop(server, _STOPPED)
        text = f"{_instances(ended)} of {server!r} ended; the next call starts it again"
        return done(f"{text}. To keep it away set enabled to false in servers.json", ended=ended)

    def wake(self, server: str) -> Body:
        refusal = self.pool.refusal(server)
        if refusal is not None:
            text = f"{refusal.told}. To try it at once: reset {server!r}"
            return (409, {"error": text})
        self.pool.wake(server)
        self.catalog.refresh(server)
        return done(f"{server!r} is started and asked what it has")

    def reset(self, server: str) -> Body:
        """The server is tried at once, whatever became of it before."""
        self.pool.reset(server)
        self.pool.wake(server)
        self.catalog.refresh(server)
        return done(f"server {server!r} is asked again")

    def _about_server(self, order: Callable[[str], Body]) -> Operator:
        def obey(reply: Reply, ask: Ask) -> None:
            answer(reply, self._refusal(ask.argument) or order(ask.argument))

        return obey

    def _refusal(self, server: str) -> Body | None:
        spec = self.live.config.servers.get(server)
        if spec is None:
            return unknown_server(self.live, server)
        if not spec.enabled:
            return (409, {"error": f"server {server!r} is disabled: set enabled to true in servers.json"})
        return None


def noting() -> dict[str, Operator]:
    """What the web tier does itself: there is no more to it here than the line in the audit log."""

    def obey(reply: Reply, _ask: Ask) -> None:
        answer(reply, done("it is noted"))

    return {"sign-in": obey, "try-tool": obey, "inspect": obey}


def reloading(reloader: Callable[[], Reloader]) -> Operator:
    """Read the configuration now: what changed, or its mistakes."""

    def obey(reply: Reply, _ask: Ask) -> None:
        reloader().request("a command", lambda body: answer(reply, _told(body)))

    return obey


def _told(body: Body) -> Body:
    status, document = body
    if "problems" in document:
        text = "the files have mistakes, and the former configuration is in force: mend them, then reload"
        return (status, {"error": text, **document})
    changed = any(names for lists in document.values() for names in lists.values())
    return done("the configuration is in force" if changed else "nothing changed", changes=document)


def _instances(count: int) -> str:
    return f"{count} instance{'' if count == 1 else 's'}"
