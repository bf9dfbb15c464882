"""CPU between two moments: that of the peer, of its surroundings, and of everybody else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bench.accounting.processes import TICK, cpu, cpu_between

GENERATOR = "load-generator"


def machine() -> tuple[float, float, float]:
    """(busy, stolen, all) CPU seconds of the whole machine so far."""
    first = Path("/proc/stat").read_text().partition("\n")[0]
    return parse_machine(first)


def parse_machine(line: str) -> tuple[float, float, float]:
    """The first line of /proc/stat."""
    fields = [int(text) / TICK for text in line.split()[1:9]]
    idle, stolen = fields[3] + fields[4], fields[7]
    return sum(fields) - idle - stolen, stolen, sum(fields)


class Window:
    """CPU used between its making and ``stop``."""

    def __init__(self, roots: Sequence[int], engine: bool) -> None:
        self._roots, self._engine = roots, engine
        self._before = cpu(roots, engine)
        self._own = _own_seconds()
        self._machine = machine()

    def stop(self) -> tuple[dict[str, float], dict[str, float]]:
        """(CPU seconds by part, state of the machine in cores).

        ``others``, with the engine only: what processes outside the measurement kept busy. Where it is more than some
        hundredths, the other figures are disturbed.
        """
        used = cpu_between(self._before, cpu(self._roots, self._engine))
        used[GENERATOR] = _own_seconds() - self._own
        busy, stolen, total = (after - before for before, after in zip(self._machine, machine(), strict=True))
        seconds = max(total / (os.cpu_count() or 1), 1 / TICK)
        state = {"busy_cores": busy / seconds, "stolen_cores": stolen / seconds}
        if self._engine:
            state["others"] = (busy - sum(used.values())) / seconds
        return used, {name: round(value, 3) for name, value in state.items()}


def _own_seconds() -> float:
    return sum(os.times()[:2])
