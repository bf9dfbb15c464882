"""The misbehaving server in a container, and the containers of one gateway."""

from __future__ import annotations

from typing import Any

from docker_engine import Engine
from gateway_process import GatewayProcess, eventually

LABEL = "metamcp.instance"


def container_server(engine: Engine, mode: str, *options: str, **keys: Any) -> dict[str, Any]:
    """A configured server that is a container of the misbehaving server."""
    return {"command": "docker", "args": ["run", "-i", engine.image, "/misbehaving.py", mode, *options], **keys}


def mine(engine: Engine, gateway: GatewayProcess) -> list[str]:
    """Ids of the containers of this gateway."""
    instance = gateway.status()["instance"]
    return engine.containers(f"{LABEL}={instance}")


def child_of_session(gateway: GatewayProcess) -> dict[str, Any]:
    """The one child that belongs to a client's session; the catalog's own may still be on its way out."""

    def of_sessions() -> list[dict[str, Any]]:
        return [child for child in gateway.status()["children"] if child["session"] and child["containerId"]]

    eventually(lambda: bool(of_sessions()), "the engine has told the container's id")
    return of_sessions()[0]
