"""What a running gateway holds, counted from outside: containers, processes, threads, descriptors, memory."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from containers import mine
from docker_engine import Engine
from gateway_process import GatewayProcess

STEADY_SECONDS = 1.5
"""The same for so long is a level, and no moment between two changes."""


@dataclass(frozen=True)
class Census:
    """Threads and descriptors by role; those of all web workers together, as it is chance which one serves whom."""

    children: tuple[tuple[str, str], ...]
    containers: int
    processes: int
    threads: dict[str, int]
    descriptors: dict[str, int]

    def differences(self, other: Census) -> str:
        ours, theirs = asdict(self), asdict(other)
        return "; ".join(f"{name}: {ours[name]} -> {theirs[name]}" for name in ours if ours[name] != theirs[name])


def take(engine: Engine, gateway: GatewayProcess) -> Census:
    children = sorted((child["server"], child["state"]) for child in gateway.status()["children"])
    processes = roles(gateway)
    return Census(
        children=tuple(children),
        containers=len(mine(engine, gateway)),
        processes=len(descendants(gateway.process.pid)),
        threads=_summed((role, _entries(pid, "task")) for role, pid in processes),
        descriptors=_summed((role, _entries(pid, "fd")) for role, pid in processes),
    )


def at_rest(engine: Engine, gateway: GatewayProcess, seconds: float) -> Census:
    """The level to which everything comes within ``seconds`` after the last client has gone."""
    until, found, since = time.monotonic() + seconds, take(engine, gateway), time.monotonic()
    while time.monotonic() - since < STEADY_SECONDS or any(state != "SPARE" for _, state in found.children):
        assert time.monotonic() < until, f"no rest within {seconds:g} s: {found}"
        threading.Event().wait(0.1)
        if (now := take(engine, gateway)) != found:
            found, since = now, time.monotonic()
    return found


def memory(gateway: GatewayProcess) -> dict[str, float]:
    """MiB by role. Proportional: pages that processes share, as forked workers do, count once over all."""
    return dict(_summed((role, proportional(pid)) for role, pid in roles(gateway)))


def roles(gateway: GatewayProcess) -> list[tuple[str, int]]:
    supervisor = [("supervisor", gateway.supervisor_pid)]
    return [("master", gateway.process.pid), *supervisor, *(("workers", pid) for pid in gateway.worker_pids)]


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``, ended ones that nobody has waited for among them."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, _text(task / "children").split()):
            found += [child, *descendants(child)] if Path(f"/proc/{child}/task").exists() else [child]
    return found


def _summed(counts: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    total: Counter[str] = Counter()
    for role, count in counts:
        total[role] += count
    return dict(total)


def _entries(pid: int, kind: str) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/{kind}").iterdir())


def proportional(pid: int) -> float:
    """MiB."""
    line = next(line for line in _text(Path(f"/proc/{pid}/smaps_rollup")).splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024


def _text(path: Path) -> str:
    """Empty when the process or thread has ended meanwhile."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
