"""An MCP server over HTTP, of the official SDK: ``remote_server.py streamable-http|sse PORT [TOKEN]``.

With TOKEN, every request needs ``Authorization: Bearer TOKEN``. It remembers its events, so streams can be resumed.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import anyio
import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.streamable_http import EventMessage, EventStore
from pydantic import BaseModel

server = MCPServer("remote", version="1")


class Answer(BaseModel):
    word: str


class Events(EventStore):
    """Every event of every stream, in order; an id is a position."""

    def __init__(self) -> None:
        self.all: list[tuple[str, Any]] = []

    async def store_event(self, stream_id: str, message: Any) -> str:
        self.all.append((stream_id, message))
        return str(len(self.all))

    async def replay_events_after(self, last_event_id: str, send_callback: Any) -> str | None:
        stream = self.all[int(last_event_id) - 1][0]
        for number, (of, message) in enumerate(self.all, 1):
            if of == stream and number > int(last_event_id) and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


@server.tool()
async def echo(text: str) -> str:
    return text


@server.tool()
async def whoami() -> str:
    return str(os.getpid())


@server.tool()
async def progress(n: int, context: Context) -> str:
    for step in range(n):
        await context.report_progress(step + 1, n)
    return "done"


@server.tool()
async def sleep(ms: int) -> str:
    await anyio.sleep(ms / 1000)
    return "slept"


@server.tool()
async def ask(context: Context) -> str:
    found = await context.elicit("Which word?", Answer)
    return f"{found.action}: {found.data.word if found.action == 'accept' else ''}"


@server.tool()
async def hang_up(context: Context) -> str:
    """Close the stream of this call, and go on."""
    await context.close_sse_stream()
    await anyio.sleep(0.2)
    return "said after hanging up"


@server.tool()
async def learn(context: Context) -> str:
    """From now on there is one more tool, of which clients are told."""
    server.add_tool(whoami, name="learned")
    await context.session.send_tool_list_changed()
    return "learned"


class Guarded:
    """ASGI: nobody without the token."""

    def __init__(self, app: Any, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        sent = dict(scope.get("headers", ())).get(b"authorization", b"").decode()
        if scope["type"] == "http" and sent != f"Bearer {self.token}":
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self.app(scope, receive, send)


def main(transport: str, port: str, token: str = "") -> None:
    if transport == "sse":
        app: Any = server.sse_app()
    else:
        app = server.streamable_http_app(event_store=Events(), retry_interval=100)
    uvicorn.run(Guarded(app, token) if token else app, host="127.0.0.1", port=int(port), log_level="warning",
                timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
