"""What is heavy: large answers, floods of notifications, and clients that read too slowly."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from bench.accounting.figures import latencies_ms
from bench.accounting.processes import reset_peaks
from bench.client.over_http import HttpBase
from bench.client.session import FAILURES, NOW, CallError, Json, Session, why
from bench.scenarios.common import Opened, Target, close_all, close_quietly, open_sessions
from bench.scenarios.jobs import Job, Outcome, drive

_TOKEN = "bench-progress"
_SMALL_BYTES = 100
_RECEIVE_BUFFER = 8192
_MEGA = 1e6
_ARRIVE_SECONDS, _HEAD_BYTES = 30.0, 4096


@dataclass(frozen=True)
class LargePlan:
    """``parts``: of PARTS. ``sizes`` in bytes, each at every ``concurrency``, for ``duration`` seconds.

    ``notifications`` at ``per_second``. The slow reader takes ``slow_bytes_per_second`` of an answer of the largest
    size while ``others`` sessions make small calls.
    """

    parts: Sequence[str] = ("answers", "progress", "slow")
    sizes: Sequence[int] = (100_000, 10_000_000)
    concurrency: Sequence[int] = (1, 4)
    duration: float = 5.0
    notifications: int = 5000
    per_second: int = 1000
    slow_bytes_per_second: float = 10_000.0
    others: int = 8


async def large(target: Target, plan: LargePlan) -> Json:
    """A list of stages, or a stage, for each part."""
    found: Json = {}
    for part in plan.parts:
        found[part] = await PARTS[part](target, plan)
        print(f"{part}: {found[part]}", file=sys.stderr)
    return found


async def _answers(target: Target, plan: LargePlan) -> list[Json]:
    """Throughput and the gateway's peak memory, which is that of the stage alone where the kernel lets us."""
    stages = []
    for size in sorted(plan.sizes):
        for concurrency in plan.concurrency:
            opened = await open_sessions(target.factory(), concurrency, target.parallel)
            jobs = {session: Job("big", size) for session in opened.sessions}
            try:
                stages.append({"bytes": size, "concurrency": concurrency, **await _run(target, jobs, size, plan)})
            finally:
                await close_all(opened.sessions)
    return stages


async def _run(target: Target, jobs: dict[Session, Job], size: int, plan: LargePlan) -> Json:
    alone = reset_peaks(target.pids)
    with target.watch() as watch:
        outcome = await drive(jobs, plan.duration)
    calls = len(outcome.latencies)
    return {
        **_told(outcome),
        "megabytes_per_second": round(calls * size / outcome.seconds / _MEGA, 1),
        "cpu_ms_per_megabyte": {
            part: round(seconds * 1000 * _MEGA / calls / size, 2) for part, seconds in watch.used.items() if calls
        },
        **watch.state,
        "peak_is_of_the_stage": alone,
        **target.accounts(),
    }


def _told(outcome: Outcome) -> Json:
    calls = len(outcome.latencies)
    rate = round(calls / outcome.seconds, 1)
    return {"calls": calls, "calls_per_second": rate, **latencies_ms(outcome.latencies), **outcome.failure_report()}


async def _progress(target: Target, plan: LargePlan) -> Json:
    """How many notifications came, at which rate, and how long after they were sent.

    The server writes the machine's monotonic clock into each; a container has the same one.
    """
    opened = await open_sessions(target.factory(), 1, 1)
    if not opened.sessions:
        return _not_opened(opened)
    session, delays = opened.sessions[0], list[float]()

    def came(arrived: float, message: Json) -> None:
        if message.get("params", {}).get("progressToken") == _TOKEN:
            delays.append(arrived - float(message["params"]["message"]))

    session.watch(came)
    arguments = {"count": plan.notifications, "per_second": plan.per_second}
    params = {"name": target.settings.prefix + "progress", "arguments": arguments, "_meta": {"progressToken": _TOKEN}}
    alone, failure = reset_peaks(target.pids), ""
    with target.watch() as watch:
        begun = NOW()
        try:
            await session.request("tools/call", params)
        except FAILURES as error:
            failure = why(error)
        seconds = NOW() - begun
    await close_all(opened.sessions)
    return {
        "sent": plan.notifications,
        "wanted_per_second": plan.per_second,
        "received": len(delays),
        "per_second": round(len(delays) / seconds, 1),
        **{f"delay_{name}": value for name, value in latencies_ms(delays).items()},
        "cpu_ms_per_notification": {
            part: round(spent * 1000 / len(delays), 4) for part, spent in watch.used.items() if delays
        },
        **watch.state,
        "failure": failure,
        "peak_is_of_the_stage": alone,
        **target.accounts(),
    }


def _not_opened(opened: Opened) -> Json:
    return {"open_failures": opened.failures}


async def _slow(target: Target, plan: LargePlan) -> Json:
    """What others' calls take before and while one client takes its large answer slowly, and the peak of memory."""
    opened = await open_sessions(target.factory(), plan.others, target.parallel)
    jobs = {session: Job("echo", _SMALL_BYTES, mark) for mark, session in enumerate(opened.sessions)}
    reader = target.factory(_RECEIVE_BUFFER)()
    try:
        if not isinstance(reader, HttpBase):
            return {"not_measured": "a slow reader needs HTTP"}
        await reader.open()
        await drive(jobs, 1.0)
        alone = reset_peaks(target.pids)
        before = await drive(jobs, plan.duration)
        memory_before = target.memory()
        call = asyncio.ensure_future(_read_slowly(reader, max(plan.sizes), plan.slow_bytes_per_second))
        await _arrives(reader, reader.received)
        begun, received = NOW(), reader.received
        with target.watch() as watch:
            during = await drive(jobs, plan.duration)
        taken, seconds = reader.received - received, NOW() - begun
        accounts = target.accounts()
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        return {
            "before": _told(before),
            "during": _told(during),
            "read_bytes_per_second": round(taken / seconds),
            "memory_before_mib": memory_before,
            "peak_is_of_the_stage": alone,
            **watch.state,
            **accounts,
        }
    except FAILURES as error:
        return {"failure": why(error)}
    finally:
        await close_quietly(reader, graceful=False)
        await close_all(opened.sessions)


async def _arrives(reader: HttpBase, received: int) -> None:
    """Until the first bytes of the large answer are there, or not in time."""
    deadline = NOW() + _ARRIVE_SECONDS
    while reader.received <= received + _HEAD_BYTES and NOW() < deadline:
        await asyncio.sleep(0.02)


async def _read_slowly(reader: HttpBase, size: int, bytes_per_second: float) -> None:
    reader.throttle(bytes_per_second)
    with suppress(CallError):  # a gateway may hang up on it
        await reader.call("big", {"bytes": size})


PARTS: dict[str, Callable[[Target, LargePlan], Awaitable[object]]] = {
    "answers": _answers, "progress": _progress, "slow": _slow,
}  # fmt: skip
