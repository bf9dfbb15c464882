"""Does a container do what it should: speak, keep within its limits, and be gone when it has ended?"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from metamcp.config.model import Limits
from metamcp.runtime.diagnosis.advice import NO_CLI, advice
from metamcp.runtime.diagnosis.bench import Bench, what_went_wrong
from metamcp.runtime.diagnosis.outcomes import CheckFailedError, NotApplicableError, Step
from metamcp.runtime.diagnosis.probe import ProbeRun

_PAGE = 4096
_RELATIVE = 0.01  # by which the CPUs may differ: the engine counts in whole microseconds of a tenth of a second
_PODMANS_OWN = frozenset({
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID",
    "SYS_CHROOT",
})  # fmt: skip
"""What Podman gives by default: where all is dropped, it says so by these names."""

_MORE = " The limits of servers in containers are not enforced until then."


@dataclass(frozen=True, slots=True)
class Household:
    """Containers of this installation: how many there are, and the names of those that nobody living stands for."""

    count: int
    orphans: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContainerChecks:
    """``household`` raises EngineUnavailable, or NotApplicableError where this installation has none."""

    bench: Bench
    household: Callable[[], Household]

    def steps(self) -> tuple[Step, ...]:
        return (
            Step("round-trip", self._round_trip, ("image", "docker-cli")),
            Step("limits", self._limits, ("round-trip",)),
            Step("removed", self._removed, ("round-trip",)),
            Step("orphans", self._no_orphans, ("engine",)),
        )

    def command(self) -> Step:
        return Step("docker-cli", self._docker_cli)

    def _docker_cli(self) -> str:
        cli, host = self.bench.means.cli, self.bench.docker_host
        if not cli:
            raise NotApplicableError("containers are started without a command line")
        argv, seconds = [*cli, "--version"], self.bench.time.left()
        try:
            done = subprocess.run(argv, capture_output=True, env=self.bench.environment, timeout=seconds, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CheckFailedError(f"{argv[0]} cannot be run: {error}", advice(NO_CLI, "")) from error
        said = (done.stdout or done.stderr).decode("utf-8", "replace").strip()
        if done.returncode:
            raise CheckFailedError(f"{argv[0]} ends with {done.returncode}: {said}", advice(said, host))
        return said

    def _round_trip(self) -> str:
        run = self.bench.first = self.bench.run([{"ask": "look"}])
        if run.echoed and run.exit_code == 0:
            return "one line went in and came back, end of input ended the container"
        detail = what_went_wrong(run)
        raise CheckFailedError(detail, advice(detail, self.bench.docker_host))

    def _limits(self) -> str:
        run = self._first()
        seen = run.answers[0] if run.answers else {}
        problems = limit_problems(run.inspected, self.bench.limits, seen)
        if problems:
            hint = advice(f"{run.stderr}\nlimitation discarded", self.bench.docker_host) + _MORE
            raise CheckFailedError("; ".join(problems), hint)
        who = "the kernel says" if seen.get("memory") is not None else "the engine says"
        return f"memory, swap, CPU, pids, capabilities, no-new-privileges and read-only root are in force: {who} so"

    def _removed(self) -> str:
        left = self._first().left
        if left:
            hint = "It is removed now; look into the engine's log (journalctl -u docker) for why --rm did not."
            raise CheckFailedError(f"still there after its end: {', '.join(left)}", hint)
        return "--rm left nothing behind"

    def _no_orphans(self) -> str:
        found = self.household()
        if found.orphans:
            hint = (
                "The gateway removes them at its start and then each minute (orphans-removed, container-not-removed in "
                f"its log); by hand: docker rm -f {' '.join(found.orphans)}"
            )
            raise CheckFailedError(f"{len(found.orphans)} container(s) that no living gateway stands for", hint)
        return f"{found.count} container(s) of this instance, all of a gateway that lives"

    def _first(self) -> ProbeRun:
        if self.bench.first is None:
            raise NotApplicableError("no container was run")
        return self.bench.first


def limit_problems(inspected: Mapping[str, Any], limits: Limits, seen: Mapping[str, Any]) -> list[str]:
    """What became of the limits asked for. ``seen``: as ``inside.look`` found them, where it could; else what the
    engine believes counts: ``inspected``, GET /containers/{id}/json of the running container."""
    host = inspected.get("HostConfig") or {}
    found = [
        _number("memory", seen.get("memory"), host.get("Memory"), limits.memory, _PAGE),
        _number("swap", seen.get("swap"), _swap(host), 0, _PAGE),
        _number("cpus", seen.get("cpus"), (host.get("NanoCpus") or 0) / 1e9, limits.cpus, limits.cpus * _RELATIVE),
        _number("pids", seen.get("pids"), host.get("PidsLimit"), limits.pids, 0),
        _flag("--cap-drop ALL", _none_left(seen), _drops_all(host)),
        _flag("no-new-privileges", seen.get("noNewPrivileges"), _no_new_privileges(host)),
        _flag("read-only root", seen.get("readOnly"), host.get("ReadonlyRootfs")),
    ]
    return [problem for problem in found if problem]


def _number(name: str, seen: float | None, said: float | None, wanted: float, slack: float) -> str:
    real = said if seen is None else seen
    if real is not None and abs(real - wanted) <= slack:
        return ""
    return f"{name} is {'unlimited' if real in (-1, None) else f'{real:g}'}, not {wanted:g}"


def _flag(name: str, seen: bool | None, said: bool | None) -> str:
    return "" if (said if seen is None else seen) else f"{name} is not set"


def _swap(host: Mapping[str, Any]) -> float | None:
    both, memory = host.get("MemorySwap"), host.get("Memory")
    return both - memory if both and both > 0 and memory else None


def _none_left(seen: Mapping[str, Any]) -> bool | None:
    return None if seen.get("capabilities") is None else seen["capabilities"] == 0


def _drops_all(host: Mapping[str, Any]) -> bool:
    dropped = set(host.get("CapDrop") or ())
    return "ALL" in dropped or dropped >= _PODMANS_OWN


def _no_new_privileges(host: Mapping[str, Any]) -> bool:
    return any(item.startswith("no-new-privileges") for item in host.get("SecurityOpt") or ())
