"""The misbehaving server in a container, and the containers of one gateway."""

from __future__ import annotations

from typing import Any

from docker_engine import Engine
from gateway_process import GatewayProcess, eventually

LABEL = "metamcp.instance"


def container_server(engine: Engine, mode: str, *options: str, **keys: Any) -> dict[str, Any]:
    """A configured server that is a container of the misbehaving server; without a network, which would cost a second
    for each."""
    arguments = ["run", "-i", engine.image, "/misbehaving.py", mode, *options]
    return {"command": "docker", "args": arguments, "network": "none", **keys}


def mine(engine: Engine, gateway: GatewayProcess) -> list[str]:
    """Ids of the containers of this gateway."""
    instance = gateway.status()["instance"]
    return engine.containers(f"{LABEL}={instance}")


def child_of_session(gateway: GatewayProcess, session: str = "") -> dict[str, Any]:
    """The one child that belongs to ``session``, or to any; the catalog's own may still be on its way out."""

    def of_sessions() -> list[dict[str, Any]]:
        children = [child for child in gateway.status()["children"] if child["session"] and child["containerId"]]
        return [child for child in children if session.startswith(child["session"])] if session else children

    eventually(lambda: bool(of_sessions()), "the engine has told the container's id")
    return of_sessions()[0]
