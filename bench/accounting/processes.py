"""CPU and memory of process trees, from /proc.

A tree is a process and all its descendants. Programs of others in it (docker commands) are counted apart, and the
measuring process is never counted, so its own pid stands for its children.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
ENGINE = ("dockerd", "containerd", "containerd-shim")
SHIM = "containerd-shim"
HELPERS = {"docker": "docker-cli"}
PEER = "peer"
_RESET_PEAK = "5"

Cpu = dict[str, dict[int, float]]
"""CPU seconds by part and, within it, by pid (0: a whole tree)."""


@dataclass(frozen=True, slots=True)
class Process:
    """``own``: its CPU seconds; ``waited``: those of ended children; ``started``: ticks since the machine's start."""

    parent: int
    name: str
    own: float
    waited: float
    started: int
    state: str


def parse_stat(data: bytes) -> Process:
    """The content of /proc/PID/stat. The name may contain anything, spaces and parentheses too."""
    head, _, tail = data.rpartition(b")")
    fields = tail.split()
    user, system, child_user, child_system = (int(field) / TICK for field in fields[11:15])
    name = head.partition(b"(")[2].decode("utf-8", "replace")
    return Process(int(fields[1]), name, user + system, child_user + child_system, int(fields[19]), fields[0].decode())


def process(pid: int) -> Process | None:
    """None when it is gone."""
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_bytes())
    except OSError:
        return None


def processes() -> dict[int, Process]:
    """Of the whole machine."""
    pids = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]
    return {pid: found for pid in pids if (found := process(pid))}


def is_alive(pid: int) -> bool:
    """A zombie is not."""
    found = process(pid)
    return found is not None and found.state not in "ZX"


def descendants(table: Mapping[int, Process], roots: Iterable[int]) -> set[int]:
    """The trees under ``roots``, roots included and this process excepted."""
    children: dict[int, list[int]] = {}
    for pid, row in table.items():
        children.setdefault(row.parent, []).append(pid)
    found: set[int] = set()
    queue = [pid for pid in roots if pid in table]
    while queue:
        pid = queue.pop()
        if pid not in found:
            found.add(pid)
            queue.extend(children.get(pid, ()))
    return found - {os.getpid()}


def parts_of(roots: Iterable[int]) -> dict[str, list[int]]:
    """The pids of the trees now, by part: ``peer``, and each kind of helper that there is."""
    table = processes()
    parts: dict[str, list[int]] = {PEER: []}
    for pid in sorted(descendants(table, roots)):
        parts.setdefault(HELPERS.get(table[pid].name, PEER), []).append(pid)
    return parts


def cpu(roots: Iterable[int], engine: bool) -> Cpu:
    """CPU seconds so far: ``peer``, each kind of helper, and with ``engine`` ``engine`` and ``containers``."""
    table = processes()
    # Within a tree a parent takes over the time of children that it has waited for, so a tree is one sum; shims and
    # containers come and go, so they are kept one by one.
    parts: Cpu = {PEER: {0: 0.0}}
    for pid in descendants(table, roots):
        row = table[pid]
        parts.setdefault(HELPERS.get(row.name, PEER), {0: 0.0})[0] += row.own + row.waited
    if engine:
        servers = {pid for pid, row in table.items() if row.name in ENGINE}
        shims = {pid for pid in servers if table[pid].name == SHIM}
        inside = descendants(table, shims) - servers
        parts["engine"] = {pid: table[pid].own + table[pid].waited for pid in servers}
        parts["containers"] = {pid: table[pid].own + table[pid].waited for pid in inside}
    return parts


def cpu_between(before: Cpu, after: Cpu) -> dict[str, float]:
    """CPU seconds used, by part."""
    return {
        part: sum(seconds - before.get(part, {}).get(pid, 0.0) for pid, seconds in row.items())
        for part, row in after.items()
    }


def memory(roots: Iterable[int]) -> dict[str, dict[str, float]]:
    """MiB and number of processes of the trees, as ``all`` and by part.

    ``rss`` now, ``peak_rss`` the sum of each process's own peak, ``pss`` with shared pages counted once.
    """
    parts: dict[str, dict[str, float]] = {"all": _empty()}
    for part, pids in parts_of(roots).items():
        row = parts.setdefault(part, _empty())
        for pid in pids:
            with suppress(OSError, ValueError, KeyError):  # it ended meanwhile
                _add(pid, (parts["all"], row))
    return {part: {key: round(value, 1) for key, value in row.items()} for part, row in parts.items()}


def _empty() -> dict[str, float]:
    return {"rss": 0.0, "peak_rss": 0.0, "pss": 0.0, "processes": 0}


def _add(pid: int, rows: Iterable[dict[str, float]]) -> None:
    status = fields_of(Path(f"/proc/{pid}/status").read_text())
    rollup = fields_of(Path(f"/proc/{pid}/smaps_rollup").read_text())
    rss, peak, pss = (int(text.split()[0]) / 1024 for text in (status["VmRSS"], status["VmHWM"], rollup["Pss"]))
    for row in rows:
        row["rss"] += rss
        row["peak_rss"] += peak
        row["pss"] += pss
        row["processes"] += 1


def fields_of(text: str) -> dict[str, str]:
    """``Name: value`` lines of /proc; lines without a colon are skipped."""
    return {name: value for name, colon, value in (line.partition(":") for line in text.splitlines()) if colon}


def reset_peaks(roots: Iterable[int]) -> bool:
    """Have ``peak_rss`` begin anew. False where the kernel does not let us, and it counts from each process's start."""
    try:
        for pid in descendants(processes(), roots):
            with suppress(FileNotFoundError, ProcessLookupError):
                Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)
    except OSError:
        return False
    return True
