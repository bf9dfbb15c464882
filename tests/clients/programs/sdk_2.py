"""The tour (see test_real_clients.py) with the official Python SDK 2.x: sdk_2.py URL MODE, where MODE is legacy (the
handshake), auto (asks which), or a stateless revision; HTTP+SSE if the URL ends in /sse."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import mcp_types as types
from mcp.client.client import Client
from mcp.client.sse import sse_client

ANSWER = types.TextContent(type="text", text="sampled")


async def elicit(context: Any, params: Any) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"username": "ada", "email": "ada@example.com"})


async def sample(context: Any, params: Any) -> types.CreateMessageResult:
    return types.CreateMessageResult(role="assistant", model="m", content=ANSWER)


async def main(url: str, mode: str) -> None:
    progress: list[float] = []

    async def on_progress(value: float, total: float | None, message: str | None) -> None:
        progress.append(value)

    server: Any = sse_client(url) if url.endswith("/sse") else url
    async with Client(server, mode=mode, elicitation_callback=elicit, sampling_callback=sample) as client:

        async def text(tool: str, **arguments: Any) -> str:
            return (await client.call_tool(tool, arguments)).content[0].text

        seen = {"tools": len((await client.list_tools()).tools), "text": await text("test_simple_text")}
        await client.call_tool("test_tool_with_progress", {}, progress_callback=on_progress)
        seen["progress"] = progress
        seen["elicitation"] = await text("test_elicitation", message="who?")
        seen["sampling"] = await text("test_sampling", prompt="say")
        seen["resource"] = (await client.read_resource("test://static-text")).contents[0].text
        seen["prompt"] = (await client.get_prompt("test_simple_prompt")).messages[0].content.text
    print(json.dumps(seen))


asyncio.run(main(*sys.argv[1:3]))
