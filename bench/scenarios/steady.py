"""A steady load for a long time: whether memory stays where it is, and whether each call is answered."""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.accounting.figures import latencies_ms
from bench.client.factory import Factory
from bench.client.session import FAILURES, NOW, Json, Session
from bench.scenarios.common import Target, close_quietly, open_sessions
from bench.scenarios.jobs import Job, Outcome

PARTS = 6
"""The time is cut into as many; memory is told for each."""
KINDS = ("rss", "pss")
_KEPT = 100_000


@dataclass(frozen=True)
class SteadyPlan:
    """``concurrency`` sessions call at random moments, ``per_second`` times in all, with ``payload`` bytes each way.

    ``duration`` in seconds; memory is read ``every`` so many. A session ends after ``calls`` calls, and another one
    takes its place; with 0 none ends.
    """

    concurrency: int = 64
    per_second: float = 500.0
    payload: int = 100
    duration: float = 3600.0
    every: float = 10.0
    calls: int = 500


@dataclass
class _Load:
    """What goes on; ``latencies`` in ``outcome`` are a sample that does not grow."""

    factory: Factory
    plan: SteadyPlan
    deadline: float
    outcome: Outcome = field(default_factory=Outcome)
    finished: int = 0
    opened: int = 0

    async def client(self, session: Session, mark: int) -> None:
        """Until the deadline, in one session after the other."""
        job, pause = Job("echo", self.plan.payload, mark), self.plan.concurrency / self.plan.per_second
        # So that not all sessions end together.
        left = random.randint(1, self.plan.calls) if self.plan.calls else 0
        try:
            while await self._pause(random.expovariate(1 / pause)):
                await self._call(session, job)
                left -= 1
                if left == 0:
                    await close_quietly(session)
                    session, left = await self._next(session), self.plan.calls
        finally:
            await close_quietly(session)

    async def _pause(self, seconds: float) -> bool:
        """False when the time is over."""
        await asyncio.sleep(max(0.0, min(seconds, self.deadline - NOW())))
        return NOW() < self.deadline

    async def _call(self, session: Session, job: Job) -> None:
        try:
            took = await job.run(session)
        except FAILURES as error:
            self.outcome.failed(error)
            return
        self.finished += 1
        if len(self.outcome.latencies) < _KEPT:
            self.outcome.latencies.append(took)
        elif (place := random.randrange(self.finished)) < _KEPT:
            self.outcome.latencies[place] = took

    async def _next(self, ended: Session) -> Session:
        """Another session; the ended one, whose calls will fail and be counted, where none can be had."""
        session = self.factory()
        try:
            await session.open()
        except FAILURES as error:
            self.outcome.failed(error)
            await close_quietly(session)
            return ended
        self.opened += 1
        return session


async def steady(target: Target, plan: SteadyPlan) -> Json:
    """``parts``: the medians of memory in each part of the time, in MiB; ``growth_mib`` from the second to the last."""
    base = target.memory()
    factory = target.factory()
    opened = await open_sessions(factory, plan.concurrency, target.parallel)
    begun = NOW()
    load = _Load(factory, plan, begun + plan.duration, opened=len(opened.sessions))
    readings: list[tuple[float, Json]] = []
    with target.watch() as watch:
        async with asyncio.TaskGroup() as tasks:
            for mark, session in enumerate(opened.sessions):
                tasks.create_task(load.client(session, mark))
            tasks.create_task(_read(target, plan, begun, readings))
    seconds = NOW() - begun
    parts = memory_by_part(readings, plan.duration)
    return {
        "calls": load.finished, "sessions_opened": load.opened, "seconds": round(seconds, 1),
        "calls_per_second": round(load.finished / seconds, 1), **latencies_ms(load.outcome.latencies),
        "cpu_ms_per_call": {
            part: round(used * 1000 / load.finished, 4) for part, used in watch.used.items()
        } if load.finished else {},
        **watch.state, **load.outcome.failure_report(), "open_failures": opened.failures,
        "base_memory_mib": base, "parts": parts, "growth_mib": growth(parts),
        "readings": [[round(at, 1), memory] for at, memory in readings], **target.accounts(),
    }  # fmt: skip


async def _read(target: Target, plan: SteadyPlan, begun: float, readings: list[tuple[float, Json]]) -> None:
    """What ``target.memory`` tells of all processes, again and again."""
    at = plan.every
    while at <= plan.duration:
        await asyncio.sleep(max(0.0, begun + at - NOW()))
        everything = target.memory()["all"]
        now = {kind: everything[kind] for kind in KINDS}
        readings.append((at, now))
        if len(readings) % 30 == 0:
            print(f"after {at:.0f} s: {now}", file=sys.stderr, flush=True)
        at += plan.every


def memory_by_part(readings: Sequence[tuple[float, Json]], duration: float) -> list[Json]:
    """Median ``rss`` and ``pss`` of each part of the time; a part without a reading is left out."""
    parts = []
    for number in range(PARTS):
        lower, upper = (duration * part / PARTS for part in (number, number + 1))
        there = [memory for at, memory in readings if lower < at <= upper]
        if there:
            medians = {kind: round(statistics.median(one[kind] for one in there), 1) for kind in KINDS}
            parts.append({"until_seconds": round(upper, 1), **medians})
    return parts


def growth(parts: Sequence[Json]) -> Json:
    """From the second part, in which everything has been used, to the last; empty where parts are missing."""
    if len(parts) < PARTS:
        return {}
    return {kind: round(parts[-1][kind] - parts[1][kind], 1) for kind in KINDS}
