"""docker-compose.split.yml on a real engine: nginx, web tier and supervisor apart, and what each of them is without."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

import pytest
import requests
from composed import (
    COMPOSES,
    SCRIPT,
    SERVER,
    SOCKET,
    SUPERVISOR,
    WEB,
    Images,
    Project,
    ends_well_and_leaves_nothing,
    notes_server,
    project,
    wait_answers,
)
from docker_engine import Engine
from gateway_process import ROOT
from other_user import open_folder
from sdk_tour import notes_of_a_session

pytestmark = pytest.mark.timeout(600)

SPLIT = ROOT / "docker-compose.split.yml"
NGINX = 101


def prefix() -> str:
    """Three numbers of a network; another one for each project, as the engine lets none overlap."""
    return f"10.247.{secrets.randbelow(250) + 1}"


@pytest.mark.parametrize("kind", [COMPOSES[0], pytest.param(COMPOSES[1], marks=pytest.mark.nightly)])
def test_split_form_serves_clients_through_its_nginx_and_leaves_nothing(
    kind: str, engine: Engine, images: Images
) -> None:
    with open_folder() as folder, project(
        kind, [SPLIT], images, engine, folder, notes_server(engine), METAMCP_INSIDE=prefix()
    ) as running:  # fmt: skip
        wait_answers(f"{running.url}/mcp", 400)
        for transport in ("sse", "mcp"):
            assert asyncio.run(notes_of_a_session(running.url, transport, SERVER)) == f"1. by {transport}"
        for path in ("/docker-test/check", "/api/status", "/metrics", "/", "/ready"):
            assert requests.get(running.url + path, timeout=10).status_code == 404
        nobody_is_root_and_each_is_another_user(running)
        the_web_tier_has_no_socket_no_configuration_and_no_way_out(running)
        nothing_can_connect_to_the_supervisor(running)
        if kind == COMPOSES[0]:
            operators_ask_in_the_supervisors_container(running)
        ends_well_and_leaves_nothing(running, list(containers(running).values()))


def containers(running: Project) -> dict[str, str]:
    return {"supervisor": running.name, "web": f"{running.name}-web", "nginx": f"{running.name}-nginx"}


def nobody_is_root_and_each_is_another_user(running: Project) -> None:
    for service, user in {"supervisor": SUPERVISOR, "web": WEB, "nginx": NGINX}.items():
        found = running.processes(containers(running)[service])
        assert {process.user for process in found} == {user}, service
        assert {process.capabilities for process in found} == {0} and all(p.no_new_privileges for p in found), service
    docker = int(running.env["DOCKER_GID"])
    assert all(docker in process.groups for process in running.processes(running.name))
    web = {process.groups for process in running.processes(f"{running.name}-web")}
    assert web <= {frozenset(), frozenset({WEB})}


def networks(found: Mapping[str, Any]) -> set[str]:
    return {name.rpartition("_")[2] for name in found["NetworkSettings"]["Networks"]}


def the_web_tier_has_no_socket_no_configuration_and_no_way_out(running: Project) -> None:
    web = f"{running.name}-web"
    found = running.inspect(web)
    mounts = {mount["Destination"]: mount["RW"] for mount in found["Mounts"] if mount["Type"] != "tmpfs"}
    assert mounts == {"/var/lib/metamcp/access": False, "/run/metamcp": False}
    assert networks(found) == {"inside"} and not found["HostConfig"]["PortBindings"]
    assert running.engine.docker("network", "inspect", "--format", "{{.Internal}}", f"{running.name}_inside") == "true"
    look = f"test -e {SOCKET} || cat /app/config/servers.json || ls /app || touch /opt/metamcp/x"
    done = running.execute("sh", "-c", look, container=web)
    (out,) = running.inspect(running.name)["NetworkSettings"]["Networks"].values()
    reach = f"import socket; socket.create_connection(({out['IPAddress']!r}, 9), 2)"
    outwards = running.execute("python3", "-c", reach, container=web).stderr
    assert "timed out" in outwards or "unreachable" in outwards, "where it could be reached, it would refuse"
    assert done.stderr.count("Permission denied") == 2 and "Read-only file system" in done.stderr, done.stderr
    variables = {pair.partition("=")[0] for pair in found["Config"]["Env"]}
    assert not {"DOCKER_HOST", "TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL"} & variables


def nothing_can_connect_to_the_supervisor(running: Project) -> None:
    found = running.inspect(running.name)
    assert networks(found) == {"out"} and not found["HostConfig"]["PortBindings"]
    listening = running.execute("sh", "-c", "cat /proc/net/tcp /proc/net/tcp6").stdout
    mine = [line for line in listening.splitlines() if line.split()[3:4] == ["0A"] and "0B00007F:" not in line]
    assert mine == [], "but for the engine's own name server nobody listens"


def operators_ask_in_the_supervisors_container(running: Project) -> None:
    done = running.execute(SCRIPT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "doctor alone" in done.stdout and "PASS  socket-permissions" in done.stdout
    for container, argument in ((running.name, ["link"]), (f"{running.name}-web", [])):
        argv = ["python3", "-I", "-S", "/opt/metamcp/deploy/healthcheck.py", *argument]
        assert running.execute(*argv, container=container).returncode == 0
    made = running.execute("python3", "-m", "metamcp", "keys", "create", "laptop", "--scope", "default")
    assert made.returncode == 0, made.stderr
    # The web tier reads the hash: what was open to this machine alone now asks other hosts for the key, too.
    answer = requests.get(f"{running.url}/mcp", headers={"Host": "host.docker.internal"}, timeout=10)
    assert answer.status_code == 400, answer.text
