"""Ten agents at once, for as long as SOAK_SECONDS says: nothing grows, every call has one outcome."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from census import at_rest, memory
from containers import container_server
from docker_engine import Engine
from gateway_process import GatewayProcess, process_server, running_gateway
from soak_agents import Ledger, run_all

SECONDS = float(os.environ.get("SOAK_SECONDS", "15"))
WARM_UP_SECONDS = min(20.0, SECONDS)
REST_SECONDS = 60.0
"""For what is still starting when the last client goes, its idle time, and the stop ladder of what ignores it."""

GROWTH, GROWTH_MIB = 0.10, 6.0
"""Of memory, besides the streamed answers that are kept: a session that nobody ended lives for a day."""

HONEST = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "2"}
"""glibc gives back what is free, so that what is counted is what somebody holds."""


def servers_for(engine: Engine, records: Path) -> dict[str, Any]:
    idle = {"idleSeconds": 4}
    return {
        "own": container_server(engine, "good", isolation="session", **idle),
        "shared": container_server(engine, "good", isolation="shared", **idle),
        "fresh": container_server(engine, "good", isolation="call"),
        "short": container_server(engine, "good", isolation="session", idleSeconds=0.5),
        "spare": container_server(engine, "good", warm=1, **idle),
        "stubborn": container_server(engine, "ignores-eof-and-term", **idle),
        "plain": process_server("good", env={"MISBEHAVING_RECORDS": str(records)}, **idle),
        "crashing": process_server("good", **idle),
    }


@pytest.fixture
def gateway(engine: Engine, tmp_path: Path) -> Iterator[GatewayProcess]:
    servers = servers_for(engine, tmp_path / "records")
    with running_gateway(tmp_path, servers, images=[engine.image], workers=2, env={**engine.env, **HONEST}) as running:
        yield running


@pytest.mark.timeout(SECONDS + WARM_UP_SECONDS + 2 * REST_SECONDS + 300)
def test_nothing_grows_and_each_call_has_one_outcome_whatever_ten_agents_do(
    engine: Engine, gateway: GatewayProcess, tmp_path: Path
) -> None:
    ledger = Ledger()
    run_all(gateway, ledger, WARM_UP_SECONDS, lambda: None)
    idle, idle_memory = at_rest(engine, gateway, REST_SECONDS), memory(gateway)
    samples: list[dict[str, float]] = []
    begun = time.monotonic()
    run_all(gateway, ledger, SECONDS, lambda: samples.append(memory(gateway)))
    print(f"{time.monotonic() - begun:.0f} s, {len(samples)} samples")
    after, after_memory = at_rest(engine, gateway, REST_SECONDS), memory(gateway)
    report(ledger, samples, idle_memory, after_memory)
    assert not ledger.wrong
    assert after == idle, idle.differences(after)
    assert idle.children == (("spare", "SPARE"),) and idle.containers == 1
    assert len(gateway.status()["sessions"]) <= ledger.left
    assert not growth(third(samples, 0), third(samples, 2), ledger.kept)
    assert not growth(idle_memory, after_memory, ledger.kept)
    executed = Counter((tmp_path / "records").read_text().split())
    assert ledger.recorded and {executed[token] for token in ledger.recorded} == {1}


def third(samples: list[dict[str, float]], number: int) -> dict[str, float]:
    size = len(samples) // 3
    part = samples[number * size : (number + 1) * size]
    return {role: mean(sample[role] for sample in part) for role in part[0]}


def growth(before: dict[str, float], after: dict[str, float], kept: int) -> dict[str, tuple[float, float]]:
    """By role, the MiB of those that grew by more than is allowed. ``kept``: bytes that the supervisor has to keep."""
    bound = {role: before[role] * (1 + GROWTH) + GROWTH_MIB for role in before}
    bound["supervisor"] += kept / 2**20
    return {role: (before[role], after[role]) for role in before if after[role] > bound[role]}


def report(ledger: Ledger, samples: list[dict[str, float]], idle: dict[str, float], after: dict[str, float]) -> None:
    for (server, kind, outcome), count in sorted(ledger.outcomes.items()):
        print(f"{server:>10} {kind:>10} {outcome[:100]}: {count}")
    print(f"{ledger.left} sessions were left, with {ledger.kept / 2**20:.1f} MiB of streamed answers")
    for name, sizes in {"idle": idle, "first third": third(samples, 0), "last third": third(samples, 2),
                        "idle again": after}.items():  # fmt: skip
        print(f"{name:>12}:", ", ".join(f"{role} {size:.1f} MiB" for role, size in sizes.items()))
