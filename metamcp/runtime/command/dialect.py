"""How the engine's command line is spoken to: Docker's, and Podman's where that differs.

A ``DockerRun`` is the same for both. Podman's client is told its engine by CONTAINER_HOST, which also makes it a client
and nothing more; what it has another spelling for is spelled anew here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from metamcp.config.engine_address import EngineAddress
from metamcp.runtime.command.environment import for_docker
from metamcp.runtime.command.grammar import DockerRun, Options, Program, emit

_KEYWORD = "host-gateway"
_READ_ONLY = ("--read-only-tmpfs=false",)  # or /run and /var/tmp would be writable, and without a size


@dataclass(frozen=True, slots=True)
class Dialect:
    """``spell`` gives the argv; it may block, and raises nothing."""

    program: Program = "docker"
    host_variables: tuple[str, ...] = ()
    spell: Callable[[DockerRun], Sequence[str]] = emit

    def environment(self, environ: Mapping[str, str], address: EngineAddress) -> dict[str, str]:
        """Of a command line that is to use the engine at ``address`` and no other."""
        return for_docker(environ, address) | dict.fromkeys(self.host_variables, address.host)


DOCKER = Dialect()


def podman(gateway: Callable[[], str], processes: int | None) -> Dialect:
    """``gateway``: the address that stands for the keyword host-gateway, "" where Podman knows it (4.7). ``processes``:
    the most that RLIMIT_NPROC may be; None: there is no bound. Podman sets it for each container, by default above what
    an engine without CAP_SYS_RESOURCE may set."""

    def spell(run: DockerRun) -> Sequence[str]:
        program, verb, *rest = emit(
            replace(run, program="podman", options=_podman_options(run.options, gateway, processes))
        )
        return [program, verb, *_READ_ONLY, *rest] if run.flag("read-only") else [program, verb, *rest]

    return Dialect("podman", ("CONTAINER_HOST",), spell)


def _podman_options(options: Options, gateway: Callable[[], str], processes: int | None) -> Options:
    found = tuple((name, _address(value, gateway) if name == "add-host" else value) for name, value in options)
    own = any(name == "ulimit" and value.startswith("nproc=") for name, value in options)
    return found if own or processes is None else (*found, ("ulimit", f"nproc={processes}:{processes}"))


def _address(value: str, gateway: Callable[[], str]) -> str:
    """Podman takes a colon, and no other separator."""
    separator = "=" if "=" in value else ":"
    name, _, address = value.partition(separator)
    known = gateway() if address == _KEYWORD else ""
    return f"{name}:{known or address}"
