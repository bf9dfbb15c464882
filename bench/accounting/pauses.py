"""How long the machine as a whole stood still, as seen by a process that wakes up all the time on each CPU.

As a program, ``pauses.py CPU``: says ``ready``, sleeps again and again until its standard input ends, then says the
gaps that it saw, as JSON. The standard library only, and no import of this package: it has to start fast.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

SLEEP_SECONDS, GAP_SECONDS = 0.002, 0.005
MOST_CPUS = 2
_ANSWER_SECONDS = 10.0
_MOST_GAPS = 100_000

Gap = tuple[float, float]
"""From, until, by the machine's monotonic clock, in seconds."""


class PauseSampler:
    """Samplers on the first CPUs, from its making until ``stop``. Ends with its maker, whatever happens to that."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        cpus = sorted(os.sched_getaffinity(0))[:MOST_CPUS]
        self._samplers = [
            subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(cpu)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
            for cpu in cpus
        ]  # fmt: skip
        for sampler in self._samplers:
            assert sampler.stdout is not None
            told = select.poll()  # select() takes no descriptor above 1023, and there may be a thousand clients
            told.register(sampler.stdout, select.POLLIN)
            if not told.poll(_ANSWER_SECONDS * 1000) or not sampler.stdout.readline():
                self.stop()
                raise TimeoutError("the sampler of pauses did not start")
        self._begun = time.perf_counter()

    def stop(self) -> dict[str, float]:
        """``share`` of the time that was paused, ``per_second``, ``longest_ms``."""
        seconds = time.perf_counter() - self._begun
        seen = []
        for sampler in self._samplers:
            try:
                said, _ = sampler.communicate(timeout=_ANSWER_SECONDS)
            except subprocess.TimeoutExpired:
                sampler.kill()
                said, _ = sampler.communicate()
            seen.append([(gap[0], gap[1]) for gap in json.loads(said.splitlines()[-1])] if said.strip() else [])
        return summary(common(seen), seconds)


def common(seen: Sequence[Sequence[Gap]]) -> list[Gap]:
    """Where the gaps of all samplers overlap by more than ``GAP_SECONDS``: one CPU alone may only have been busy."""
    found = list(seen[0]) if seen else []
    for other in seen[1:]:
        found = [
            (max(a[0], b[0]), min(a[1], b[1]))
            for a in found
            for b in other
            if min(a[1], b[1]) - max(a[0], b[0]) > GAP_SECONDS
        ]
    return found


def summary(gaps: Sequence[Gap], seconds: float) -> dict[str, float]:
    lengths = [until - since for since, until in gaps]
    seconds = max(seconds, GAP_SECONDS)
    return {
        "share": round(sum(lengths) / seconds, 4),
        "per_second": round(len(lengths) / seconds, 2),
        "longest_ms": round(max(lengths, default=0.0) * 1000, 1),
    }


def sample(cpu: int) -> list[Gap]:
    """Gaps on that CPU until standard input ends. With real-time priority where it is allowed."""
    with suppress(OSError):
        os.sched_setaffinity(0, {cpu})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    print("ready", flush=True)
    gaps: list[Gap] = []
    last = time.perf_counter()
    while not select.select([0], [], [], SLEEP_SECONDS)[0]:
        now = time.perf_counter()
        if now - last > GAP_SECONDS and len(gaps) < _MOST_GAPS:
            gaps.append((last, now))
        last = now
    return gaps


if __name__ == "__main__":
    print(json.dumps(sample(int(sys.argv[1]))))
