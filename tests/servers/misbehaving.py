"""An MCP server over stdio that goes wrong in the way its first argument names; standard library only.

``good`` behaves well. Every other mode is ``good`` with one fault, so that what a test sees comes from that fault:

good                          ignores-eof                   ignores-eof-and-term
slow-init SECONDS             never-initialises             exit-at-start CODE
exits-after-init              crash-on-call [CODE]          hang-on-call
banner                        bad-json                      early-list-changed
huge-line BYTES [METHOD]      endless-line [METHOD]         chunked
stderr-flood [BYTES]          slow-reader [SECONDS]         pages
looping-pages                 wrong-id                      duplicate-answer
raw-echo [BYTES]              starved-helper MIB            tells-all at-start|on-call
talks [LINES]

Tools: echo, whoami, sleep, crash, big, env, record, tally, progress. ``record`` and ``tally`` count executions; with
MISBEHAVING_RECORDS=FILE in the environment the counts are kept in that file and outlive the process. A cancelled
``sleep`` is recorded under the token ``cancelled``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
Json = dict[str, Any]


class UnknownMethod(Exception):
    pass


class UnknownTool(Exception):
    pass


class UnknownCursor(Exception):
    pass


ERROR_CODES = {UnknownMethod: -32601, UnknownTool: -32602, UnknownCursor: -32602}


class Good:
    """The well behaved server. A mode overrides the one step at which it goes wrong."""

    def __init__(self, *options: str) -> None:
        self.options = options
        self.tokens: Counter[str] = Counter()
        self.cancelled: dict[Any, threading.Event] = {}
        self.writing = threading.Lock()

    def option(self, position: int, absent: str) -> str:
        return self.options[position] if len(self.options) > position else absent

    def run(self) -> None:
        self.start()
        for line in sys.stdin.buffer:
            self.receive(json.loads(line))
        self.end()

    def start(self) -> None:
        log("ready")

    def end(self) -> None:
        os._exit(0)

    def receive(self, message: Json) -> None:
        method, params = message.get("method"), message.get("params") or {}
        if method == "notifications/cancelled":
            self.cancelled.setdefault(params.get("requestId"), threading.Event()).set()
        elif "id" in message and params.get("name") in SLOW:
            threading.Thread(target=self.answer, args=(message, params), daemon=True).start()
        elif "id" in message and method:
            self.answer(message, params)

    def answer(self, message: Json, params: Json) -> None:
        try:
            body: Json = {"result": self.result(message["id"], message["method"], params)}
        except (UnknownMethod, UnknownTool, UnknownCursor) as refusal:
            body = {"error": {"code": ERROR_CODES[type(refusal)], "message": str(refusal)}}
        event = self.cancelled.pop(message["id"], None)
        if event is None or not event.is_set():
            self.reply(message["method"], {"jsonrpc": "2.0", "id": message["id"], **body})

    def result(self, request_id: Any, method: str, params: Json) -> Json:
        if method == "initialize":
            return self.initialize(params)
        if method == "ping":
            return {}
        if method == "tools/list":
            return self.list_tools(params)
        if method == "tools/call":
            return self.call(request_id, params)
        raise UnknownMethod(f"no method {method!r}")

    def initialize(self, params: Json) -> Json:
        asked = params.get("protocolVersion")
        info = {"name": "misbehaving", "version": "1.0.0"}
        capabilities = {"tools": {"listChanged": True}}
        revision = asked if asked in REVISIONS else REVISIONS[-1]
        return {"protocolVersion": revision, "capabilities": capabilities, "serverInfo": info}

    def list_tools(self, params: Json) -> Json:
        return {"tools": [described(name) for name in TOOLS]}

    def call(self, request_id: Any, params: Json) -> Json:
        name = params.get("name")
        if name not in TOOLS:
            raise UnknownTool(f"no tool {name!r}")
        tool, types = TOOLS[name]
        arguments = params.get("arguments") or {}
        for argument, kind in types.items():
            if not isinstance(arguments.get(argument), PYTHON_TYPES[kind]):
                return text_result(f"{name} needs {argument}, of type {kind}", is_error=True)
        return tool(self, request_id, arguments, (params.get("_meta") or {}).get("progressToken"))

    def reply(self, method: str, message: Json) -> None:
        """Sends the answer to a request for ``method``."""
        self.send(message)

    def send(self, message: Json) -> None:
        self.write(encoded(message))

    def write(self, data: bytes) -> None:
        with self.writing:
            write_all(1, data)

    def record(self, token: str) -> None:
        path = os.environ.get("MISBEHAVING_RECORDS")
        self.tokens[token] += 1
        if path:
            with Path(path).open("a") as records:  # one short line in append mode is written at once
                records.write(token + "\n")

    def counts(self) -> Counter[str]:
        path = os.environ.get("MISBEHAVING_RECORDS")
        return Counter(Path(path).read_text().splitlines()) if path and Path(path).exists() else self.tokens


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def encoded(message: Json) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def text_result(text: str, is_error: bool = False) -> Json:
    return {"content": [{"type": "text", "text": text}], "isError": is_error}


# --- tools -------------------------------------------------------------------------------------------------


def echo(server: Good, request_id: Any, arguments: Json, token: Any) -> Json:
    return text_result(arguments["text"])


def whoami(server: Good, request_id: Any, arguments: Json, token: Any) -> Json:
    """Differs between containers (host name) and between processes (pid)."""
    return text_result(f"{os.uname().nodename}:{os.getpid()}")


def sleep(server: Good, request_id: Any, arguments: Json, token: Any) -> Json:
    event = server.cancelled.setdefault(request_id, threading.Event())
    if event.wait(arguments["ms"] / 1000):
        server.record("cancelled")
    return text_result(f"slept {arguments['ms']} ms")


def crash(server: Good, request_id: Any, arguments: Json, token: Any) -> Json:
    log(f"crashing with {arguments['code']}")
    os._exit(arguments["code"])


def big(server: Good, request_id: Any, arguments: Json, token: Any) -> Json:
    return text_result("x" * arguments["bytes"])


def env(server: Good, request_id: Any, arguments: Json, token: Any) -> Json:
    value = os.environ.get(arguments["name"])
    return text_result(f"{arguments['name']} is not set", is_error=True) if value is None else text_result(value)


def record(server: Good, request_id: Any, arguments: Json, token: Any) -> Json:
    server.record(arguments["token"])
    return text_result("recorded")


def tally(server: Good, request_id: Any, arguments: Json, token: Any) -> Json:
    """A JSON object: token → how often it was recorded."""
    return text_result(json.dumps(server.counts(), sort_keys=True))


def progress(server: Good, request_id: Any, arguments: Json, token: Any) -> Json:
    for done in range(1, arguments["n"] + 1):
        time.sleep(arguments["ms"] / 1000)
        if token is not None:
            params = {"progressToken": token, "progress": done, "total": arguments["n"]}
            server.send({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
    return text_result(f"{arguments['n']} steps")


SLOW = frozenset({"sleep", "progress"})  # each such call has a thread: the others need not wait
PYTHON_TYPES: dict[str, type] = {"string": str, "integer": int}
TOOLS: dict[str, tuple[Callable[[Good, Any, Json, Any], Json], dict[str, str]]] = {
    "echo": (echo, {"text": "string"}),
    "whoami": (whoami, {}),
    "sleep": (sleep, {"ms": "integer"}),
    "crash": (crash, {"code": "integer"}),
    "big": (big, {"bytes": "integer"}),
    "env": (env, {"name": "string"}),
    "record": (record, {"token": "string"}),
    "tally": (tally, {}),
    "progress": (progress, {"n": "integer", "ms": "integer"}),
}


def described(name: str) -> Json:
    types = TOOLS[name][1]
    properties = {argument: {"type": kind} for argument, kind in types.items()}
    schema = {"type": "object", "properties": properties, "required": list(types)}
    return {"name": name, "description": f"The tool {name} — naïve, 道具, 🔧", "inputSchema": schema}


# --- faults of a life --------------------------------------------------------------------------------------


class IgnoresEof(Good):
    def end(self) -> None:
        log("end of input, staying")
        threading.Event().wait()


class IgnoresEofAndTerm(IgnoresEof):
    def start(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        super().start()


class SlowInit(Good):
    def initialize(self, params: Json) -> Json:
        time.sleep(float(self.options[0]))
        return super().initialize(params)


class NeverInitialises(Good):
    def reply(self, method: str, message: Json) -> None:
        if method != "initialize":
            super().reply(method, message)


class ExitAtStart(Good):
    def start(self) -> None:
        for line in ("reading the settings", "the settings lack a key", "giving up"):
            log(line)
        os._exit(int(self.options[0]))


class ExitsAfterInit(Good):
    def reply(self, method: str, message: Json) -> None:
        super().reply(method, message)
        if method == "initialize":
            os._exit(0)


class CrashOnCall(Good):
    """Runs the tool, then dies before it answers: the effect is there, the answer is not."""

    def reply(self, method: str, message: Json) -> None:
        if method == "tools/call":
            log("crashing on a call")
            os._exit(int(self.option(0, "3")))
        super().reply(method, message)


class HangOnCall(Good):
    """Runs the tool and never answers."""

    def reply(self, method: str, message: Json) -> None:
        if method != "tools/call":
            super().reply(method, message)


class StarvedHelper(Good):
    """Before it answers a call, another process takes MIB of memory for it, and may be killed for that."""

    def reply(self, method: str, message: Json) -> None:
        if method == "tools/call":
            helper = os.fork()
            if helper == 0:
                taken = bytearray(int(self.options[0]) << 20)
                os._exit(len(taken) & 0)
            log(f"the helper ended with {os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1])}")
        super().reply(method, message)


class TellsAll(Good):
    """Writes its environment to standard error, and then dies: at its start, or on a call."""

    def start(self) -> None:
        if self.options[0] == "at-start":
            self.tell_and_die("at start")

    def reply(self, method: str, message: Json) -> None:
        if method == "tools/call":
            self.tell_and_die("on a call")
        super().reply(method, message)

    def tell_and_die(self, when: str) -> None:
        for name, value in os.environ.items():
            log(f"{when} {name} is {value}, quoted {value!r}")
        os._exit(3)


class Talks(Good):
    """With each call LINES lines to standard error, numbered over its life."""

    said = 0

    def call(self, request_id: Any, params: Json) -> Json:
        for _ in range(int(self.option(0, "1"))):
            self.said += 1
            log(f"line {self.said}")
        return super().call(request_id, params)


class SlowReader(Good):
    """After the initialize answer it reads nothing for some seconds: the pipe to it fills."""

    def reply(self, method: str, message: Json) -> None:
        super().reply(method, message)
        if method == "initialize":
            time.sleep(float(self.option(0, "2")))


# --- faults of the stream ----------------------------------------------------------------------------------


class Banner(Good):
    def start(self) -> None:
        self.write("Welcome to Misbehaving 1.0 ✨\n\n{this is not JSON\n".encode())

    def send(self, message: Json) -> None:
        self.write(b"[info] handling a message\n" + encoded(message))


class HugeLine(Good):
    """Answers METHOD with one line of exactly BYTES bytes, its newline included."""

    def reply(self, method: str, message: Json) -> None:
        if method == self.option(1, "tools/call") and "result" in message:
            message["result"]["_meta"] = {"padding": ""}
            message["result"]["_meta"]["padding"] = "x" * (int(self.options[0]) - len(encoded(message)))
        super().reply(method, message)


class EndlessLine(Good):
    """Begins the answer to METHOD and never ends the line."""

    def reply(self, method: str, message: Json) -> None:
        if method == self.option(0, "tools/call"):
            threading.Thread(target=self.pour, args=(message["id"],), daemon=True).start()
        else:
            super().reply(method, message)

    def pour(self, request_id: Any) -> None:
        self.write(b'{"jsonrpc":"2.0","id":%s,"result":{"padding":"' % json.dumps(request_id).encode())
        while True:
            self.write(b"x" * 65536)


class Chunked(Good):
    """Writes seven bytes at a time, and pauses wherever that falls inside a character."""

    def write(self, data: bytes) -> None:
        with self.writing:
            for position in range(0, len(data), 7):
                write_all(1, data[position : position + 7])
                if data[position + 7 : position + 8] > b"\x7f" and data[position + 7] & 0xC0 == 0x80:
                    time.sleep(0.002)


class RawEcho(Good):
    """Answers a call with its arguments as they came, byte for byte, as structured content; BYTES at a time. The
    arguments must be the last member of the params."""

    def run(self) -> None:
        self.start()
        for line in sys.stdin.buffer:
            head, is_call, rest = line.partition(b'"method":"tools/call"')
            if is_call:
                request_id = head.partition(b'"id":')[2].rstrip(b",")
                self.echo(request_id, rest.partition(b'"arguments":')[2].rstrip()[:-2])
            else:
                self.receive(json.loads(line))
        self.end()

    def echo(self, request_id: bytes, raw: bytes) -> None:
        line = b'{"jsonrpc":"2.0","id":%s,"result":{"content":[],"structuredContent":%s}}\n' % (request_id, raw)
        size = int(self.option(0, "65537"))
        for position in range(0, len(line), size):
            self.write(line[position : position + size])


class StderrFlood(Good):
    """Before each answer BYTES to standard error, in the same thread: blocks unless somebody reads them."""

    def send(self, message: Json) -> None:
        line = b"flood " * 20 + b"\n"
        write_all(2, line * (int(self.option(0, "1000000")) // len(line) + 1))
        super().send(message)


class BadJson(Good):
    """Answers calls with half a message, and with bytes that are not UTF-8."""

    def reply(self, method: str, message: Json) -> None:
        if method != "tools/call":
            super().reply(method, message)
            return
        whole = encoded(message)
        self.write(whole[: len(whole) // 2] + b"\n" + b'{"jsonrpc":"2.0","id":"\xff\xfe"}\n')


# --- faults of the protocol --------------------------------------------------------------------------------


class EarlyListChanged(Good):
    def reply(self, method: str, message: Json) -> None:
        if method == "initialize":
            self.send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        super().reply(method, message)


class Pages(Good):
    """Three tools a page; the cursors are ``page-1`` and ``page-2``."""

    def list_tools(self, params: Json) -> Json:
        pages = list(self.pages())
        cursors = [None, *(f"page-{number}" for number in range(1, len(pages)))]
        if params.get("cursor") not in cursors:
            raise UnknownCursor(f"no cursor {params['cursor']!r}")
        number = cursors.index(params.get("cursor"))
        more = {"nextCursor": cursors[number + 1]} if number + 1 < len(pages) else {}
        return {"tools": pages[number], **more}

    def pages(self) -> Iterator[list[Json]]:
        names = list(TOOLS)
        for position in range(0, len(names), 3):
            yield [described(name) for name in names[position : position + 3]]


class LoopingPages(Good):
    def list_tools(self, params: Json) -> Json:
        return {**super().list_tools(params), "nextCursor": "again"}


class WrongId(Good):
    """Before the answer to a call another one, to a request that nobody made."""

    def reply(self, method: str, message: Json) -> None:
        if method == "tools/call":
            stray = text_result("stray")
            self.send({"jsonrpc": "2.0", "id": "nobody-asked", "result": stray})
        super().reply(method, message)


class DuplicateAnswer(Good):
    def reply(self, method: str, message: Json) -> None:
        super().reply(method, message)
        super().reply(method, message)


MODES: dict[str, type[Good]] = {
    "good": Good,
    "ignores-eof": IgnoresEof,
    "ignores-eof-and-term": IgnoresEofAndTerm,
    "slow-init": SlowInit,
    "never-initialises": NeverInitialises,
    "exit-at-start": ExitAtStart,
    "exits-after-init": ExitsAfterInit,
    "crash-on-call": CrashOnCall,
    "hang-on-call": HangOnCall,
    "slow-reader": SlowReader,
    "starved-helper": StarvedHelper,
    "tells-all": TellsAll,
    "banner": Banner,
    "huge-line": HugeLine,
    "endless-line": EndlessLine,
    "chunked": Chunked,
    "raw-echo": RawEcho,
    "stderr-flood": StderrFlood,
    "talks": Talks,
    "bad-json": BadJson,
    "early-list-changed": EarlyListChanged,
    "pages": Pages,
    "looping-pages": LoopingPages,
    "wrong-id": WrongId,
    "duplicate-answer": DuplicateAnswer,
}


def main() -> None:
    mode = MODES.get(sys.argv[1] if len(sys.argv) > 1 else "good")
    if mode is None:
        sys.exit(f"no mode {sys.argv[1]!r}; there are: {', '.join(MODES)}")
    mode(*sys.argv[2:]).run()


if __name__ == "__main__":
    main()
