"""A small MCP server over stdio: an example of how to write one with the standard library alone.

``python3 -I -S server.py hello|clock|notes`` speaks the revisions 2024-11-05 to 2025-11-25. Protocol goes to
standard output, one JSON message a line; everything for people goes to standard error. It ends when its input ends.

Every import here is cheap on purpose (no asyncio, no dataclasses): a client waits for each start.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602

Json = dict[str, Any]


class BadArguments(Exception):
    """The arguments of a call cannot be used. The model sees the text and can mend them."""


class Refused(Exception):
    """A request that is answered with a JSON-RPC error instead of a result."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Call:
    """One running call, as its tool sees it: can be cancelled, and may report how far it has come."""

    def __init__(self, send: Callable[[Json], None], progress_token: str | int | None) -> None:
        self.cancelled = threading.Event()
        self._send = send
        self._token = progress_token

    def progress(self, done: float, total: float) -> None:
        if self._token is not None:
            params = {"progressToken": self._token, "progress": done, "total": total}
            self._send({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})


class Tool(NamedTuple):
    """What a client may call. ``slow`` tools run in a thread of their own, so that others need not wait."""

    name: str
    description: str
    run: Callable[[Json, Call], str]
    properties: Mapping[str, Json] = {}
    required: Sequence[str] = ()
    read_only: bool = True
    slow: bool = False

    def described(self) -> Json:
        schema = {"type": "object", "properties": dict(self.properties), "required": list(self.required)}
        annotations = {"readOnlyHint": self.read_only, "destructiveHint": False, "openWorldHint": False}
        return {
            "name": self.name,
            "description": self.description,
            "inputSchema": {**schema, "additionalProperties": False},
            "annotations": annotations,
        }


# --- arguments ---------------------------------------------------------------------------------------------

TYPES: Mapping[str, type] = {"string": str, "integer": int}


def check_arguments(tool: Tool, arguments: Json) -> None:
    """Raises BadArguments unless ``arguments`` fit the schema of the tool."""
    for name in tool.required:
        if name not in arguments:
            raise BadArguments(f"{tool.name} needs the argument {name!r}.")
    for name, value in arguments.items():
        if name not in tool.properties:
            known = ", ".join(tool.properties) or "none"
            raise BadArguments(f"{tool.name} has no argument {name!r}. It knows: {known}.")
        _check_value(name, value, tool.properties[name])


def _check_value(name: str, value: Any, schema: Json) -> None:
    # In Python a bool is an int; in JSON it is not.
    if not isinstance(value, TYPES[schema["type"]]) or isinstance(value, bool):
        raise BadArguments(f"{name} must be of type {schema['type']}.")
    if isinstance(value, str) and not schema.get("minLength", 0) <= len(value) <= schema["maxLength"]:
        raise BadArguments(f"{name} must have {schema.get('minLength', 0)} to {schema['maxLength']} characters.")
    if isinstance(value, int) and not schema["minimum"] <= value <= schema["maximum"]:
        raise BadArguments(f"{name} must lie between {schema['minimum']} and {schema['maximum']}.")


# --- the three personalities -------------------------------------------------------------------------------


def text_argument(description: str, longest: int) -> Json:
    return {"type": "string", "minLength": 1, "maxLength": longest, "description": description}


def whoami_tool() -> Tool:
    return Tool("whoami", "The name of the host this server runs on.", lambda _arguments, _call: os.uname().nodename)


def hello_tools() -> list[Tool]:
    greet = Tool(
        "greet",
        "Greets somebody by name.",
        lambda arguments, _call: f"Hello, {arguments['name']}!",
        {"name": text_argument("Whom to greet.", 200)},
        ["name"],
    )
    return [greet, whoami_tool()]


def now(arguments: Json, _call: Call) -> str:
    offset = datetime.timedelta(minutes=arguments.get("timezone_offset_minutes", 0))
    return datetime.datetime.now(datetime.timezone(offset)).isoformat(timespec="seconds")


def sleep(arguments: Json, call: Call) -> str:
    steps = 10
    for step in range(steps):
        call.progress(step, steps)
        if call.cancelled.wait(arguments["ms"] / 1000 / steps):
            return "Woken early."
    call.progress(steps, steps)
    return f"Slept {arguments['ms']} ms."


def clock_tools() -> list[Tool]:
    offset = {"type": "integer", "minimum": -1439, "maximum": 1439, "description": "Minutes east of UTC."}
    length = {"type": "integer", "minimum": 0, "maximum": 600_000, "description": "Milliseconds."}
    return [
        Tool("now", "The present time, in ISO 8601.", now, {"timezone_offset_minutes": offset}),
        Tool("sleep", "Answers after some time; reports progress.", sleep, {"ms": length}, ["ms"], slow=True),
        whoami_tool(),
    ]


def notes_tools() -> list[Tool]:
    notes: list[str] = []

    def add(arguments: Json, _call: Call) -> str:
        notes.append(arguments["text"])
        return f"Note {len(notes)} added."

    def listing(_arguments: Json, _call: Call) -> str:
        return "\n".join(f"{number}. {note}" for number, note in enumerate(notes, 1))

    text = {"text": text_argument("The note.", 10_000)}
    return [
        Tool("add", "Adds a note. It lives as long as this server.", add, text, ["text"], read_only=False),
        Tool("list", "All notes, numbered, oldest first.", listing),
        Tool("count", "The number of notes.", lambda _arguments, _call: str(len(notes))),
    ]


PERSONALITIES: Mapping[str, Callable[[], list[Tool]]] = {
    "hello": hello_tools,
    "clock": clock_tools,
    "notes": notes_tools,
}


# --- the protocol ------------------------------------------------------------------------------------------


class Server:
    """Reads messages and answers them until the input ends."""

    def __init__(self, name: str, tools: Iterable[Tool], out: BinaryIO) -> None:
        self._name = name
        self._tools = {tool.name: tool for tool in tools}
        self._out = out
        self._writing = threading.Lock()
        self._running: dict[str | int, Call] = {}

    def serve(self, lines: Iterable[bytes]) -> None:
        try:
            for line in lines:
                if line.strip():
                    self._receive(line)
        finally:
            for call in list(self._running.values()):
                call.cancelled.set()

    def _receive(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            self._send(error_answer(None, PARSE_ERROR, "This line is not JSON."))
            return
        # Revision 2025-03-26 lets clients send several messages in one array.
        for one in message if isinstance(message, list) else [message]:
            self._take(one)

    def _take(self, message: Any) -> None:
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            self._send(error_answer(None, INVALID_REQUEST, "This is not a JSON-RPC 2.0 message."))
        elif isinstance(message.get("id"), str | int) and "method" in message:
            self._request(message["id"], message)
        elif message.get("method") == "notifications/cancelled":
            self._cancel(message)

    def _request(self, request_id: str | int, message: Json) -> None:
        try:
            method, params = message["method"], object_in(message, "params")
            if method == "tools/call":
                self._call(request_id, params)
            else:
                self._send(answer(request_id, self._result(method, params)))
        except Refused as refused:
            self._send(error_answer(request_id, refused.code, str(refused)))

    def _result(self, method: str, params: Json) -> Json:
        if method == "initialize":
            return self._initialize(params)
        if method == "ping":
            return {}
        if method == "tools/list":
            return {"tools": [tool.described() for tool in self._tools.values()]}
        raise Refused(METHOD_NOT_FOUND, f"This server has no method {method!r}.")

    def _initialize(self, params: Json) -> Json:
        asked = params.get("protocolVersion")
        return {
            "protocolVersion": asked if asked in REVISIONS else REVISIONS[-1],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": f"demo-{self._name}", "version": "1.0.0"},
            "instructions": "A demonstration. Its tools touch nothing outside this process.",
        }

    def _call(self, request_id: str | int, params: Json) -> None:
        tool = self._tools.get(str(params.get("name")))
        if tool is None:
            raise Refused(INVALID_PARAMS, f"This server has no tool {params.get('name')!r}.")
        arguments = object_in(params, "arguments")
        call = Call(self._send, object_in(params, "_meta").get("progressToken"))
        self._running[request_id] = call
        work = (request_id, tool, arguments, call)
        if tool.slow:
            threading.Thread(target=self._run, args=work, name=f"call-{request_id}").start()
        else:
            self._run(*work)

    def _run(self, request_id: str | int, tool: Tool, arguments: Json, call: Call) -> None:
        try:
            check_arguments(tool, arguments)
            result = text_result(tool.run(arguments, call))
        except BadArguments as bad:
            result = text_result(str(bad), is_error=True)
        self._running.pop(request_id, None)
        if not call.cancelled.is_set():
            self._send(answer(request_id, result))

    def _cancel(self, message: Json) -> None:
        with contextlib.suppress(Refused):  # nobody waits for an answer to a notification
            request_id = object_in(message, "params").get("requestId")
            call = self._running.get(request_id) if isinstance(request_id, str | int) else None
            if call is not None:
                call.cancelled.set()

    def _send(self, message: Json) -> None:
        line = json.dumps(message, ensure_ascii=False, separators=(",", ":")) + "\n"
        with self._writing:
            self._out.write(line.encode())
            self._out.flush()


def object_in(parent: Json, key: str) -> Json:
    """``parent[key]``, or an empty object where it is absent. Raises Refused if it is something else."""
    value = parent.get(key) or {}
    if not isinstance(value, dict):
        raise Refused(INVALID_PARAMS, f"{key!r} must be an object.")
    return value


def answer(request_id: str | int, result: Json) -> Json:
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def error_answer(request_id: str | int | None, code: int, text: str) -> Json:
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": text}}


def text_result(text: str, is_error: bool = False) -> Json:
    return {"content": [{"type": "text", "text": text}], "isError": is_error}


def main(argv: Sequence[str]) -> int:
    if len(argv) != 2 or argv[1] not in PERSONALITIES:
        print(f"usage: server.py {'|'.join(PERSONALITIES)}", file=sys.stderr)
        return 2
    # As the first process of a container it would otherwise never see SIGTERM.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    print(f"demo server {argv[1]!r} is ready", file=sys.stderr)
    Server(argv[1], PERSONALITIES[argv[1]](), sys.stdout.buffer).serve(sys.stdin.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
