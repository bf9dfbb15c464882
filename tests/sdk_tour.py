"""A client of the official SDK at the demo server ``notes``."""

from __future__ import annotations

from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client


async def notes_of_a_session(url: str, transport: str, server: str) -> str:
    """What it lists in a new session after one note of it. ``transport``: ``sse`` or ``mcp``."""
    address = f"{url}/metamcp/default/{transport}"
    connect = sse_client(address) if transport == "sse" else streamable_http_client(address)
    async with connect as streams, ClientSession(streams[0], streams[1]) as client:
        await client.initialize()
        assert f"{server}__add" in {tool.name for tool in (await client.list_tools()).tools}
        await client.call_tool(f"{server}__add", {"text": f"by {transport}"})
        result = await client.call_tool(f"{server}__list", {})
        return str(result.content[0].text)  # type: ignore[union-attr]
