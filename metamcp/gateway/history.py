"""The last hour in steps: how many calls there were, how long they took, and how much memory each child used."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from metamcp.runtime.child import Child
from metamcp.runtime.memory_use import MemoryUse

STEP_SECONDS, STEPS = 15, 240

SAMPLES = 1000
"""Of the durations of one step; of more calls each has the same chance to be among them."""

MOST_CHILDREN = 100
"""Whose memory is kept; those that ended longest ago give way."""


@dataclass(frozen=True, slots=True)
class _Step:
    calls: int
    errors: int
    p50: float | None
    p95: float | None


class _Memory:
    """Of one child: ``bytes`` for the last steps, the newest last."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.bytes: deque[int | None] = deque(maxlen=STEPS)
        self.missing = 0  # steps since it was there


class History:
    """Owned by the reactor's thread. ``wall``: Unix seconds."""

    def __init__(
        self, memory: MemoryUse, children: Callable[[], Sequence[Child]], wall: Callable[[], float]
    ) -> None:
        self._use = memory
        self._children = children
        self._wall = wall
        self._until = wall()
        self._steps: deque[_Step] = deque(maxlen=STEPS)
        self._memory: dict[str, _Memory] = {}
        self._calls = self._errors = 0
        self._seconds: list[float] = []

    def call(self, seconds: float, failed: bool) -> None:
        """A call has ended."""
        self._calls += 1
        self._errors += failed
        if len(self._seconds) < SAMPLES:
            self._seconds.append(seconds)
        elif (place := int(random.random() * self._calls)) < SAMPLES:  # noqa: S311  a sample
            self._seconds[place] = seconds

    def step(self) -> None:
        """To be called every ``STEP_SECONDS``: the present step is over when the memory of its children is known."""
        self._use.when_fresh(self._over)

    def document(self) -> dict[str, Any]:
        """The document of ``/api/history`` (docs/operations.md): the oldest first."""
        count = len(self._steps)
        return {
            "step": STEP_SECONDS, "until": round(self._until, 3),
            "calls": [step.calls for step in self._steps], "errors": [step.errors for step in self._steps],
            "p50": [step.p50 for step in self._steps], "p95": [step.p95 for step in self._steps],
            "memory": {
                name: {"server": kept.server, "bytes": [None] * (count - len(kept.bytes)) + list(kept.bytes)}
                for name, kept in self._memory.items()
            },
        }  # fmt: skip

    def _over(self) -> None:
        durations = sorted(self._seconds)
        self._steps.append(_Step(self._calls, self._errors, _quantile(durations, 0.5), _quantile(durations, 0.95)))
        self._calls = self._errors = 0
        self._seconds = []
        self._until = self._wall()
        self._remember()

    def _remember(self) -> None:
        there = {name: child for child in self._children() if (name := _name(child))}
        for name in there.keys() - self._memory.keys():
            self._memory[name] = _Memory(there[name].server)
        for name, kept in tuple(self._memory.items()):
            child = there.get(name)
            kept.bytes.append(self._use.of(child) if child is not None else None)
            kept.missing = 0 if child is not None else kept.missing + 1
            if kept.missing >= STEPS:
                del self._memory[name]
        longest_gone = sorted(self._memory, key=lambda name: self._memory[name].missing, reverse=True)
        for name in longest_gone[: max(0, len(self._memory) - MOST_CHILDREN)]:
            del self._memory[name]


def _name(child: Child) -> str:
    """"" for a server that runs elsewhere, and for what does not run yet."""
    return child.container_name or (f"process {child.pid}" if child.pid is not None else "")


def _quantile(durations: Sequence[float], share: float) -> float | None:
    """By the nearest rank, of what is sorted; None of nothing."""
    return durations[min(len(durations) - 1, int(share * len(durations)))] if durations else None
