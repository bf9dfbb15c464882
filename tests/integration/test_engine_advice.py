"""An engine that is not there, or hangs: what to do about it is told wherever somebody sees that something failed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_process import ROOT, GatewayProcess, eventually, running_gateway

SERVERS = {
    "box": {"command": "docker", "args": ["run", "-i", "alpine"], "network": "none"},
    "inner": {"command": "docker", "args": ["run", "-i", "alpine"], "network": "internal"},  # asks the engine itself
}
ADVICE = "start the engine"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("away")
    env = {"DOCKER_HOST": f"unix://{folder}/docker.sock"}
    with running_gateway(folder, SERVERS, images=["alpine"], env=env, ready=False) as running:
        eventually(lambda: len(running.get("/ready").json()["reasons"]) == 2, "both were tried", 30)
        eventually(lambda: all(_reason(running, name) != "" for name in SERVERS), "both have failed", 30)
        yield running


def _reason(gateway: GatewayProcess, name: str) -> str:
    return next(str(server["reason"]) for server in gateway.status()["servers"] if server["name"] == name)


@pytest.mark.parametrize("name", SERVERS)
def test_operators_read_it_in_ready_and_status(gateway: GatewayProcess, name: str) -> None:
    assert ADVICE in gateway.get("/ready").json()["reasons"][f"server {name}"]
    (server,) = [server for server in gateway.status()["servers"] if server["name"] == name]
    assert ADVICE in server["reason"]
    assert ADVICE in server["lastExit"]["advice"]


@pytest.mark.parametrize("name", SERVERS)
def test_clients_read_it_in_the_text_of_the_error(gateway: GatewayProcess, name: str) -> None:
    session = gateway.open_session()
    error = gateway.call(session, f"{name}__anything")["error"]
    gateway.end_session(session)
    assert error["code"] == -31001
    assert ADVICE in error["message"]
    assert error["data"]["server"] == name


def test_the_log_tells_it(gateway: GatewayProcess) -> None:
    told = [line for line in gateway.log.splitlines() if ADVICE in line]
    for event in ("engine-away", "catalog-failed"):
        assert [line for line in told if event in line], f"{event}\n{gateway.log}"


def test_check_config_and_scan_tell_what_to_do(gateway: GatewayProcess) -> None:
    env = {**os.environ, "METAMCP_CONFIG_DIR": str(gateway.folder / "config"),
           "METAMCP_STATE_DIR": str(gateway.folder / "var"),
           "DOCKER_HOST": f"unix://{gateway.folder}/docker.sock"}  # fmt: skip
    argv = [sys.executable, "-m", "metamcp", "scan", "box"]
    scan = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30)
    assert scan.returncode == 1 and ADVICE in scan.stderr


def test_an_engine_that_hangs_holds_up_no_answer_of_the_gateway(tmp_path: Path) -> None:
    """Everything that the gateway asks it by itself hangs at the same time."""
    path = tmp_path / "docker.sock"
    servers = {f"s{number}": SERVERS["box"] for number in range(6)}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(512)  # the kernel completes connections, and nobody reads them
        env = {"DOCKER_HOST": f"unix://{path}"}
        with running_gateway(tmp_path, servers, images=["alpine"], env=env, ready=False) as gateway:
            took = []
            for _ in range(3):
                begun = time.monotonic()
                found = gateway.get("/docker-test/check")
                took.append(time.monotonic() - begun)
                assert found.status_code == 503
                assert "does not answer" in found.json()["hint"] and str(path) in found.json()["hint"]
            assert min(took) < 3, took  # the machine of a test may be busy
            begun = time.monotonic()
            checks = {item["name"]: item for item in gateway.get("/docker-test/test", timeout=60).json()["checks"]}
            assert time.monotonic() - begun < 30
            listener.close()  # so that what hangs ends, and the gateway with it
    assert checks["socket-permissions"]["status"] == "pass" and checks["engine"]["status"] == "fail"
    assert "does not answer" in checks["engine"]["hint"]
    assert checks["images-present"]["status"] == "skip"
