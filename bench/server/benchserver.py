"""A small, fast MCP server over stdio, to be put behind a gateway that is measured.

The standard library only, and as little as possible for each message, so that the gateway is measured and not this.

Tools: ``echo`` returns the text that it is given, ``big`` a text of ``bytes`` bytes, ``sleep`` answers after ``ms``
milliseconds without holding up other calls, ``progress`` sends ``count`` notifications at ``per_second`` and answers
then, ``whoami`` returns the host name (in a container, its id), ``crash`` ends the process without an answer.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import threading
import time
from typing import Any

VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
HOST = socket.gethostname()
FILLER = "0123456789abcdef" * 4096
MOST_BYTES, MOST_NOTIFICATIONS, MOST_SLEEP_MS = 64_000_000, 1_000_000, 600_000
TICK_SECONDS = 0.001

Json = dict[str, Any]
_write_lock = threading.Lock()


def tool(name: str, description: str, required: tuple[str, ...] = (), **properties: str) -> Json:
    shapes = {key: {"type": kind} for key, kind in properties.items()}
    schema = {"type": "object", "properties": shapes, "required": list(required)}
    return {"name": name, "description": description, "inputSchema": schema}


TOOLS = [
    tool("echo", "Returns the text it is given.", ("text",), text="string"),
    tool("big", "Returns a text of the given size.", ("bytes",), bytes="integer"),
    tool("sleep", "Answers after some milliseconds.", ("ms",), ms="integer", text="string"),
    tool("progress", "Sends notifications, then answers.", ("count",), count="integer", per_second="integer"),
    tool("whoami", "Returns the host name of the server."),
    tool("crash", "Ends the server process.", code="integer"),
]


def tools(count: int) -> list[Json]:
    """At least ``count``: those above, and others that only fill the list."""
    words = "One of many tools, with a description as long as those of real servers are. "
    more = (tool(f"filler_{n:03}", words * 3, ("path",), path="string", depth="integer", filter="string")
            for n in range(count - len(TOOLS)))  # fmt: skip
    return [*TOOLS, *more]


def send(*messages: Json) -> None:
    data = b"".join(json.dumps(message, separators=(",", ":")).encode() + b"\n" for message in messages)
    with _write_lock:
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]


def answer(request_id: Any, result: Json) -> None:
    send({"jsonrpc": "2.0", "id": request_id, "result": result})


def fail(request_id: Any, code: int, text: str) -> None:
    send({"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": text}})


def text_result(text: str) -> Json:
    return {"content": [{"type": "text", "text": text}], "isError": False}


def later(seconds: float, request_id: Any, result: Json) -> None:
    timer = threading.Timer(seconds, answer, (request_id, result))
    timer.daemon = True
    timer.start()


def progress(request_id: Any, token: Any, count: int, per_second: int) -> None:
    """Each notification carries the monotonic clock at its sending, in seconds, as its message."""
    begun, sent = time.perf_counter(), 0
    while sent < count:
        due = min(count, int((time.perf_counter() - begun) * per_second) + 1)
        send(*(notification(token, number + 1, count) for number in range(sent, due)))
        sent = max(sent, due)
        time.sleep(TICK_SECONDS)
    answer(request_id, text_result(f"{sent} sent"))


def notification(token: Any, number: int, count: int) -> Json:
    params = {"progressToken": token, "progress": number, "total": count, "message": repr(time.perf_counter())}
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}


def call_tool(request_id: Any, params: Json) -> None:
    name, arguments = params.get("name"), params.get("arguments") or {}
    if name == "echo":
        answer(request_id, text_result(arguments.get("text", "")))
    elif name == "big":
        size = min(int(arguments.get("bytes", 0)), MOST_BYTES)
        answer(request_id, text_result((FILLER * (size // len(FILLER) + 1))[:size]))
    elif name == "sleep":
        delay = min(int(arguments.get("ms", 0)), MOST_SLEEP_MS) / 1000
        later(delay, request_id, text_result(arguments.get("text", "slept")))
    elif name == "progress":
        token = (params.get("_meta") or {}).get("progressToken")
        count = min(int(arguments["count"]), MOST_NOTIFICATIONS)
        rate = max(1, int(arguments.get("per_second", 1000)))
        threading.Thread(target=progress, args=(request_id, token, count, rate), daemon=True).start()
    elif name == "whoami":
        answer(request_id, text_result(HOST))
    elif name == "crash":
        os._exit(int(arguments.get("code", 1)))
    else:
        fail(request_id, -32602, f"Unknown tool: {name}")


def handle(message: Json, listed: list[Json]) -> None:
    method, request_id = message.get("method"), message.get("id")
    if method is None or request_id is None:
        return  # a notification, or an answer to something that is never asked here
    params = message.get("params") or {}
    if method == "tools/call":
        call_tool(request_id, params)
    elif method == "initialize":
        wanted = params.get("protocolVersion")
        info = {"name": "metamcp-bench", "version": "1"}
        version = wanted if wanted in VERSIONS else VERSIONS[-1]
        answer(request_id, {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info})
    elif method == "ping":
        answer(request_id, {})
    elif method == "tools/list":
        answer(request_id, {"tools": listed})
    else:
        fail(request_id, -32601, f"Method not found: {method}")


def serve(listed: list[Json]) -> None:
    """Until standard input ends."""
    with open(0, "rb", buffering=1 << 18, closefd=False) as stdin:
        for line in filter(None, map(bytes.strip, stdin)):
            try:
                message = json.loads(line)
            except ValueError:
                fail(None, -32700, "Parse error")
                continue
            for one in message if isinstance(message, list) else (message,):
                handle(one, listed)


def main() -> None:
    parser = argparse.ArgumentParser(description="An MCP server over stdio for measuring.")
    parser.add_argument("--tools", type=int, default=0, help="list at least so many tools")
    parser.add_argument("--stubborn", action="store_true", help="stay when standard input ends, as many servers do")
    parser.add_argument("--slow-start", type=float, default=0, metavar="SECONDS", help="before the first message")
    options = parser.parse_args()
    time.sleep(options.slow_start)
    serve(tools(options.tools))
    while options.stubborn:
        time.sleep(60)


if __name__ == "__main__":
    main()
