"""What belongs to one client, in real containers: its own container has it, and nothing else of the engine shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from containers import child_of_session, container_server, mine
from docker_engine import Engine
from gateway_process import eventually, processes_with, running_gateway

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
CANARY = "canary-tenant-77d1e0b2"


@pytest.mark.parametrize("runtime", ["docker-cli", "docker-api"])
def test_a_header_is_in_the_container_of_its_session_alone(engine: Engine, tmp_path: Path, runtime: str) -> None:
    server = container_server(
        engine, "good", isolation="session", era="legacy", warm=1, passHeaders={"X-Tenant": "TENANT"},
        env={"TENANT": "nobody"},
    )  # fmt: skip
    env = {**engine.env, "METAMCP_RUNTIME": runtime}
    with running_gateway(tmp_path, {"mine": server}, images=[engine.image], env=env) as gateway:
        one = gateway.rpc("initialize", HELLO, **{"X-Tenant": CANARY}).headers["Mcp-Session-Id"]
        two = gateway.open_session()
        assert gateway.text(one, "mine__env", {"name": "TENANT"}) == CANARY
        assert gateway.text(two, "mine__env", {"name": "TENANT"}) == "nobody"
        own = child_of_session(gateway, one)["containerId"]
        eventually(lambda: len(mine(engine, gateway)) >= 3, "both sessions and a spare have a container")
        for container in mine(engine, gateway):
            (facts,) = json.loads(engine.docker("inspect", container))
            environment = facts["Config"].pop("Env")
            assert (f"TENANT={CANARY}" in environment) == (own[:12] == container[:12])
            assert CANARY not in json.dumps(facts)
        assert processes_with(CANARY) == [] and CANARY not in gateway.log
        for session in (one, two):
            gateway.end_session(session)
