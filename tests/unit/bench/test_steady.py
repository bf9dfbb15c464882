"""A steady load: what is said of memory, and sessions that end and begin."""

from __future__ import annotations

import asyncio
from typing import Any

from bench.client.session import CallError
from bench.scenarios.common import Target
from bench.scenarios.steady import SteadyPlan, growth, memory_by_part, steady


def test_growth_is_from_the_second_part_to_the_last() -> None:
    readings = [(float(at), {"rss": 100.0 + at, "pss": 50.0}) for at in range(1, 61)]
    parts = memory_by_part(readings, 60.0)
    assert [part["rss"] for part in parts] == [105.5, 115.5, 125.5, 135.5, 145.5, 155.5]
    assert growth(parts) == {"rss": 40.0, "pss": 0.0}


def test_no_growth_is_told_where_parts_are_missing() -> None:
    assert growth(memory_by_part([(1.0, {"rss": 1.0, "pss": 1.0})], 60.0)) == {}


class Fake:
    """A session; every third call fails."""

    opened = closed = calls = 0

    async def open(self) -> None:
        Fake.opened += 1

    async def close(self, graceful: bool = True) -> None:
        Fake.closed += 1

    async def call(self, _: str, arguments: dict[str, Any]) -> tuple[float, dict[str, Any]]:
        Fake.calls += 1
        if Fake.calls % 3 == 0:
            raise CallError("refused")
        return 0.001, {"content": [{"type": "text", "text": arguments["text"]}]}


def test_each_session_ends_after_its_calls_and_nothing_is_left(monkeypatch: Any) -> None:
    monkeypatch.setattr(Target, "factory", lambda _: Fake)
    plan = SteadyPlan(concurrency=4, per_second=400.0, duration=0.5, every=0.1, calls=5)
    found = asyncio.run(steady(Target("http", "http://127.0.0.1:1/mcp"), plan))
    assert found["calls"] + found["failures"]["refused"] == Fake.calls > 20
    assert found["sessions_opened"] == Fake.opened == Fake.closed > 4
    assert [at for at, _ in found["readings"]] == [0.1, 0.2, 0.3, 0.4, 0.5]
