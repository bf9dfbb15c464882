"""Slices of a stage, the figures of its quiet ones, and pauses that all CPUs saw."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import pytest

from bench.accounting.figures import latencies_ms, percentile
from bench.accounting.pauses import PauseSampler, common, summary
from bench.accounting.slices import (
    CpuClocks,
    Slice,
    Slicer,
    idle_slices,
    quiet_figures,
    quiet_percent,
    quiet_slices,
)

MS = 1_000_000


def test_percentiles_are_samples_and_none_without_any() -> None:
    samples = [float(number) for number in range(1, 101)]
    assert (percentile(samples, 0.5), percentile(samples, 0.99), percentile(samples, 1.0)) == (51, 100, 100)
    assert percentile([], 0.5) is None
    assert latencies_ms([0.002, 0.001]) == {"p50_ms": 2.0, "p90_ms": 2.0, "p99_ms": 2.0, "max_ms": 2.0}
    assert latencies_ms([])["p50_ms"] is None


def test_quiet_slices_are_the_quarter_with_the_least_wall_time_for_each_call() -> None:
    quiet = [Slice(25 * MS, 25, {"peer": 10 * MS}), Slice(26 * MS, 25, {"peer": 12 * MS})]
    paused = [Slice(200 * MS, 25, {"peer": 150 * MS}) for _ in range(6)]
    assert quiet_slices([*paused, *quiet]) == quiet
    figures = quiet_figures([*paused, *quiet])
    assert figures["slices"] == 8
    assert figures["quiet_cpu_ms_per_call"] == {"peer": pytest.approx(0.44)}
    assert figures["quiet_calls_per_second"] == pytest.approx((1000 + 25 / 0.026) / 2, abs=0.1)


def test_a_stage_without_a_whole_slice_has_no_quiet_figures() -> None:
    assert quiet_slices([]) == [] and quiet_figures([]) == {} and quiet_percent([]) == {}
    assert quiet_slices([Slice(1, 1)]) == [Slice(1, 1)]


def test_a_slice_ends_when_it_has_both_the_time_and_the_calls() -> None:
    slicer = Slicer(CpuClocks({}), least_calls=3, seconds=0.01)
    for _ in range(5):
        slicer.call()
    assert slicer.slices == []
    time.sleep(0.011)
    slicer.call()
    assert [one.calls for one in slicer.slices] == [6]
    slicer.begin()
    assert slicer.slices == []


def test_the_clock_of_another_process_counts_its_cpu_and_stays_when_it_has_ended() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "import sys; sum(range(3_000_000)); sys.stdin.read()"],
                            stdin=subprocess.PIPE)  # fmt: skip
    try:
        clocks = CpuClocks({"peer": [busy.pid], "docker-cli": []})
        until = time.monotonic() + 30
        while (seen := clocks.read()["peer"]) < 20 * MS and time.monotonic() < until:
            time.sleep(0.02)
        assert seen >= 20 * MS
    finally:
        busy.communicate(timeout=30)
    assert clocks.read()["peer"] >= seen
    assert list(clocks.read()) == ["peer"]


def test_idle_cpu_is_told_for_the_quiet_slices_together() -> None:
    slices = asyncio.run(idle_slices(CpuClocks({"peer": [os.getpid()]}), 0.3))
    assert 1 <= len(slices) <= 6
    assert 0 <= quiet_percent(slices)["peer"] < 100
    assert quiet_percent([Slice(100 * MS, 1, {"peer": 1 * MS}), Slice(900 * MS, 1, {"peer": 800 * MS})]) == {"peer": 1}


def test_a_pause_is_what_all_cpus_saw_at_the_same_time() -> None:
    one, other = [(1.0, 1.1), (2.0, 2.05)], [(1.02, 1.2), (3.0, 3.5)]
    assert common([one, other]) == [(1.02, 1.1)]
    assert common([one]) == one and common([]) == [] and common([one, []]) == []
    assert summary([(1.0, 1.1), (2.0, 2.3)], 4.0) == {"share": 0.1, "per_second": 0.5, "longest_ms": 300.0}
    assert summary([], 0.0) == {"share": 0.0, "per_second": 0.0, "longest_ms": 0.0}


def test_samplers_start_beside_a_thousand_connections() -> None:
    taken = [os.dup(0) for _ in range(1100)]
    try:
        sampler = PauseSampler()
    finally:
        for descriptor in taken:
            os.close(descriptor)
    assert 0 <= sampler.stop()["share"] <= 1


def test_samplers_tell_and_end() -> None:
    sampler = PauseSampler()
    time.sleep(0.1)
    told = sampler.stop()
    assert 0 <= told["share"] <= 1
