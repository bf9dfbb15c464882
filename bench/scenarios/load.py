"""Latency, throughput and CPU of calls at several concurrencies."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from bench.accounting.figures import latencies_ms
from bench.accounting.processes import parts_of
from bench.accounting.slices import CpuClocks, Slicer, quiet_figures
from bench.client.session import FAILURES, Json, Session, why
from bench.scenarios.common import Target, Watch, close_all, open_sessions
from bench.scenarios.jobs import Job, Outcome, drive

_IDLE_PARALLEL = 16


@dataclass(frozen=True)
class LoadPlan:
    """``payload`` in bytes, ``duration`` and ``warmup`` in seconds for each stage.

    ``sessions``: so many are open, of which the concurrency is active. ``idle_clients``: so many more only hold a
    stream. A stage that others disturbed by more than ``noise`` cores is repeated up to ``retries`` times, and the
    quietest one counts.
    """

    concurrency: Sequence[int] = (1, 8, 32, 64)
    payload: Sequence[int] = (100, 100_000)
    duration: float = 5.0
    warmup: float = 1.0
    tool: str = "echo"
    sessions: int = 0
    idle_clients: int = 0
    noise: float = 0.2
    retries: int = 2


@dataclass
class _Measured:
    """One try of a stage."""

    outcome: Outcome
    watch: Watch
    slicer: Slicer


async def load(target: Target, plan: LoadPlan) -> Json:
    """``stages``, one for each concurrency and payload, and ``notes`` on what could not be opened."""
    notes: list[Json] = []
    idle: list[Session] = []
    sessions: list[Session] = []
    try:
        if plan.idle_clients:
            listening = target.listening()
            opened = await open_sessions(listening.factory(), plan.idle_clients, _IDLE_PARALLEL)
            idle += opened.sessions
            notes += [{"idle_clients": len(idle), "open_failures": opened.failures}]
        return {"stages": await _stages(target, plan, sessions, notes), "notes": notes}
    finally:
        await close_all(sessions)
        await close_all(idle, parallel=64)


async def _stages(target: Target, plan: LoadPlan, sessions: list[Session], notes: list[Json]) -> list[Json]:
    factory, stages = target.factory(), []
    for concurrency in sorted(plan.concurrency):
        wanted = max(plan.sessions, concurrency)
        opened = await open_sessions(factory, wanted - len(sessions), target.parallel)
        sessions += opened.sessions
        if opened.failures:
            notes.append({"at": concurrency, "open_failures": opened.failures})
        await _wake(opened.sessions, target.parallel, notes)
        if not sessions:
            break
        for payload in plan.payload:
            stage = await _stage(target, plan, sessions, concurrency, payload)
            stages.append(stage)
            print(_line(stage), file=sys.stderr)
    return stages


async def _wake(sessions: Sequence[Session], parallel: int, notes: list[Json]) -> None:
    """One call each, so that a session's container exists although the session may never be active."""
    job, gate = Job("echo", 10), asyncio.Semaphore(parallel)

    async def one(session: Session) -> None:
        async with gate:
            try:
                await job.run(session)
            except FAILURES as error:
                notes.append({"first_call_failed": why(error)})

    await asyncio.gather(*(one(session) for session in sessions))


async def _stage(
    target: Target, plan: LoadPlan, sessions: Sequence[Session], concurrency: int, payload: int
) -> Json:  # fmt: skip
    jobs = {session: Job(plan.tool, payload, mark) for mark, session in enumerate(sessions[:concurrency])}
    await drive(jobs, plan.warmup)
    foreign = sum(session.foreign for session in sessions)
    best: _Measured | None = None
    for _ in range(1 + plan.retries):
        measured = await _measure(target, plan, jobs)
        if best is None or _noise(measured) < _noise(best):
            best = measured
        if _noise(measured) < plan.noise:
            break
    assert best is not None
    stage = {"concurrency": concurrency, "sessions": len(sessions), "payload": payload, "tool": plan.tool}
    return stage | _report(best) | {
        "foreign_messages": sum(session.foreign for session in sessions) - foreign, **target.accounts(),
    }  # fmt: skip


def _noise(measured: _Measured) -> float:
    return float(measured.watch.state["machine"].get("others", 0.0))


async def _measure(target: Target, plan: LoadPlan, jobs: dict[Session, Job]) -> _Measured:
    gc.collect()
    gc.freeze()  # the generator's collector need not look at thousands of lasting objects during a stage
    slicer = Slicer(CpuClocks(parts_of(target.pids)), len(jobs))
    with target.watch() as watch:
        slicer.begin()
        outcome = await drive(jobs, plan.duration, slicer)
    return _Measured(outcome, watch, slicer)


def _report(measured: _Measured) -> Json:
    outcome = measured.outcome
    calls = len(outcome.latencies)
    return {
        "calls": calls,
        "seconds": round(outcome.seconds, 3),
        "calls_per_second": round(calls / outcome.seconds, 1),
        **latencies_ms(outcome.latencies),
        "cpu_ms_per_call": {part: round(seconds * 1000 / calls, 4) for part, seconds in measured.watch.used.items()}
        if calls
        else {},
        **quiet_figures(measured.slicer.slices),
        **measured.watch.state,
        **outcome.failure_report(),
    }


def _line(stage: Json) -> str:
    cpu, quiet = stage["cpu_ms_per_call"].get("peer"), stage.get("quiet_cpu_ms_per_call", {}).get("peer")
    return (
        f"c={stage['concurrency']} payload={stage['payload']}: {stage['calls_per_second']}/s "
        f"(quiet {stage.get('quiet_calls_per_second')}) p50={stage['p50_ms']} p99={stage['p99_ms']} ms "
        f"cpu/call={cpu} (quiet {quiet}) ms paused={stage['pauses']['share']:.0%} failures={stage.get('failures', {})}"
    )
