"""Clients that are only connected: what each costs, and whether it is still served."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from bench.accounting.processes import parts_of
from bench.accounting.slices import CpuClocks, idle_slices, quiet_percent
from bench.client.session import FAILURES, Json, Session, why
from bench.scenarios.common import Opened, Target, close_all, open_sessions

_ASKED = 50
_SHOWN = 200
_KIB = 1024.0


@dataclass(frozen=True)
class IdlePlan:
    """``clients``: levels, each reached from the one before. ``hold``: seconds at each."""

    clients: Sequence[int] = (100, 500, 1000)
    hold: float = 10.0


@dataclass(frozen=True)
class SessionsPlan:
    """``count`` sessions, each of which calls once and then rests for ``hold`` seconds."""

    count: int = 100
    hold: float = 5.0


async def idle(target: Target, plan: IdlePlan) -> Json:
    """``stages``, one for each level: memory for each client, CPU while idle. Clients hold a stream where they can."""
    base, stages = target.memory(), []
    sessions: list[Session] = []
    factory = target.listening().factory()
    try:
        for count in sorted(plan.clients):
            opened = await open_sessions(factory, count - len(sessions), target.parallel)
            sessions += opened.sessions
            stage = {"clients": count, **await _hold(target, sessions, opened, base, plan.hold)}
            stage |= await _ask(sessions)
            stages.append(stage)
            print(f"idle {count}: {stage['rss_kib_per_client']} KiB, alive {stage['alive']}", file=sys.stderr)
            if opened.failures:
                break
    finally:
        await close_all(sessions, parallel=64)
    return {"base_memory_mib": base, "stages": stages}


async def sessions(target: Target, plan: SessionsPlan) -> Json:
    """What one session costs that has called once: memory for each, and what is left of it when all have ended."""
    base = target.memory()
    opened = await open_sessions(target.factory(), plan.count, target.parallel)
    failures: list[str] = []
    try:
        for session in opened.sessions:
            try:
                await session.call("echo", {"text": "once"})
            except FAILURES as error:
                failures.append(why(error)[:_SHOWN])
        held = await _hold(target, opened.sessions, opened, base, plan.hold)
    finally:
        await close_all(opened.sessions)
    await asyncio.sleep(plan.hold)
    return {"base_memory_mib": base, **held, "failures": failures, "after_close": target.accounts()}


async def _hold(
    target: Target, held: Sequence[Session], opened: Opened, base: dict[str, dict[str, float]], seconds: float
) -> Json:  # fmt: skip
    with target.watch() as watch:
        slices = await idle_slices(CpuClocks(parts_of(target.pids)), seconds)
    now = target.memory()
    count = len(held) or 1
    each = {
        f"{kind}_kib_per_client": round((now["all"][kind] - base["all"][kind]) * _KIB / count, 1)
        for kind in ("rss", "pss")
    }
    return {
        "connected": len(held),
        "open_seconds": opened.seconds,
        **each,
        "cpu_percent_while_idle": {part: round(100 * used / seconds, 2) for part, used in watch.used.items()},
        "quiet_cpu_percent_while_idle": quiet_percent(slices),
        **watch.state,
        "open_failures": opened.failures,
        **target.accounts(),
    }


async def _ask(held: Sequence[Session]) -> Json:
    """A call by some of them."""
    asked = random.sample(held, min(_ASKED, len(held)))
    alive, example = 0, ""
    for session in asked:
        try:
            await session.call("echo", {"text": "alive"})
            alive += 1
        except FAILURES as error:
            example = why(error)[:_SHOWN]
    return {"alive": f"{alive} of {len(asked)}", "failure_example": example}
