"""What the kernel says about a process."""

from __future__ import annotations

import os
import time

from metamcp.telemetry import metrics
from metamcp.telemetry.processes import samples, usage


def test_memory_and_cpu_are_those_of_the_process() -> None:
    before, began = usage(os.getpid()), time.process_time()
    assert before is not None
    ballast = bytearray(os.urandom(32 * 1024 * 1024))
    while time.process_time() - began < 0.1:
        pass
    after = usage(os.getpid())
    assert after is not None and ballast
    assert 28 * 1024 * 1024 < after.resident - before.resident < 64 * 1024 * 1024
    assert 0.05 < after.cpu - before.cpu < 5
    assert after.cpu <= time.process_time() + 0.05


def test_a_process_that_is_gone_is_left_out() -> None:
    assert usage(2**22 + 1) is None
    found = samples({("web", "0"): 2**22 + 1, ("supervisor", ""): os.getpid()})
    assert [labels for labels, _ in found[metrics.PROCESS_MEMORY.name]] == [("supervisor", "")]
    assert [labels for labels, _ in found[metrics.PROCESS_CPU.name]] == [("supervisor", "")]
