"""Clients that use a gateway as clients do, again and again, and leave in every way: properly, without a word, and in
the middle of a call. What they did and what came of it goes into a ledger."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import requests
from gateway_process import GatewayProcess
from mcp import MCPError
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

OFTEN = ("own", "shared", "plain", "short", "spare")
SELDOM = ("fresh", "stubborn", "crashing")
SELDOM_SHARE = 0.25  # of the turns; a container for each call, or one that has to be killed, costs seconds
BIG = 100_000

CANCELLED, DIED, UNAVAILABLE = -32800, -31004, -31001
FINE = ("result",)


@dataclass
class Ledger:
    """``outcomes``: (server, kind, outcome) -> how often. ``wrong``: what must not be. ``recorded``: tokens whose
    execution was confirmed. ``left``: Streamable sessions that nobody ended. ``kept``: bytes of
    streamed answers in them. ``agents``: how many there were."""

    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    recorded: list[str] = field(default_factory=list)
    left: int = 0
    kept: int = 0
    agents: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, server: str, kind: str, outcome: str, allowed: tuple[str, ...]) -> None:
        with self.lock:
            self.outcomes[server, kind, outcome] += 1
            if outcome not in allowed:
                self.wrong.append(f"{server} {kind}: {outcome[:300]}")

    def leave(self, kept: int = 0) -> None:
        with self.lock:
            self.left += 1
            self.kept += kept


@dataclass
class Turn:
    """One session of one agent: which servers it uses, and how it ends."""

    agent: int
    number: int
    chance: random.Random

    def __post_init__(self) -> None:
        self.servers = self.chance.sample(OFTEN, 2)
        if self.chance.random() < SELDOM_SHARE:
            self.servers.append(self.chance.choice(SELDOM))
        self._serial = itertools.count()

    def token(self) -> str:
        return f"{self.agent}-{self.number}-{next(self._serial)}"

    def milliseconds(self) -> int:
        """A time to sleep that hardly anybody else sleeps: the answer names it."""
        return 100 + self.agent * 20 + self.number % 20

    def calls(self, server: str) -> list[tuple[str, str, dict[str, Any], str]]:
        """(kind, tool, arguments, the only right text) of the calls that have to succeed."""
        small, big, ms = self.token(), self.token() + "x" * BIG, self.milliseconds()
        once = [("small", "echo", {"text": small}, small)]
        if server == "fresh":
            return once
        return [*once, ("big", "echo", {"text": big}, big), ("sleep", "sleep", {"ms": ms}, f"slept {ms} ms")]


def judged(text: str, right: str) -> str:
    return "result" if text == right else f"foreign answer {text[:60]!r} in place of {right[:60]!r}"


def allowed(server: str, *more: int) -> tuple[str, ...]:
    """The server that crashes does so in the middle of other calls of its session, and is then given a rest."""
    codes = (*more, *((DIED, UNAVAILABLE) if server == "crashing" else ()))
    return (*FINE, *map(str, codes))


# --- by hand, over Streamable HTTP -------------------------------------------------------------------------


class PlainAgent:
    """Has every message in its own hands. Its request ids are those of all the others."""

    def __init__(self, gateway: GatewayProcess, ledger: Ledger, number: int) -> None:
        self._gateway, self._ledger, self._number = gateway, ledger, number
        self._chance = random.Random(number)

    def run(self, until: float) -> None:
        for number in itertools.count():
            if time.monotonic() >= until:
                return
            try:
                self._turn(Turn(self._number, number, self._chance))
            except Exception as error:  # noqa: BLE001  a finding, and no reason to end the agent
                self._ledger.note("-", "turn", f"{type(error).__name__}: {error}", ())

    def _turn(self, turn: Turn) -> None:
        self._ids, self._streamed = itertools.count(1), 0
        session = self._session = self._gateway.open_session()
        self._gateway.notify("notifications/initialized", session=session)
        tools = self._gateway.rpc("tools/list", {}, session=session, id=next(self._ids)).json()["result"]["tools"]
        self._ledger.note("-", "list", str(len(tools)), (str(9 * len(OFTEN + SELDOM)),))
        for server in turn.servers:
            for call in turn.calls(server):
                self._call(next(self._ids), server, *call)
            self._cancelled(server, turn)
        self._special(turn)
        self._end(turn)

    def _special(self, turn: Turn) -> None:
        if "plain" in turn.servers:
            token = turn.token()
            self._call(next(self._ids), "plain", "record", "record", {"token": token}, "recorded")
            self._ledger.recorded.append(token)
        if "crashing" in turn.servers:
            self._call(next(self._ids), "crashing", "crash", "crash", {"code": 7}, "never said", DIED)

    def _call(
        self, identifier: int, server: str, kind: str, tool: str, arguments: dict[str, Any], right: str, *codes: int
    ) -> None:
        params = {"name": f"{server}__{tool}", "arguments": arguments}
        response = self._gateway.rpc("tools/call", params, session=self._session, id=identifier, timeout=90)
        if streamed(response):  # then it is kept for a client that lost its stream, until its session ends
            self._streamed += len(response.content)
        self._ledger.note(server, kind, outcome(response, identifier, right), allowed(server, *codes))

    def _cancelled(self, server: str, turn: Turn) -> None:
        """The cancellation may come before the call, while its server starts, while it runs, or behind its answer."""
        identifier = next(self._ids)
        call = (identifier, server, "cancelled", "sleep", {"ms": 400}, "slept 400 ms", CANCELLED)
        caller = threading.Thread(target=self._call, args=call)
        caller.start()
        threading.Event().wait(turn.chance.uniform(0, 0.5))
        note = {"requestId": identifier, "reason": "enough"}
        self._gateway.notify("notifications/cancelled", note, session=self._session)
        caller.join(100)

    def _end(self, turn: Turn) -> None:
        if turn.chance.random() < 0.5:
            self._vanish(turn)
        if turn.chance.random() < 0.5:
            self._gateway.end_session(self._session)
        else:
            self._ledger.leave(self._streamed)

    def _vanish(self, turn: Turn) -> None:
        """Hang up while a call runs: nobody hears its answer."""
        params = {"name": f"{turn.servers[0]}__sleep", "arguments": {"ms": 1500}}
        seconds = turn.chance.uniform(0.05, 0.5)
        with suppress(requests.ReadTimeout):
            self._gateway.rpc("tools/call", params, session=self._session, id=next(self._ids), timeout=seconds)
            self._ledger.note(turn.servers[0], "vanished", "it was answered all the same", ())
        self._ledger.note(turn.servers[0], "vanished", "nobody there", ("nobody there",))


def streamed(response: requests.Response) -> bool:
    return response.headers["Content-Type"].startswith("text/event-stream")


def outcome(response: requests.Response, identifier: int, right: str) -> str:
    """``result``, the code of an error, or what is wrong with the response."""
    if streamed(response):
        messages = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    else:
        messages = [response.json()]
    answers = [message for message in messages if "method" not in message]
    if len(answers) != 1 or answers[0]["id"] != identifier:
        return f"{len(answers)} answers to {identifier}: {response.text[:200]}"
    if "error" in answers[0]:
        return str(answers[0]["error"]["code"])
    return judged(answers[0]["result"]["content"][0]["text"], right)


# --- the official SDK, over both transports ----------------------------------------------------------------


class SdkAgent:
    """A real client. ``transport`` is ``sse`` or ``mcp``."""

    def __init__(self, gateway: GatewayProcess, ledger: Ledger, number: int, transport: str) -> None:
        self._url, self._transport = f"{gateway.url}/metamcp/default/{transport}", transport
        self._ledger, self._number = ledger, number
        self._chance = random.Random(number)

    async def run(self, until: float) -> None:
        for number in itertools.count():
            if time.monotonic() >= until:
                return
            try:
                turn = Turn(self._number, number, self._chance)
                await (self._vanish(turn) if self._chance.random() < 0.3 else self._turn(turn))
            except Exception as error:  # noqa: BLE001  a finding, and no reason to end the agent
                self._ledger.note("-", f"turn over {self._transport}", described(error), ())

    def _connect(self) -> AbstractAsyncContextManager[Any]:
        return sse_client(self._url) if self._transport == "sse" else streamable_http_client(self._url)

    async def _turn(self, turn: Turn) -> None:
        async with self._connect() as streams, ClientSession(streams[0], streams[1]) as client:
            await client.initialize()
            await client.list_tools()
            for server in turn.servers:
                calls = turn.calls(server)
                await asyncio.gather(*(self._call(client, server, *call) for call in calls))

    async def _call(
        self, client: ClientSession, server: str, kind: str, tool: str, arguments: dict[str, Any], right: str
    ) -> None:
        try:
            result: Any = await client.call_tool(f"{server}__{tool}", arguments)
        except MCPError as error:
            self._ledger.note(server, kind, str(error.error.code), allowed(server))
        else:
            self._ledger.note(server, kind, judged(result.content[0].text, right), allowed(server))

    async def _vanish(self, turn: Turn) -> None:
        """Leave wherever one happens to be: before the session, while a container starts, in the middle of a call."""
        with anyio.move_on_after(turn.chance.uniform(0.05, 1.5)):
            async with self._connect() as streams, ClientSession(streams[0], streams[1]) as client:
                await client.initialize()
                await client.call_tool(f"{turn.servers[0]}__sleep", {"ms": 1500})
        if self._transport == "mcp":
            self._ledger.leave()
        self._ledger.note(turn.servers[0], "vanished", "nobody there", ("nobody there",))


def described(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return " + ".join(described(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"


# --- all of them -------------------------------------------------------------------------------------------


def run_all(gateway: GatewayProcess, ledger: Ledger, seconds: float, meanwhile: Callable[[], None]) -> None:
    """Ten agents for ``seconds``; ``meanwhile`` is called about twice a second until the last has gone."""
    until, first = time.monotonic() + seconds, ledger.agents
    ledger.agents += 10
    sdk = [SdkAgent(gateway, ledger, first + number, "sse" if number < 3 else "mcp") for number in range(5)]
    plain = [PlainAgent(gateway, ledger, first + number) for number in range(5, 10)]

    async def all_sdk() -> None:
        await asyncio.gather(*(agent.run(until) for agent in sdk))

    threads = [threading.Thread(target=lambda: asyncio.run(all_sdk()), name="sdk-agents")]
    threads += [threading.Thread(target=agent.run, args=(until,), name="plain-agent") for agent in plain]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        meanwhile()
        threads[0].join(0.5)
        assert time.monotonic() < until + 120, f"an agent hangs; {ledger.outcomes}"
