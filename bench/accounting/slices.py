"""Slices of a stage, and the figures of its quiet ones.

A virtual machine may pause as a whole, many times a second, and the kernel counts a pause as CPU of whoever ran then.
So a stage is cut into short slices, and what the quietest quarter of them says is told beside the plain figures.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

NANOSECONDS = 1_000_000_000
SLICE_SECONDS, IDLE_SLICE_SECONDS = 0.025, 0.05
QUIET_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Slice:
    """``calls``: finished in it, at least 1. ``cpu``: nanoseconds by part."""

    wall_ns: int
    calls: int
    cpu: Mapping[str, int] = field(default_factory=dict)


def clock_of(pid: int) -> int:
    """The kernel's id of the clock that counts the CPU of process ``pid``, as clock_getcpuclockid(3) makes it."""
    return (~pid << 3) | 2


class CpuClocks:
    """The CPU of processes, precise to the nanosecond and read with one system call each.

    ``parts``: pids by part. One that ends stays at its last value.
    """

    def __init__(self, parts: Mapping[str, Iterable[int]]) -> None:
        self._parts = {part: [clock_of(pid) for pid in pids] for part, pids in parts.items()}
        self._last = {clock: 0 for clocks in self._parts.values() for clock in clocks}

    def read(self) -> dict[str, int]:
        """Nanoseconds so far, by part."""
        return {part: sum(map(self._read_one, clocks)) for part, clocks in self._parts.items() if clocks}

    def _read_one(self, clock: int) -> int:
        with suppress(OSError):  # it ended
            self._last[clock] = time.clock_gettime_ns(clock)
        return self._last[clock]


class Slicer:
    """Is told each finished call, and ends a slice when it is ``seconds`` long and has ``least_calls`` calls.

    With several calls under way a slice needs as many calls: with fewer, those that it finishes were mostly worked on
    in the slices before.
    """

    def __init__(self, clocks: CpuClocks, least_calls: int, seconds: float = SLICE_SECONDS) -> None:
        self.slices: list[Slice] = []
        self._clocks = clocks
        self._least_calls, self._least_ns = least_calls, int(seconds * NANOSECONDS)
        self.begin()

    def begin(self) -> None:
        """The first slice begins now."""
        self.slices.clear()
        self._calls = 0
        self._cpu = self._clocks.read()
        self._begun = time.perf_counter_ns()

    def call(self) -> None:
        """One more call has finished."""
        self._calls += 1
        now = time.perf_counter_ns()
        if self._calls < self._least_calls or now - self._begun < self._least_ns:
            return
        cpu = self._clocks.read()
        used = {part: value - self._cpu[part] for part, value in cpu.items()}
        self.slices.append(Slice(now - self._begun, self._calls, used))
        self._begun, self._calls, self._cpu = now, 0, cpu


async def idle_slices(clocks: CpuClocks, seconds: float) -> list[Slice]:
    """Slices of ``IDLE_SLICE_SECONDS`` while nobody calls; each counts as one call."""
    slicer = Slicer(clocks, 1, 0.0)
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        await asyncio.sleep(IDLE_SLICE_SECONDS)
        slicer.call()
    return slicer.slices


def quiet_percent(slices: Sequence[Slice]) -> dict[str, float]:
    """Percent of one CPU that was used in the quiet slices together, by part: idle work is too rare for a median."""
    quiet = quiet_slices(slices)
    wall = sum(one.wall_ns for one in quiet)
    return {part: round(100 * sum(one.cpu[part] for one in quiet) / wall, 3) for part in quiet[0].cpu} if quiet else {}


def quiet_slices(slices: Sequence[Slice], share: float = QUIET_SHARE) -> list[Slice]:
    """That share of them, at least one if there are any, with the least wall time for each call."""
    ordered = sorted(slices, key=lambda one: one.wall_ns / one.calls)
    return ordered[: max(1, int(len(ordered) * share))] if ordered else []


def quiet_figures(slices: Sequence[Slice]) -> dict[str, object]:
    """Medians over the quiet slices: ``quiet_calls_per_second``, ``quiet_cpu_ms_per_call`` by part. Empty without."""
    quiet = quiet_slices(slices)
    if not quiet:
        return {}
    cpu = {part: round(statistics.median(one.cpu[part] / one.calls for one in quiet) / 1e6, 4) for part in quiet[0].cpu}
    return {
        "slices": len(slices),
        "quiet_calls_per_second": round(statistics.median(one.calls * NANOSECONDS / one.wall_ns for one in quiet), 1),
        "quiet_cpu_ms_per_call": cpu,
    }
