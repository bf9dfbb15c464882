"""From a fresh connect to the first result of a tool: cold, when nobody called before, and warm."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass

from bench.accounting.figures import milliseconds
from bench.client.session import FAILURES, NOW, Json, why
from bench.scenarios.common import Target, close_quietly

_SHOWN = 200


@dataclass(frozen=True)
class FirstPlan:
    """``count`` runs with ``gap`` seconds between them; ``rest``: seconds after each close that count to its CPU."""

    count: int = 5
    gap: float = 0.0
    rest: float = 0.3


async def first(target: Target, plan: FirstPlan) -> Json:
    """``runs_ms``: a pair for each run, [handshake done, first result]; the first one is cold on a fresh gateway."""
    runs: list[list[float | None]] = []
    cpu: list[Json] = []
    pauses: list[float] = []
    failures: list[str] = []
    factory = target.factory()
    for number in range(plan.count):
        if number and plan.gap:
            await asyncio.sleep(plan.gap)
        session = factory()
        with target.watch() as watch:
            begun = NOW()
            try:
                await session.open()
                opened = NOW()
                await session.call("echo", {"text": "first"})
                runs.append([milliseconds(opened - begun), milliseconds(NOW() - begun)])
            except FAILURES as error:
                failures.append(why(error)[:_SHOWN])
            await close_quietly(session)
            await asyncio.sleep(plan.rest)
        cpu.append({part: round(seconds * 1000) for part, seconds in watch.used.items()})
        pauses.append(watch.state["pauses"]["share"])
    result: Json = {
        "columns": ["handshake done", "first result"],
        "runs_ms": runs,
        "cpu_ms": cpu,
        "paused_share": pauses,
        "failures": failures,
    }
    if runs:
        result["median_ms"] = [statistics.median(filter(None, column)) for column in zip(*runs, strict=True)]
    return result
