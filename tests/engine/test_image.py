"""The shipped image with docker-compose.yml on a real engine: who runs in it, what each of them reaches, what clients
and operators get, and that nothing is left. Its base image is a stand-in: no registry is asked (tests/standin.py)."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
from gateway_process import ROOT, eventually
from nginx import running_nginx
from other_user import open_folder
from sdk_tour import notes_of_a_session

pytestmark = pytest.mark.timeout(600)

PRODUCTION, DEVELOPMENT = ROOT / "docker-compose.yml", ROOT / "docker-compose.dev.yml"
MOST_ADDED = 125_000_000
"""Bytes on top of the base, of which python:3.13-slim-trixie has about 120 million: 250 million in all."""

SETUID_AND_SETGID = 1 << 7 | 1 << 6


@contextmanager
def up(kind: str, images: Images, engine: Engine, *files: Path, **env: str) -> Iterator[Project]:
    with open_folder() as folder, project(
        kind, list(files) or [PRODUCTION], images, engine, folder, notes_server(engine), **env
    ) as running:  # fmt: skip
        wait_answers(f"{running.url}/ready", 200)
        yield running


# --- the image ---------------------------------------------------------------------------------------------


def test_image_is_small_says_what_it_is_and_has_nothing_to_build_with(engine: Engine, images: Images) -> None:
    (image,) = json.loads(engine.docker("image", "inspect", images.gateway))
    (base,) = json.loads(engine.docker("image", "inspect", images.base))
    added = image["Size"] - base["Size"]
    print(f"the image adds {added / 1e6:.1f} MB to its base of {base['Size'] / 1e6:.1f} MB")
    assert added < MOST_ADDED
    config = image["Config"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.revision"] == "tested"
    assert labels["org.opencontainers.image.base.name"] == images.base
    assert config["StopSignal"] == "SIGTERM" and "12009/tcp" in config["ExposedPorts"]
    assert config["Healthcheck"]["Test"][0] == "CMD" and set(config["Volumes"]) == {"/var/lib/metamcp"}
    look = "for name in gcc cc make git curl; do command -v $name; done; ls /opt/venv/bin/pip* /wheels/*/ 2>/dev/null; "
    look += "docker --version; tini --version; find /opt/metamcp /app -name '*.json' -o -name '.git*' -o -name tests"
    lines = engine.docker("run", "--rm", "--network=none", "--entrypoint=sh", images.gateway, "-c", look).splitlines()
    assert [line.split()[0] for line in lines] == ["Docker", "tini"], lines


# --- production --------------------------------------------------------------------------------------------


def test_gateway_in_compose_serves_clients_and_operators_and_leaves_nothing(
    engine: Engine, images: Images, tmp_path: Path
) -> None:
    with up(COMPOSES[0], images, engine) as running:
        the_container_is_confined(running)
        the_two_tiers_are_two_users(running)
        neither_user_reaches_what_the_other_has(running)
        operators_are_answered(running)
        clients_are_served_through_nginx(running, tmp_path)
        only_a_key_opens_the_diagnostics_then(running)
        ends_well_and_leaves_nothing(running, [running.name])


def test_the_other_compose_runs_the_same_file_the_same_way(engine: Engine, images: Images, tmp_path: Path) -> None:
    with up(COMPOSES[1], images, engine) as running:
        the_container_is_confined(running)
        the_two_tiers_are_two_users(running)
        clients_are_served_through_nginx(running, tmp_path)
        ends_well_and_leaves_nothing(running, [running.name])


def clients_are_served_through_nginx(running: Project, folder: Path) -> None:
    with running_nginx(folder, running.port) as nginx:
        for transport in ("sse", "mcp"):
            through = f"http://127.0.0.1:{nginx.port}"
            assert asyncio.run(notes_of_a_session(through, transport, SERVER)) == f"1. by {transport}"
        assert requests.get(f"http://127.0.0.1:{nginx.port}/docker-test/check", timeout=10).status_code == 404


def the_container_is_confined(running: Project) -> None:
    found = running.inspect()
    host = found["HostConfig"]
    assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"]
    assert {name.removeprefix("CAP_") for name in host["CapAdd"]} == {"SETUID", "SETGID"}
    assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
    assert host["RestartPolicy"]["Name"] == "unless-stopped" and host["LogConfig"]["Config"]["max-size"] == "10m"
    assert host["Memory"] == 2 << 30 and host["PidsLimit"] == 8192 and not host["Privileged"]
    assert host["PortBindings"]["12009/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(running.port)}]
    assert {mount["Destination"]: mount["RW"] for mount in found["Mounts"]} == {
        "/app/config": False, SOCKET: True, "/var/lib/metamcp": True, "/var/lib/metamcp/access": True,
    }  # fmt: skip
    assert running.execute("python3", "-I", "-S", "/opt/metamcp/deploy/healthcheck.py").returncode == 0


def the_two_tiers_are_two_users(running: Project) -> None:
    processes = running.processes()
    web = [process for process in processes if "gunicorn" in process.command]
    own = [process for process in processes if "gunicorn" not in process.command]
    assert len(web) >= 4 and any(process.command.startswith("tini") for process in web), "init, master, workers"
    for program in ("-m metamcp.keeper", "-m metamcp supervisor"):
        assert any(program in process.command for process in own), own
    assert {process.user for process in web} == {WEB} and {process.groups for process in web} == {frozenset()}
    assert {process.user for process in own} == {SUPERVISOR}
    docker = int(running.env["DOCKER_GID"])
    assert all({docker, WEB} <= process.groups and 0 not in process.groups for process in own)
    assert all(process.no_new_privileges for process in web)
    assert {process.capabilities for process in processes} == {0}


def neither_user_reaches_what_the_other_has(running: Project) -> None:
    supervisor = requests.get(f"{running.url}/api/status", timeout=10).json()["supervisor"]["pid"]
    closed = [
        ["connect", SOCKET], ["read", "/app/config/servers.json"], ["read", "/app/config/allowlist.json"],
        ["list", "/var/lib/metamcp"], ["read", f"/proc/{supervisor}/environ"], ["kill", str(supervisor)],
        ["ptrace", str(supervisor)], ["become", "0"],
    ]  # fmt: skip
    link = ["connect", "/var/lib/metamcp/link.sock"]
    said = running.attempts([*closed, link], user=WEB)
    assert said[-1] == "done" and set(said[:-1]) <= {"EACCES", "EPERM"}, said
    groups = f"--groups={running.env['DOCKER_GID']},{WEB}"
    allowed = [*closed[:6], link]
    assert running.attempts(allowed, user=SUPERVISOR, groups=groups) == ["done"] * len(allowed)
    for user in (WEB, SUPERVISOR):
        said = running.attempts([["write", "/opt/metamcp/wsgi.py"], ["write", "/app/config/servers.json"]], user=user)
        assert set(said) <= {"EACCES", "EROFS"}, said


def operators_are_answered(running: Project) -> None:
    paths = ("check", "test", "info")
    answers = {path: requests.get(f"{running.url}/docker-test/{path}", timeout=70) for path in paths}
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(answers, 200), answers
    names = [check["name"] for check in answers["test"].json()["checks"]]
    done = running.execute(SCRIPT)
    assert done.returncode == 0, done.stdout + done.stderr
    gateways, doctors = (told(part) for part in done.stdout.split("doctor, as"))
    assert gateways == ["/docker-test/check", *names, "/docker-test/test", "/docker-test/info"], done.stdout
    assert [name for name in doctors if name in names] == names, "the same checks once more"
    assert "FAIL" not in done.stdout and done.stdout.endswith("all is well\n")


def told(text: str) -> list[str]:
    """The names of the checks in what the script prints."""
    return re.findall(r"(?m)^  (?:PASS|FAIL|SKIP)  ([^:]+):", text)


def only_a_key_opens_the_diagnostics_then(running: Project) -> None:
    made = running.execute("python3", "-m", "metamcp", "keys", "create", "operator", "--scope", "admin")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    eventually(lambda: requests.get(f"{running.url}/docker-test/check", timeout=10).status_code == 401, "it is known")
    closed = running.execute(SCRIPT)
    assert closed.returncode == 1 and "METAMCP_ADMIN_KEY" in closed.stdout
    headers = {"Authorization": f"Bearer {key}"}
    assert requests.get(f"{running.url}/docker-test/check", headers=headers, timeout=10).status_code == 200


# --- development -------------------------------------------------------------------------------------------


@pytest.mark.nightly
def test_code_that_changes_is_served_without_a_new_image(engine: Engine, images: Images) -> None:
    """From a copy of the project's folder: Compose looks for the package beside its files."""
    with open_folder() as folder:
        shutil.copytree(ROOT / "metamcp", folder / "metamcp", ignore=shutil.ignore_patterns("__pycache__"))
        files = [Path(shutil.copy(path, folder)) for path in (PRODUCTION, DEVELOPMENT)]
        with project(COMPOSES[0], files, images, engine, folder, {}) as running:
            wait_answers(f"{running.url}/health", 200)
            code = folder / "metamcp/web/ops.py"
            code.write_text(code.read_text().replace('{"status":"ok"}', '{"status":"new"}'))
            health = f"{running.url}/health"
            eventually(lambda: requests.get(health, timeout=10).json() == {"status": "new"}, "the new code", 30)
