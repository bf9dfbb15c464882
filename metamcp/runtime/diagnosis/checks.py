"""What each check of ``diagnostics`` looks at. An act returns its detail, or raises with what to do."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metamcp.config.model import Limits
from metamcp.runtime.command.environment import for_docker
from metamcp.runtime.diagnosis.advice import advice, socket_group, socket_path
from metamcp.runtime.diagnosis.probe import ProbeOrder, ProbeRun, run_probe
from metamcp.runtime.engine import Engine
from metamcp.runtime.labels import INSTANCE, Identity
from metamcp.runtime.reaper import orphans

_CONNECT_SECONDS = 2.0
_NO_CLI = "docker: not found"


class CheckFailedError(Exception):
    def __init__(self, detail: str, hint: str) -> None:
        super().__init__(detail)
        self.detail, self.hint = detail, hint


class NotApplicableError(Exception):
    """Nothing to check here."""


@dataclass(slots=True)
class Scene:
    """What the checks are about; ``run`` is left by the round trip for those that judge the same container."""

    engine: Engine
    docker_host: str
    image: str | None
    identity: Identity
    docker_cli: Sequence[str]
    probe_argv: Sequence[str]
    limits: Limits
    until: float
    clock: Callable[[], float]
    connect: Callable[[str, float], None]
    unique: str
    run: ProbeRun | None = None

    def left(self) -> float:
        return max(0.0, self.until - self.clock())


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    act: Callable[[Scene], str]
    needs: tuple[str, ...] = ()


def _socket(scene: Scene) -> str:
    path = _path(scene)
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise CheckFailedError(f"{path}: {error.strerror}", advice(error, scene.docker_host)) from error
    if not stat.S_ISSOCK(mode):
        hint = "Docker makes an empty directory where a mount's source is missing: remove it, mount the real socket."
        raise CheckFailedError(f"{path} is not a socket", hint)
    return path


def _socket_permissions(scene: Scene) -> str:
    """Asked by connecting: mode bits say nothing about capabilities, user namespaces and security modules."""
    path = _path(scene)
    try:
        with suppress(ConnectionError, TimeoutError):  # not a matter of permission; the next check tells
            scene.connect(path, min(_CONNECT_SECONDS, scene.left()))
    except PermissionError as error:
        detail = f"{path} belongs to group {socket_group(path)} and may not be used by this process"
        raise CheckFailedError(detail, advice(error, scene.docker_host)) from error
    except OSError as error:
        raise CheckFailedError(f"{path}: {error}", advice(error, scene.docker_host)) from error
    return f"{path} may be used (group {socket_group(path)})"


def _engine(scene: Scene) -> str:
    scene.engine.ping()
    return f"{scene.docker_host} answers"


def _version(scene: Scene) -> str:
    version = scene.engine.version()
    return f"Docker {version.version}, API {version.api_version}, {version.os}/{version.arch}"


def _docker_cli(scene: Scene) -> str:
    argv, environment = [*scene.docker_cli, "--version"], for_docker(os.environ, scene.engine.address)
    try:
        done = subprocess.run(argv, capture_output=True, env=environment, timeout=scene.left(), check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CheckFailedError(f"{argv[0]} cannot be run: {error}", advice(_NO_CLI, "")) from error
    said = (done.stdout or done.stderr).decode("utf-8", "replace").strip()
    if done.returncode:
        raise CheckFailedError(f"{argv[0]} ends with {done.returncode}: {said}", advice(said, scene.docker_host))
    return said


def _image(scene: Scene) -> str:
    image = _named_image(scene)
    found = scene.engine.image(image)
    if found is None:
        raise CheckFailedError(f"{image} is not on the engine", advice("No such image", scene.docker_host))
    return f"{image} is {found.id[:19]}, {found.size // 1_000_000} MB, {found.architecture}"


def _round_trip(scene: Scene) -> str:
    order = ProbeOrder(_named_image(scene), scene.identity, scene.unique, scene.probe_argv, scene.limits)
    try:
        run = scene.run = run_probe(order, scene.engine, scene.docker_cli, scene.left(), scene.clock)
    except OSError as error:
        raise CheckFailedError(f"{scene.docker_cli[0]}: {error}", advice(_NO_CLI, "")) from error
    if run.echoed and run.exit_code == 0:
        return "one line went in and came back, end of input ended the container"
    ended = "it timed out" if run.exit_code is None else f"exit code {run.exit_code}"
    detail = f"{'the line came back' if run.echoed else 'the line did not come back'}, {ended}. {run.stderr}".strip()
    raise CheckFailedError(detail, advice(detail, scene.docker_host))


def _limits(scene: Scene) -> str:
    run = _finished(scene)
    problems = limit_problems(run.inspected, scene.limits)
    if problems:
        raise CheckFailedError("; ".join(problems), advice(f"{run.stderr}\nlimitation discarded", scene.docker_host))
    return "memory, swap, CPU, pids, capabilities, no-new-privileges and read-only root are in force"


def _removed(scene: Scene) -> str:
    left = _finished(scene).left
    if left:
        hint = "It is removed now; look into the engine's log (journalctl -u docker) for why --rm did not."
        raise CheckFailedError(f"still there after its end: {', '.join(left)}", hint)
    return "--rm left nothing behind"


def _no_orphans(scene: Scene) -> str:
    mine = scene.engine.containers({INSTANCE: scene.identity.instance})
    found = orphans(mine, scene.identity)
    if found:
        names = " ".join(item.name or item.id[:12] for item in found)
        hint = f"The next sweep removes them; by hand: docker rm -f {names}"
        raise CheckFailedError(f"{len(found)} container(s) of earlier generations", hint)
    return f"{len(mine)} container(s) of this instance, all of this generation"


def limit_problems(inspected: Mapping[str, Any], limits: Limits) -> list[str]:
    """What the engine made of the limits asked for; ``inspected`` is GET /containers/{id}/json of a running one."""
    host = inspected.get("HostConfig") or {}
    wanted = {
        "Memory": limits.memory,
        "MemorySwap": limits.memory,
        "NanoCpus": round(limits.cpus * 1e9),
        "PidsLimit": limits.pids,
        "CapDrop": ["ALL"],
        "ReadonlyRootfs": True,
    }
    problems = [f"{key} is {host.get(key)}, not {value}" for key, value in wanted.items() if host.get(key) != value]
    if not any(item.startswith("no-new-privileges") for item in host.get("SecurityOpt") or ()):
        problems.append("no-new-privileges is not set")
    return problems


STEPS = (
    Step("socket", _socket),
    Step("socket-permissions", _socket_permissions, ("socket",)),
    Step("engine", _engine, ("socket-permissions",)),
    Step("api-version", _version, ("engine",)),
    Step("docker-cli", _docker_cli),
    Step("image", _image, ("engine",)),
    Step("round-trip", _round_trip, ("image", "docker-cli")),
    Step("limits", _limits, ("round-trip",)),
    Step("removed", _removed, ("round-trip",)),
    Step("orphans", _no_orphans, ("engine",)),
)


def _path(scene: Scene) -> str:
    path = socket_path(scene.docker_host)
    if path is None:
        raise NotApplicableError(f"{scene.docker_host} is not a Unix socket")
    return path


def _named_image(scene: Scene) -> str:
    if scene.image is None:
        raise NotApplicableError("no image was named")
    return scene.image


def _finished(scene: Scene) -> ProbeRun:
    if scene.run is None:
        raise NotApplicableError("no container was run")
    return scene.run


def connect_unix(path: str, seconds: float) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(seconds)
        sock.connect(path)
