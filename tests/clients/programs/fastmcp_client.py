"""The tour (see test_real_clients.py) with fastmcp's client: fastmcp_client.py URL; HTTP+SSE if it ends in /sse."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from fastmcp import Client


async def elicit(message: str, response_type: Any, params: Any, context: Any) -> dict[str, str]:
    return {"username": "ada", "email": "ada@example.com"}


async def sample(messages: Any, params: Any, context: Any) -> str:
    return "sampled"


async def main(url: str) -> None:
    progress: list[float] = []

    async def on_progress(value: float, total: float | None, message: str | None) -> None:
        progress.append(value)

    async with Client(url, elicitation_handler=elicit, sampling_handler=sample) as client:

        async def text(tool: str, **arguments: Any) -> str:
            return (await client.call_tool(tool, arguments)).content[0].text

        seen = {"tools": len(await client.list_tools()), "text": await text("test_simple_text")}
        await client.call_tool("test_tool_with_progress", {}, progress_handler=on_progress)
        seen["progress"] = progress
        seen["elicitation"] = await text("test_elicitation", message="who?")
        seen["sampling"] = await text("test_sampling", prompt="say")
        seen["resource"] = (await client.read_resource("test://static-text"))[0].text
        seen["prompt"] = (await client.get_prompt("test_simple_prompt")).messages[0].content.text
    print(json.dumps(seen))


asyncio.run(main(sys.argv[1]))
