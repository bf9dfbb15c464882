"""Containers when clients leave, when they are killed, and when the gateway ends; sessions that must not mix."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from bench.accounting.containers import kill_containers
from bench.accounting.processes import descendants, is_alive, processes
from bench.client.session import FAILURES, NOW, Json, Session, text_of, why
from bench.scenarios.common import Target, close_all, close_quietly, open_sessions

_CHECK_SECONDS = 240.0
_SHOWN = 240
_POLL_SECONDS, _STEADY_TIMES = 0.5, 4
ENDING = ("sigterm", "sigkill")
"""The checks that end the gateway."""


@dataclass(frozen=True)
class LifecyclePlan:
    """``checks``: of CHECKS, in their order. ``wait``: seconds for containers to go."""

    checks: Sequence[str] = ()
    wait: float = 20.0


async def lifecycle(target: Target, plan: LifecyclePlan) -> Json:
    """The facts of each check by its name. Raises ValueError without labels, by which containers are found."""
    if not target.labels:
        raise ValueError("lifecycle needs the labels of the gateway's containers")
    result: Json = {}
    for name in plan.checks or [name for name in CHECKS if name not in ENDING]:
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await _steady(target, plan.wait)
                result[name] = await CHECKS[name](target, plan.wait)
        except FAILURES as error:
            result[name] = {"check_failed": why(error) or f"no end within {_CHECK_SECONDS:g} s"}
        print(f"{name}: {json.dumps(result[name])}", file=sys.stderr)
    return result


async def _count(target: Target) -> int:
    return len(await asyncio.to_thread(target.containers))


async def _steady(target: Target, limit: float) -> None:
    """Wait until the containers of the check before are gone: until their number has not changed for a while."""
    begun, last, same = NOW(), -1, 0
    while same < _STEADY_TIMES and NOW() - begun < limit:
        count = await _count(target)
        same = same + 1 if count == last else 0
        last = count
        await asyncio.sleep(_POLL_SECONDS)


async def _settle(target: Target, wanted: int, limit: float) -> Json:
    """Wait until no more containers than wanted are left."""
    begun = NOW()
    while (left := await _count(target)) > wanted and NOW() - begun < limit:
        await asyncio.sleep(_POLL_SECONDS)
    return {"left": left, "settled_after_s": round(NOW() - begun, 1)}


async def _whoami(session: Session) -> str:
    return text_of((await session.call("whoami", {}))[1])


async def _outcome(awaitable: Awaitable[tuple[float, Json]]) -> Json:
    """How a call ends, in words, and after how many seconds."""
    begun = NOW()
    try:
        text = f"result: {text_of((await awaitable)[1])[:_SHOWN]}"
    except FAILURES as error:
        text = f"error: {why(error)[:_SHOWN]}"
    return {"outcome": text, "after_s": round(NOW() - begun, 2)}


async def _new_call(target: Target) -> Json:
    session = target.factory()()

    async def whole() -> tuple[float, Json]:
        await session.open()
        return await session.call("echo", {"text": "new session"})

    try:
        return await _outcome(whole())
    finally:
        await close_quietly(session)


async def _sharing(target: Target, wait: float) -> Json:
    """How many containers three sessions get."""
    before = await _count(target)
    opened = await open_sessions(target.factory(), 3, 1)
    names = [await _whoami(session) for session in opened.sessions]
    again = [await _whoami(session) for session in opened.sessions]
    running = await _count(target)
    await close_all(opened.sessions)
    return {
        "before": before, "with_3_sessions": running, "distinct_answering": len(set(names)),
        "same_container_each_call": names == again, "failures": opened.failures,
    }  # fmt: skip


async def _disconnect(target: Target, wait: float, graceful: bool) -> Json:
    before = await _count(target)
    opened = await open_sessions(target.factory(), 3, 1)
    for session in opened.sessions:
        await _whoami(session)
    held = await _count(target)
    await close_all(opened.sessions, graceful)
    return {"before": before, "with_3_sessions": held, **await _settle(target, before, wait)}


async def _disconnect_graceful(target: Target, wait: float) -> Json:
    return await _disconnect(target, wait, True)


async def _disconnect_abrupt(target: Target, wait: float) -> Json:
    return await _disconnect(target, wait, False)


async def _disconnect_in_call(target: Target, wait: float) -> Json:
    """The client goes away abruptly while a call is being worked on."""
    before = await _count(target)
    session = target.factory()()
    await session.open()
    await _whoami(session)
    call = asyncio.ensure_future(session.call("sleep", {"ms": 8000}))
    await asyncio.sleep(0.7)
    held = await _count(target)
    call.cancel()
    await close_quietly(session, graceful=False)
    settled = await _settle(target, before, wait)
    return {"before": before, "during": held, **settled, "new_session_afterwards": await _new_call(target)}


async def _isolation(target: Target, wait: float) -> Json:
    """Sessions that count their ids alike, as SDK clients do, with calls interleaved."""
    factory = target.factory()
    sessions = [factory() for _ in range(8)]
    for session in sessions:
        session.ids = itertools.count()
        await session.open()
    found: Json = {"right": 0, "wrong_answers": 0, "failed": 0, "failure_example": ""}
    chance = random.Random(1)

    async def work(number: int, session: Session) -> None:
        for turn in range(20):
            text = f"session {number} turn {turn}"
            try:
                _, result = await session.call("sleep", {"ms": chance.randrange(40), "text": text})
            except FAILURES as error:
                found["failed"] += 1
                found["failure_example"] = why(error)[:_SHOWN]
                continue
            found["right" if text_of(result) == text else "wrong_answers"] += 1

    await asyncio.gather(*(work(*pair) for pair in enumerate(sessions)))
    found["foreign_messages"] = sum(session.foreign for session in sessions)
    await close_all(sessions)
    return found


async def _blocking(target: Target, wait: float) -> Json:
    """Whether a slow call holds up others, in its own session and in another."""
    factory = target.factory()
    one, two = factory(), factory()
    for session in (one, two):
        await session.open()
        await session.call("echo", {"text": "warm"})
    slow = asyncio.ensure_future(_outcome(one.call("sleep", {"ms": 3000})))
    await asyncio.sleep(0.3)
    same = await _outcome(one.call("echo", {"text": "same session"}))
    other = await _outcome(two.call("echo", {"text": "other session"}))
    result = {"slow_call": await slow, "echo_same_session": same, "echo_other_session": other}
    await close_all([one, two])
    return result


async def _kill(target: Target, wait: float) -> Json:
    """The container is killed while a call is being worked on."""
    session = target.factory()()
    await session.open()
    name = await _whoami(session)
    call = asyncio.ensure_future(_outcome(session.call("sleep", {"ms": 25000})))
    await asyncio.sleep(1)
    running = await asyncio.to_thread(target.containers)
    victims = [container for container in running if name.startswith(container)] or sorted(running)
    await asyncio.to_thread(kill_containers, victims)
    result: Json = {"killed": len(victims), "call_in_flight": await call}
    await asyncio.sleep(1)
    result["next_call_same_session"] = await _outcome(session.call("echo", {"text": "again"}))
    await close_quietly(session)
    result["call_in_new_session"] = await _new_call(target)
    if target.pids:
        result["gateway_alive"] = is_alive(target.pids[0])
    return result


async def _stop(target: Target, wait: float, number: signal.Signals) -> Json:
    """The gateway gets a signal while two sessions are open and one of them calls."""
    if not target.pids:
        return {"not_measured": "there is no process to be signalled"}
    opened = await open_sessions(target.factory(), 2, 1)
    for session in opened.sessions:
        await _whoami(session)
    held = await _count(target)
    call = asyncio.ensure_future(_outcome(opened.sessions[0].call("sleep", {"ms": 20000})))
    await asyncio.sleep(0.5)
    root = target.pids[0]
    tree = descendants(processes(), [root])
    begun = NOW()
    os.kill(root, number)
    while is_alive(root) and NOW() - begun < wait:
        await asyncio.sleep(0.05)
    exited = None if is_alive(root) else round(NOW() - begun, 2)
    settled = await _settle(target, 0, wait)
    while any(map(is_alive, tree)) and NOW() - begun < wait:
        await asyncio.sleep(0.05)
    result = {
        "containers_before": held, "gateway_exited_after_s": exited, **settled, "call_in_flight": await call,
        "processes_left": len([pid for pid in tree if is_alive(pid)]),
    }  # fmt: skip
    await close_all(opened.sessions, graceful=False)
    return result


async def _sigterm(target: Target, wait: float) -> Json:
    return await _stop(target, wait, signal.SIGTERM)


async def _sigkill(target: Target, wait: float) -> Json:
    return await _stop(target, wait, signal.SIGKILL)


# From `kill` on they leave the gateway worse than before.
CHECKS: dict[str, Callable[[Target, float], Awaitable[Json]]] = {
    "sharing": _sharing,
    "disconnect_graceful": _disconnect_graceful,
    "disconnect_abrupt": _disconnect_abrupt,
    "disconnect_in_call": _disconnect_in_call,
    "isolation": _isolation,
    "blocking": _blocking,
    "kill": _kill,
    "sigterm": _sigterm,
    "sigkill": _sigkill,
}
