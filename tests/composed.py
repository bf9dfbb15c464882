"""The shipped image and the shipped files of Compose on a real engine, and stand-ins for what only a registry has."""

from __future__ import annotations

import json
import os
import re
import resource
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fetched
import pytest
import requests
import standin
from docker_engine import Engine
from gateway_process import ROOT, eventually, free_port
from other_user import PROBE

from demo.image import image_ids

WEB, SUPERVISOR = 10002, 10001
COMPOSES = ("docker-compose", "docker compose")
"""The one in Python, where the machine has that, and the plugin."""

SCRIPT = "/app/test-docker-in-docker.sh"
SOCKET = "/var/run/docker.sock"
SERVER = "composed-notes"
BUILD_SECONDS, UP_SECONDS, DOWN_SECONDS = 400, 120, 120


@dataclass(frozen=True)
class Images:
    """Tags: the gateway's image, what it was built on, and the stand-in for nginx's."""

    gateway: str
    base: str
    nginx: str


def build_images(engine: Engine) -> Images:
    """Builds what is not there, and the gateway's image in any case."""
    debian, wheels = fetched.debian_root(), fetched.debian_wheels()
    plain = f"metamcp-standin:{debian.name}"
    images = Images("metamcp-test-gateway:local", f"metamcp-standin:{wheels.name}", "metamcp-standin:nginx")
    if not image_ids(plain, env=engine.env):
        engine.docker("import", str(debian / standin.ROOT_TAR), plain, timeout=BUILD_SECONDS)
    _build(engine, images.base, wheels, standin.FOLDER / "Dockerfile", f"DEBIAN={plain}")
    _build(engine, images.nginx, standin.FOLDER, standin.FOLDER / "nginx.Dockerfile", f"DEBIAN={plain}")
    _build(engine, images.gateway, ROOT, ROOT / "Dockerfile", f"BASE={images.base}", "REVISION=tested")
    return images


def _build(engine: Engine, tag: str, context: Path, file: Path, *arguments: str) -> None:
    given = [word for argument in arguments for word in ("--build-arg", argument)]
    # The machine's own network: its resolver may be on loopback.
    argv = ["build", "--network=host", "--tag", tag, "--file", str(file), *given, str(context)]
    engine.docker(*argv, timeout=BUILD_SECONDS)


@dataclass(frozen=True)
class Process:
    """Of a container, as the engine's machine sees it."""

    pid: int
    command: str
    user: int
    group: int
    groups: frozenset[int]
    capabilities: int
    no_new_privileges: bool


@dataclass(frozen=True)
class Project:
    """One that is up. ``folder`` has its configuration in ``config``; ``url`` is what it publishes."""

    engine: Engine
    argv: tuple[str, ...]
    env: Mapping[str, str]
    name: str
    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *arguments: str, timeout: float = UP_SECONDS) -> str:
        """Its standard output. Raises AssertionError with what it said."""
        argv = [*self.argv, *arguments]
        done = subprocess.run(argv, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def execute(
        self, *argv: str, container: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """``docker exec`` as an operator types it."""
        given = [word for name in env or {} for word in ("--env", name)]
        return subprocess.run(
            ["docker", "exec", *given, container or self.name, *argv], env={**self.engine.env, **(env or {})},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def attempts(self, wishes: list[list[str]], *, user: int, groups: str = "--clear-groups") -> list[str]:
        """What the kernel says to code of that user in the container (tests/servers/probe.py)."""
        argv = ["setpriv", f"--reuid={user}", f"--regid={user}", groups, "--no-new-privs"]
        done = self.execute(*argv, "python3", "-I", "-S", "-c", PROBE.read_text(), json.dumps(wishes))
        assert done.returncode == 0, done.stderr
        found: list[str] = json.loads(done.stdout)
        return found

    def processes(self, container: str = "") -> list[Process]:
        lines = self.engine.docker("top", container or self.name, "-eo", "pid,args").splitlines()[1:]
        return [_process(*line.split(None, 1)) for line in lines]

    def inspect(self, container: str = "") -> dict[str, Any]:
        (found,) = json.loads(self.engine.docker("inspect", container or self.name))
        return found  # type: ignore[no-any-return]

    def left(self) -> dict[str, str]:
        """What there is of it on the engine."""
        mine = f"label=com.docker.compose.project={self.name}"
        lists = {kind: (kind, "ls", "--quiet", "--filter", mine) for kind in ("volume", "network")}
        lists["container"] = ("ps", "--all", "--quiet", "--filter", mine)
        lists["named"] = ("ps", "--all", "--quiet", "--filter", f"name={self.name}")
        found = {kind: self.engine.docker(*argv) for kind, argv in lists.items()}
        return {kind: ids for kind, ids in found.items() if ids}


def _process(pid: str, command: str) -> Process:
    status = dict(re.findall(r"(\w+):\t(.*)", Path(f"/proc/{pid}/status").read_text()))
    return Process(
        int(pid), command, int(status["Uid"].split()[1]), int(status["Gid"].split()[1]),
        frozenset(map(int, status["Groups"].split())), int(status["CapPrm"], 16), status["NoNewPrivs"] == "1",
    )  # fmt: skip


def notes_server(engine: Engine) -> dict[str, Any]:
    """Servers that are siblings of the gateway."""
    return {SERVER: {"command": "docker", "args": ["run", "-i", engine.image, "/demo.py", "notes"], "network": "none"}}


@contextmanager
def project(
    kind: str, files: list[Path], images: Images, engine: Engine, folder: Path, servers: Mapping[str, Any], **env: str
) -> Iterator[Project]:
    """A project of these files, up; ``kind`` is one of COMPOSES, ``folder`` is open to all. At the end it goes."""
    _write_config(folder / "config", servers, engine.image)
    name, port = f"metamcp-test-{secrets.token_hex(3)}", free_port()
    socket = engine.host.removeprefix("unix://")
    own = {
        "COMPOSE_PROJECT_NAME": name, "METAMCP_NAME": name, "METAMCP_PUBLISH": f"127.0.0.1:{port}",
        "METAMCP_IMAGE": images.gateway, "NGINX_IMAGE": images.nginx, "METAMCP_CONFIG": str(folder / "config"),
        "METAMCP_FILES": str(resource.getrlimit(resource.RLIMIT_NOFILE)[1]), "DOCKER_SOCKET": socket,
        "DOCKER_GID": str(Path(socket).stat().st_gid), **env,
    }  # fmt: skip
    argv = (*compose_argv(kind, folder), *(word for file in files for word in ("-f", str(file))))
    running = Project(engine, argv, {**engine.env, **own, **plugins(folder)}, name, port, folder)
    try:
        running.compose("up", "-d", "--no-build")
        yield running
    except BaseException:
        print(running.compose("logs", "--no-color"))
        raise
    finally:
        running.compose("down", "--volumes", "--remove-orphans", timeout=DOWN_SECONDS)


def _write_config(folder: Path, servers: Mapping[str, Any], image: str) -> None:
    """As a checkout leaves it: readable for everybody."""
    folder.mkdir(exist_ok=True)
    (folder / "servers.json").write_text(json.dumps({"mcpServers": servers}))
    (folder / "allowlist.json").write_text(json.dumps({"images": [image]}))
    for path in folder.iterdir():
        path.chmod(0o644)


def compose_argv(kind: str, folder: Path) -> list[str]:
    if kind == "docker-compose":
        assert shutil.which(kind), "docker-compose is not installed (Debian: apt-get install docker-compose)"
        return [kind]
    program = folder / "docker" / "cli-plugins" / "docker-compose"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.symlink_to(fetched.debian_root() / standin.COMPOSE)
    return ["docker", "compose"]


def plugins(folder: Path) -> dict[str, str]:
    """Where the docker command finds the plugin, and no settings of whoever runs the tests."""
    return {"DOCKER_CONFIG": str(folder / "docker")}


def wait_answers(url: str, status: int, seconds: float = UP_SECONDS) -> None:
    def answers() -> bool:
        try:
            return requests.get(url, timeout=5).status_code == status
        except (requests.ConnectionError, requests.Timeout):
            return False

    eventually(answers, f"{url} answers {status}", seconds)


@pytest.fixture(scope="session")
def images(engine: Engine) -> Images:
    if reason := standin.lacking():
        give_up = pytest.fail if os.environ.get("REQUIRE_ENGINE") == "1" else pytest.skip
        give_up(f"the image cannot be built here: {reason}")
    return build_images(engine)


def ends_well_and_leaves_nothing(running: Project, containers: list[str]) -> None:
    """Each is told to stop and does, unkilled; then nothing of the project is there, on the engine or as a process."""
    pids = [process.pid for container in containers for process in running.processes(container)]
    running.compose("stop", timeout=DOWN_SECONDS)
    assert {container: running.inspect(container)["State"]["ExitCode"] for container in containers} == dict.fromkeys(
        containers, 0
    )
    running.compose("down", "--volumes", timeout=DOWN_SECONDS)
    assert running.left() == {}
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert running.engine.containers(f"metamcp.server={SERVER}") == [], "its servers"
