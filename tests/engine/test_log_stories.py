"""Whoever has only the gateway's standard error learns why a container did not start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from containers import container_server
from docker_engine import Engine
from gateway_process import GatewayProcess, eventually, running_gateway
from log_lines import JSON_LOG, lines, of

NOWHERE = "registry.invalid/none:1"
SECRET = "swordfish-hunter2"


@pytest.fixture(scope="module", params=["docker-cli", "docker-api"])
def gateway(
    engine: Engine, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    servers = {
        "no-image": {"command": "docker", "args": ["run", "-i", NOWHERE], "network": "none"},
        "exits": container_server(engine, "exit-at-start", "3", env={"TOKEN": SECRET}),
    }
    env = {**engine.env, **JSON_LOG, "METAMCP_RUNTIME": request.param}
    folder = tmp_path_factory.mktemp("stories")
    with running_gateway(folder, servers, images=[engine.image, NOWHERE], env=env, ready=False) as running:

        def failed() -> bool:
            events = [(line.get("server"), line["event"]) for line in lines(running.log)]
            return all((name, "catalog-failed") in events for name in servers)

        eventually(failed, "both have failed", 90)
        yield running


def test_image_that_cannot_be_pulled_is_told_with_its_command_and_what_to_do(gateway: GatewayProcess) -> None:
    died = of(gateway.log, "no-image", "child-died")
    assert died["exit_code"] == 125 and died["container"] and "registry.invalid" in died["stderr"]
    told = [line for line in lines(gateway.log, "no-image") if "command" in line]
    assert told and all(NOWHERE in line["command"] and line["container"] == died["container"] for line in told)
    assert "build or load the image" in died["hint"]
    reason = of(gateway.log, "no-image", "catalog-failed")["reason"]
    assert "registry.invalid" in reason and died["hint"].rstrip(".") in reason


def test_container_whose_program_exits_at_once_is_told_with_its_last_words(gateway: GatewayProcess) -> None:
    born, died = (of(gateway.log, "exits", event) for event in ("child-born", "child-died"))
    assert born["command"].startswith("docker run ") and born["command"].endswith("/misbehaving.py exit-at-start 3")
    assert born["container"] == died["container"] and died["exit_code"] == 3
    assert died["stderr"] == "reading the settings | the settings lack a key | giving up"
    reason = of(gateway.log, "exits", "catalog-failed")["reason"]
    assert "code 3" in reason and "giving up" in reason
    assert SECRET not in gateway.log
