"""The tour (see test_real_clients.py) with the official Python SDK 1.x: sdk_1.py URL; HTTP+SSE if it ends in /sse."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from mcp import ClientSession, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

ANSWER = types.TextContent(type="text", text="sampled")


async def elicit(context: Any, params: Any) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"username": "ada", "email": "ada@example.com"})


async def sample(context: Any, params: Any) -> types.CreateMessageResult:
    return types.CreateMessageResult(role="assistant", model="m", content=ANSWER)


async def main(url: str) -> None:
    progress: list[float] = []
    changed = asyncio.Event()

    async def on_progress(value: float, total: float | None, message: str | None) -> None:
        progress.append(value)

    async def on_message(message: Any) -> None:
        if isinstance(getattr(message, "root", None), types.ToolListChangedNotification):
            changed.set()

    connect = sse_client if url.endswith("/sse") else streamable_http_client
    async with connect(url) as streams, ClientSession(
        streams[0], streams[1], elicitation_callback=elicit, sampling_callback=sample, message_handler=on_message
    ) as client:
        await client.initialize()

        async def text(tool: str, **arguments: Any) -> str:
            return (await client.call_tool(tool, arguments)).content[0].text

        seen = {"tools": len((await client.list_tools()).tools), "text": await text("test_simple_text")}
        await client.call_tool("test_tool_with_progress", {}, progress_callback=on_progress)
        seen["progress"] = progress
        seen["elicitation"] = await text("test_elicitation", message="who?")
        seen["sampling"] = await text("test_sampling", prompt="say")
        seen["resource"] = (await client.read_resource("test://static-text")).contents[0].text
        seen["prompt"] = (await client.get_prompt("test_simple_prompt")).messages[0].content.text
        await text("test_trigger_tool_change")
        await asyncio.wait_for(changed.wait(), 10)
    print(json.dumps(seen))


asyncio.run(main(sys.argv[1]))
