"""What the metrics say about containers of a real engine: memory, CPU, their ends, and what was left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from containers import container_server, mine
from docker_engine import Engine
from gateway_process import GatewayProcess, eventually, running_gateway
from metrics_page import Page

MIB = 1024 * 1024


def page(gateway: GatewayProcess) -> Page:
    return Page(gateway.get("/metrics").text)


def test_containers_show_what_they_use_and_how_they_end(engine: Engine, tmp_path: Path) -> None:
    servers = {"one": container_server(engine, "ignores-eof", isolation="session", limits={"memory": "64m"})}
    with running_gateway(tmp_path, servers, images=[engine.image], env=engine.env) as gateway:
        session = gateway.open_session()
        assert gateway.text(session, "one__echo", {"text": "x"}, timeout=60) == "x"
        eventually(lambda: len(gateway.status()["children"]) == 1, "the catalog's own container is gone", 40)
        (child,) = gateway.status()["children"]
        name = child["containerName"]

        def seen() -> bool:
            return bool(page(gateway).of("metamcp_container_cpu_seconds_total", container=name))

        eventually(seen, "the engine has told the container's id")
        now = page(gateway)
        ((labels, memory),) = now.of("metamcp_container_memory_bytes")
        assert labels == {"server": "one", "container": name}
        assert MIB < memory < 64 * MIB == now.sum("metamcp_container_memory_limit_bytes")
        assert 0.01 < now.sum("metamcp_container_cpu_seconds_total") < 30
        assert now.sum("metamcp_engine_connected") == 1

        error = gateway.call(session, "one__big", {"bytes": 400 * MIB}, timeout=60)["error"]
        assert error["code"] == -31004
        eventually(lambda: page(gateway).sum("metamcp_child_exits_total", reason="oom") == 1, "it is told as oom")
        assert not page(gateway).of("metamcp_container_memory_bytes", container=name)
        assert gateway.text(session, "one__echo", {"text": "y"}, timeout=60) == "y"
        assert page(gateway).sum("metamcp_child_restarts_total", server="one") == 1

        left = len(mine(engine, gateway))
        assert left == 1
        os.kill(gateway.supervisor_pid, signal.SIGKILL)
        eventually(lambda: page(gateway).sum("metamcp_orphans_removed_total") == left, "the orphan is removed", 60)
