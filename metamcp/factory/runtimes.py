"""What starts servers, by METAMCP_RUNTIME."""

from __future__ import annotations

import resource
from collections.abc import Callable
from functools import cache
from pathlib import Path

from metamcp.concurrency.tasks import Job
from metamcp.config.engine_address import EngineAddress
from metamcp.config.settings import Settings
from metamcp.errors import ConfigInvalid, EngineUnavailable
from metamcp.runtime.command.dialect import DOCKER, Dialect, podman
from metamcp.runtime.diagnosis.probe import Means
from metamcp.runtime.engine import Engine
from metamcp.runtime.process.docker_api import DockerApi
from metamcp.runtime.process.engine_socket import can_reach
from metamcp.runtime.process.interface import ByKind
from metamcp.runtime.process.os_process import CommandLine

_PID_MAX = Path("/proc/sys/kernel/pid_max")


def build_means(settings: Settings, engine: Engine, submit: Callable[[Job], bool]) -> Means:
    """Servers that are no containers are processes, whatever the runtime. ``submit`` takes what blocks and is not
    waited for. Raises ConfigInvalid."""
    if settings.runtime != "docker-api":
        dialect = build_dialect(settings, engine.address)
        return Means(CommandLine(), dialect, (dialect.program,))
    if not can_reach(engine.address):
        text = f"docker-api needs an engine at unix:// or at tcp:// without TLS; it is at {engine.address}"
        raise ConfigInvalid([("METAMCP_RUNTIME", text)])
    return Means(ByKind(CommandLine(), DockerApi(engine, submit)), DOCKER, ())


def build_dialect(settings: Settings, address: EngineAddress) -> Dialect:
    """Podman is asked for the address of its machine when the first server needs it, and then no more."""
    if settings.runtime != "podman":
        return DOCKER

    @cache
    def asked() -> str:
        with Engine(address) as engine:
            return engine.host_gateway()

    def gateway() -> str:
        try:
            return asked()
        except EngineUnavailable:  # the start tells it better
            return ""

    return podman(gateway, _most_processes())


def _most_processes() -> int | None:
    """What Podman can set without CAP_SYS_RESOURCE: its service bounds itself by the number of pids that there can be.
    None where we have no bound either."""
    most = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    if most == resource.RLIM_INFINITY:
        return None
    try:
        return min(most, int(_PID_MAX.read_text(encoding="ascii")))
    except (OSError, ValueError):
        return most


def tells_memory(settings: Settings) -> bool:
    """Does the engine say when the kernel killed a container for want of memory?"""
    return settings.runtime != "podman"
