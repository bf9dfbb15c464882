"""The whole gateway against a real engine: real gunicorn, the supervisor, `docker run -i --rm` children."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from containers import LABEL, child_of_session, container_server, mine
from docker_engine import Engine
from gateway_process import GatewayProcess, process_server, processes_with, running_gateway
from httpx2 import Timeout
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

PATIENCE = 60.0
"""Seconds of a client for an answer: a hundred of them share one event loop, which may itself be late."""


@pytest.fixture(scope="module")
def two_servers(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """For all tests that only use it; the containers of each are gone soon after it."""
    servers = {
        "one": container_server(engine, "good", network="egress", idleSeconds=1),
        "two": container_server(engine, "good", isolation="shared", idleSeconds=1),
    }
    folder = tmp_path_factory.mktemp("two-servers")
    env = {**engine.env, "METAMCP_TEST_IMAGE": engine.image}
    with running_gateway(folder, servers, images=[engine.image], workers=2, env=env) as gateway:
        yield gateway


@pytest.mark.parametrize("transport", ["sse", "mcp"])
@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
def test_sdk_client_calls_tools_in_containers_of_two_servers(
    engine: Engine, two_servers: GatewayProcess, transport: str, revision: str
) -> None:
    async def use() -> None:
        url = f"{two_servers.url}/metamcp/default/{transport}"
        connect = sse_client(url) if transport == "sse" else streamable_http_client(url)
        async with connect as streams, ClientSession(streams[0], streams[1]) as client:
            await client.initialize()
            tools = {tool.name for tool in (await client.list_tools()).tools}
            assert {"one__echo", "two__echo"} <= tools
            running = mine(engine, two_servers)
            for server in ("one", "two"):
                result = await client.call_tool(f"{server}__whoami", {})
                host = str(result.content[0].text).split(":")[0]  # type: ignore[union-attr]
                running = mine(engine, two_servers)
                assert any(container.startswith(host) for container in running), (host, running)

    asyncio.run(use())


def test_a_session_of_its_own_revision_is_answered_in_it(two_servers: GatewayProcess) -> None:
    for revision in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"):
        session = two_servers.open_session(revision)
        answer = two_servers.rpc("tools/list", session=session, **{"MCP-Protocol-Version": revision})
        assert answer.status_code == 200


def test_hundred_clients_on_eight_workers_make_a_thousand_calls_each_executed_exactly_once(
    engine: Engine, tmp_path: Path
) -> None:
    servers = {name: container_server(engine, "good", isolation="shared") for name in ("one", "two")}

    async def client(gateway: GatewayProcess, number: int) -> None:
        transport = "sse" if number < 50 else "mcp"
        url = f"{gateway.url}/metamcp/default/{transport}"
        async with AsyncExitStack() as stack:
            if transport == "sse":
                streams = await stack.enter_async_context(sse_client(url, timeout=PATIENCE))
            else:
                http = await stack.enter_async_context(create_mcp_http_client(timeout=Timeout(PATIENCE)))
                streams = await stack.enter_async_context(streamable_http_client(url, http_client=http))
            session = await stack.enter_async_context(ClientSession(streams[0], streams[1]))
            await session.initialize()
            for call in range(10):
                tool = f"{('one', 'two')[call % 2]}__record"
                result = await session.call_tool(tool, {"token": f"{number}-{call}"})
                assert not result.is_error, result

    async def all_clients(gateway: GatewayProcess) -> None:
        await asyncio.gather(*(client(gateway, number) for number in range(100)))

    env = {**engine.env, "GUNICORN_CMD_ARGS": "--access-logfile -"}
    with running_gateway(tmp_path, servers, images=[engine.image], workers=8, env=env) as gateway:
        asyncio.run(all_clients(gateway))
        session = gateway.open_session()
        counts: dict[str, int] = {}
        for server in ("one", "two"):
            counts |= json.loads(gateway.text(session, f"{server}__tally"))
        assert counts == {f"{number}-{call}": 1 for number in range(100) for call in range(10)}
        statuses = Counter(re.findall(r'"POST \S+" (\d+) ', gateway.log))
        assert statuses["202"] >= 550 and statuses["200"] >= 550  # SSE clients' messages; Streamable clients' calls
        assert set(statuses) == {"200", "202"}


def test_sigterm_leaves_no_container_and_no_process_within_ten_seconds(engine: Engine, tmp_path: Path) -> None:
    seconds = [seconds_of_an_end(engine, tmp_path / "first")]
    if seconds[0] >= 10:  # the engine takes what it takes: on a busy machine the second time counts, too
        seconds.append(seconds_of_an_end(engine, tmp_path / "second"))
    assert min(seconds) < 10, seconds


def seconds_of_an_end(engine: Engine, folder: Path) -> float:
    folder.mkdir()
    marker = f"marker-{os.urandom(6).hex()}"
    modes = ("good", "ignores-eof-and-term")
    servers = {mode: container_server(engine, mode, marker) for mode in modes}
    servers |= {f"plain-{mode}": process_server(mode, marker) for mode in modes}
    with running_gateway(folder, servers, images=[engine.image], workers=2, env=engine.env) as gateway:
        for session in [gateway.open_session() for _ in range(2)]:
            for server in servers:
                gateway.text(session, f"{server}__whoami")
        stream = gateway.http.get(f"{gateway.url}/metamcp/default/sse", stream=True, timeout=30)
        instance = gateway.status()["instance"]
        assert len(engine.containers(f"{LABEL}={instance}")) >= 4
        begun = time.monotonic()
        assert gateway.stop() == 0
        seconds = time.monotonic() - begun
        stream.close()
    assert not engine.containers(f"{LABEL}={instance}")
    assert not processes_with(marker)
    return seconds


def test_image_off_the_allowlist_is_refused_with_its_rule_and_the_others_serve(engine: Engine, tmp_path: Path) -> None:
    servers = {"bad": container_server(engine, "good"), "good": process_server("good")}
    with running_gateway(tmp_path, servers, images=["ghcr.io/example/*"], env=engine.env, ready=False) as gateway:
        session = gateway.open_session()
        assert gateway.text(session, "good__echo", {"text": "served"}) == "served"
        error = gateway.call(session, "bad__echo", {"text": "x"})["error"]
        assert error["code"] == -31005
        assert error["data"]["rule"] == "image-allowlist"
        assert "metamcp-test:local" in error["message"]
        assert "allowlist" in error["message"]
        assert gateway.get("/ready").status_code == 503
        assert "bad" in str(gateway.get("/ready").json()["reasons"])
        assert not mine(engine, gateway)


def test_seed_configuration_works_as_it_is(engine: Engine, tmp_path: Path) -> None:
    seed = {"name": "docker-mcp-server", "command": "docker", "args": ["run", "-i", "my-mcp-image:latest"],
            "transport": "stdio"}  # fmt: skip
    recipe = f'FROM {engine.image}\nENTRYPOINT ["python3", "-I", "-S", "/misbehaving.py", "good"]\n'
    subprocess.run(["docker", "build", "-q", "-t", "my-mcp-image:latest", "-"], input=recipe.encode(), check=True,
                   env={**engine.env, "DOCKER_BUILDKIT": "0"}, capture_output=True, timeout=60)  # fmt: skip
    try:
        with running_gateway(tmp_path, {}, images=["my-mcp-image:latest"], env=engine.env, seed=[seed]) as gateway:
            session = gateway.open_session()
            assert gateway.text(session, "docker-mcp-server__echo", {"text": "hello"}) == "hello"
    finally:
        engine.docker("rmi", "-f", "my-mcp-image:latest")


def test_container_is_as_hardened_and_labelled_as_explained(engine: Engine, two_servers: GatewayProcess) -> None:
    session = two_servers.open_session()
    two_servers.text(session, "one__whoami")
    child = child_of_session(two_servers, session)
    facts = json.loads(engine.docker("inspect", child["containerId"]))[0]
    assert facts["Name"] == f"/{child['containerName']}"
    host, labels = facts["HostConfig"], facts["Config"]["Labels"]
    assert host["Memory"] == host["MemorySwap"] == 512 * 1024 * 1024
    assert host["NanoCpus"] == 1_000_000_000
    assert host["PidsLimit"] == 256
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Init"] and host["AutoRemove"] and host["ReadonlyRootfs"]
    assert host["ExtraHosts"] == ["host.docker.internal:host-gateway"]
    assert host["LogConfig"]["Type"] == "none"
    assert labels["metamcp.server"] == "one"
    assert labels["metamcp.session"] == session[:8]
    assert session not in json.dumps(facts)


def test_secret_is_in_the_container_and_nowhere_else(engine: Engine, tmp_path: Path) -> None:
    canary = f"canary-{os.urandom(8).hex()}"
    server = container_server(engine, "good", env={"TOKEN": "${SECRET_OF_TEST}"})
    env = {**engine.env, "SECRET_OF_TEST": canary}
    with running_gateway(tmp_path, {"server": server}, images=[engine.image], env=env) as gateway:
        session = gateway.open_session()
        assert canary in gateway.text(session, "server__env", {"name": "TOKEN"})
        assert not processes_with(canary)
        assert canary not in gateway.log
        assert canary not in gateway.get("/api/status").text
        assert canary not in gateway.get("/docker-test/info", timeout=20).text
        child = child_of_session(gateway)
        facts = json.loads(engine.docker("inspect", child["containerId"]))[0]
        config = facts["Config"]
        assert canary not in json.dumps([facts["Args"], facts["Path"], config["Cmd"], config["Labels"]])


def test_diagnostics_answer_for_real(engine: Engine, two_servers: GatewayProcess) -> None:
    check = two_servers.get("/docker-test/check")
    assert check.status_code == 200
    assert check.json()["accessible"] is True
    assert check.json()["engine"]["version"] == engine.docker("version", "--format", "{{.Server.Version}}").strip()
    info = two_servers.get("/docker-test/info", timeout=20).json()
    assert {image["server"] for image in info["images"]} == {"one", "two"}
    assert info["runtime"] == "docker-cli"
    test = two_servers.get("/docker-test/test", timeout=60).json()
    assert {"name", "status", "seconds", "detail", "hint"} == set(test["checks"][0])
    found = {item["name"]: item for item in test["checks"]}
    assert test["ok"] is True, [item for item in test["checks"] if item["status"] == "fail"]
    assert {name for name, item in found.items() if item["status"] == "skip"} == {
        "host-gateway", "proxy-buffering", "proxy-silence", "engine-silence",
    }  # fmt: skip
    assert "one: docker.io/library/metamcp-test:local" in found["images-allowed"]["detail"]
