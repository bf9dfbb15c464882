"""What a process of the gateway uses (proc(5), stat)."""

from __future__ import annotations

import os
from dataclasses import dataclass

from metamcp.telemetry import metrics
from metamcp.telemetry.metrics import Labels, Samples

_UTIME, _STIME, _RSS = 11, 12, 21  # fields, counted from the one behind the name


@dataclass(frozen=True, slots=True)
class Usage:
    resident: int  # bytes
    cpu: float  # seconds


def usage(pid: int) -> Usage | None:
    """None when there is no such process, or it is not to be seen."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  no path arithmetic here
            fields = file.read().rpartition(b")")[2].split()
        ticks = int(fields[_UTIME]) + int(fields[_STIME])
        return Usage(int(fields[_RSS]) * os.sysconf("SC_PAGE_SIZE"), ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, IndexError, ValueError):
        return None


def samples(pids: dict[Labels, int]) -> Samples:
    """``pids`` by what the family calls them: process, and worker."""
    found = [(labels, used) for labels, pid in pids.items() if (used := usage(pid)) is not None]
    return {
        metrics.PROCESS_MEMORY.name: [(labels, float(used.resident)) for labels, used in found],
        metrics.PROCESS_CPU.name: [(labels, used.cpu) for labels, used in found],
    }
