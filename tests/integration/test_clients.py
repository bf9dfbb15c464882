"""Real MCP clients of the official SDK against real gunicorn, with plain processes as servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gateway_process import GatewayProcess, eventually, process_server, running_gateway
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

TRANSPORTS = ("sse", "mcp")


@pytest.fixture(scope="module", params=[1, 4], ids=["1-worker", "4-workers"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    servers = {"one": process_server("good"), "two": process_server("good", isolation="shared")}
    with running_gateway(tmp_path_factory.mktemp("gateway"), servers, workers=request.param) as running:
        yield running


def connect(gateway: GatewayProcess, transport: str) -> AbstractAsyncContextManager[Any]:
    url = f"{gateway.url}/metamcp/default/{transport}"
    return sse_client(url) if transport == "sse" else streamable_http_client(url)


@asynccontextmanager
async def session(gateway: GatewayProcess, transport: str) -> AsyncIterator[ClientSession]:
    async with connect(gateway, transport) as streams, ClientSession(streams[0], streams[1]) as client:
        await client.initialize()
        yield client


async def text_of(client: ClientSession, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error
    return str(result.content[0].text)  # type: ignore[union-attr]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_sdk_client_lists_the_tools_of_both_servers_and_calls_them(gateway: GatewayProcess, transport: str) -> None:
    async def use() -> None:
        async with session(gateway, transport) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert {"one__echo", "two__echo", "one__whoami", "two__whoami"} <= names
            assert await text_of(client, "one__echo", text="first") == "first"
            assert await text_of(client, "two__echo", text="second") == "second"

    asyncio.run(use())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_progress_reaches_the_client_that_asked_for_it(gateway: GatewayProcess, transport: str) -> None:
    seen: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    async def use() -> None:
        async with session(gateway, transport) as client:
            await client.call_tool("one__progress", {"n": 3, "ms": 5}, progress_callback=note)

    asyncio.run(use())
    assert len(seen) >= 3
    assert seen == sorted(seen)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_sessions_have_servers_of_their_own_unless_shared(gateway: GatewayProcess, transport: str) -> None:
    async def use() -> None:
        async with session(gateway, transport) as first, session(gateway, transport) as second:
            assert await text_of(first, "one__whoami") == await text_of(first, "one__whoami")
            assert await text_of(first, "one__whoami") != await text_of(second, "one__whoami")
            assert await text_of(first, "two__whoami") == await text_of(second, "two__whoami")

    asyncio.run(use())


def test_twenty_clients_at_once_each_get_their_own_answers(gateway: GatewayProcess) -> None:
    async def one(number: int) -> None:
        async with session(gateway, TRANSPORTS[number % 2]) as client:
            texts = [f"client {number} call {call} \u200d\u00a0\u3000" for call in range(10)]
            answers = await asyncio.gather(*(text_of(client, "two__echo", text=text) for text in texts))
            assert answers == texts

    async def use() -> None:
        await asyncio.gather(*(one(number) for number in range(20)))

    asyncio.run(use())


def test_a_session_that_ended_takes_its_server_with_it(gateway: GatewayProcess, tmp_path: Path) -> None:
    async def use() -> None:
        async with session(gateway, "sse") as client:
            await text_of(client, "one__whoami")

    asyncio.run(use())
    eventually(lambda: not [c for c in gateway.status()["children"] if c["server"] == "one"], "the child ends")
    assert not gateway.status()["sessions"]
