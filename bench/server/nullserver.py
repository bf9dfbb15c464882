"""A gateway that does nothing but answer, to find the load generator's own limit: ``nullserver.py json|sse``.

It speaks just enough Streamable HTTP for the generator, on a free port of loopback, which it says on standard output.
The standard library only, without this package; uvloop where it is there.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import Any, cast

try:
    import uvloop
except ImportError:
    uvloop = None

LENGTH = re.compile(rb"content-length: (\d+)", re.I)
HEAD_END = b"\r\n\r\n"


class Null(asyncio.Protocol):
    """One connection. ``as_sse``: answers are event streams."""

    def __init__(self, as_sse: bool) -> None:
        self._as_sse = as_sse
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's have another parent

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(HEAD_END)) >= 0:
            match = LENGTH.search(self._buffer, 0, end)
            begin = end + len(HEAD_END)
            stop = begin + (int(match.group(1)) if match else 0)
            if len(self._buffer) < stop:
                return
            body, self._buffer = self._buffer[begin:stop], self._buffer[stop:]
            self._write(self._answer(json.loads(body) if body else {}))

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def _answer(self, message: dict[str, Any]) -> bytes:
        if "id" not in message:
            return b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result(message)}).encode()
        if self._as_sse:
            body = b"event: message\ndata: " + body + b"\n\n"
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            head = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
        else:
            head = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        return b"HTTP/1.1 200 OK\r\nMcp-Session-Id: null\r\n" + head + b"\r\n" + body


def result(message: dict[str, Any]) -> dict[str, Any]:
    """Of initialize, tools/list and echo."""
    if message["method"] == "initialize":
        info = {"name": "null", "version": "1"}
        return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
    if message["method"] == "tools/list":
        return {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}
    return {"content": [{"type": "text", "text": message["params"]["arguments"]["text"]}]}


async def serve(as_sse: bool) -> None:
    """Until the process is ended."""
    server = await asyncio.get_running_loop().create_server(lambda: Null(as_sse), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    run = asyncio.run if uvloop is None else uvloop.run
    run(serve("sse" in sys.argv[1:]))


if __name__ == "__main__":
    main()
