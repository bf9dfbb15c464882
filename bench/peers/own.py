"""This gateway, as it is deployed: gunicorn with two web workers, and the supervisor beside them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.peers.peer import OWN, Peer, Place

ROOT = Path(__file__).resolve().parents[2]
SERVER, PREFIX = "bench", "bench__"
WORKERS = 2
MOST_INSTANCES, MOST_CLIENTS = 100, 10_000
RUNTIMES = {"cli": "docker-cli", "api": "docker-api"}
PATHS = {"http": "/metamcp/default/mcp", "sse": "/metamcp/default/sse"}
TOOL_COUNTS = (10, 500)
SPARES = 4


@dataclass(frozen=True)
class Variant:
    """``tools``: how many the server has at least; ``warm``: containers that wait started."""

    runtime: str
    isolation: str
    transport: str
    tools: int = 0
    warm: int = 0

    @property
    def name(self) -> str:
        more = f"-tools{self.tools}" if self.tools else f"-warm{self.warm}" if self.warm else ""
        return f"metamcp-{self.runtime}-{self.isolation}-{self.transport}{more}"

    def configuration(self, image: str) -> dict[str, object]:
        """servers.json."""
        arguments = ["run", "-i", image, *(["--tools", str(self.tools)] if self.tools else [])]
        server: dict[str, object] = {"command": "docker", "args": arguments, "isolation": self.isolation}
        if self.isolation == "session":
            server |= {"maxInstances": MOST_INSTANCES, "warm": self.warm}
        return {"mcpServers": {SERVER: server}}

    def environment(self, place: Place) -> Mapping[str, str]:
        """Also writes the configuration. What the caller's own environment says of a gateway is not taken over."""
        config = place.folder / "config"
        config.mkdir()
        (config / "servers.json").write_text(json.dumps(self.configuration(place.image)))
        (config / "allowlist.json").write_text(json.dumps({"images": [place.image]}))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("METAMCP_")}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        return kept | {
            "METAMCP_CONFIG_DIR": str(config),
            "METAMCP_STATE_DIR": str(place.folder / "var"),
            "METAMCP_BIND": f"127.0.0.1:{place.port}",
            "METAMCP_RUNTIME": RUNTIMES[self.runtime],
            "METAMCP_MAX_SESSIONS_PER_PRINCIPAL": str(MOST_CLIENTS),
            "METAMCP_MAX_STREAMS_PER_PRINCIPAL": str(MOST_CLIENTS),
            "WEB_CONCURRENCY": str(WORKERS),
            "PYTHONPATH": str(ROOT),
        }


def variants() -> Iterator[Variant]:
    """First the ones that are compared with others, then those that answer one question."""
    for runtime in RUNTIMES:
        for isolation in ("session", "shared"):
            for transport in PATHS:
                yield Variant(runtime, isolation, transport)
    for tools in TOOL_COUNTS:
        yield Variant("api", "shared", "http", tools=tools)
    for runtime in RUNTIMES:
        yield Variant(runtime, "session", "http", warm=SPARES)


def own_peers() -> Iterator[Peer]:
    for variant in variants():
        path = PATHS[variant.transport]
        yield Peer(
            variant.name,
            OWN,
            variant.transport,
            target=lambda _, path=path: path,  # type: ignore[misc]
            argv=_argv,
            env=variant.environment,
            labels=_labels,
            prefix=PREFIX,
            ready="/ready",
            default=not variant.tools and not variant.warm,
        )


def _argv(_: Place) -> list[str]:
    root = ["--chdir", str(ROOT)]
    return [sys.executable, "-m", "gunicorn", *root, "-c", str(ROOT / "config" / "gunicorn.conf.py"), "wsgi:app"]


def _labels(place: Place) -> list[str]:
    """The gateway gives containers labels of its own. Raises OSError before it has an identity."""
    instance = (place.folder / "var" / "instance-id").read_text().strip()
    return [f"metamcp.instance={instance}", f"metamcp.server={SERVER}"]
