"""An MCP server whose one tool tells what it was told: the params of the call, and over HTTP the headers, too.

``python told.py`` speaks stdio, ``python told.py modern`` 2026-07-28 alone; ``told()`` is the same over Streamable
HTTP, in this process. Standard library only.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOOL = "told"


def answer(message: dict[str, Any], headers: Mapping[str, str], modern: bool = False) -> dict[str, Any]:
    method, params = message["method"], message.get("params", {})
    error = {"code": -32601, "message": f"no method {method}"}
    if method == "server/discover" and modern:
        return {"result": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}}
    if method == "initialize" and not modern:
        capabilities = {"capabilities": {"tools": {}}, "serverInfo": {"name": "told", "version": "1"}}
        return {"result": {"protocolVersion": params["protocolVersion"], **capabilities}}
    if method == "tools/list":
        return {"result": {"tools": [{"name": TOOL, "inputSchema": {"type": "object"}}]}}
    if method == "tools/call" and params.get("arguments", {}).get("fails"):
        return {"result": {"content": [], "isError": True}}
    if method == "tools/call" and params.get("arguments", {}).get("refuses"):
        return {"error": error}
    if method == "tools/call":
        return {"result": {"content": [], "structuredContent": {"params": params, "headers": dict(headers)}}}
    return {"result": {}} if method == "ping" else {"error": error}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "id" not in message:
            self.say(202, b"")
            return
        found = answer(message, {name.lower(): value for name, value in self.headers.items()})
        self.say(200, json.dumps({"jsonrpc": "2.0", "id": message["id"], **found}).encode())

    def do_GET(self) -> None:
        self.say(405, b"")

    do_DELETE = do_GET  # noqa: N815

    def say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def told() -> Iterator[str]:
    """Its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/mcp"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


if __name__ == "__main__":
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" in asked:
            found = answer(asked, {}, "modern" in sys.argv)
            print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **found}), flush=True)
