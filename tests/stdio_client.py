"""A client of a stdio MCP server, for tests: every wait has a deadline, no threads, and nothing outlives it."""

from __future__ import annotations

import itertools
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Json = dict[str, Any]
SECONDS = 10.0


class StdioClient:
    """``lines`` keeps every raw line that the server wrote."""

    def __init__(self, process: subprocess.Popen[bytes], stderr: Path) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.process, self._stderr = process, stderr
        self._stdin, self._stdout = process.stdin, process.stdout
        self._ids = itertools.count(1)
        self._buffer = b""
        self.lines: list[bytes] = []

    def send(self, method: str, params: Json | None = None, request_id: int | str | None = None) -> None:
        message: Json = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        if request_id is not None:
            message["id"] = request_id
        self.send_bytes(json.dumps(message).encode() + b"\n")

    def send_bytes(self, data: bytes) -> None:
        self._stdin.write(data)
        self._stdin.flush()

    def ask(self, method: str, params: Json | None = None, seconds: float = SECONDS) -> Json:
        """Sends a request and returns the message that answers it; others before it are dropped."""
        request_id = next(self._ids)
        self.send(method, params, request_id)
        return self.answer(request_id, seconds)

    def answer(self, request_id: int | str, seconds: float = SECONDS) -> Json:
        deadline = time.monotonic() + seconds
        while (message := self.message(deadline - time.monotonic())).get("id") != request_id:
            pass
        return message

    def call(self, tool: str, seconds: float = SECONDS, **arguments: Any) -> Json:
        """The result of a tool."""
        result: Json = self.ask("tools/call", {"name": tool, "arguments": arguments}, seconds)["result"]
        return result

    def text(self, tool: str, **arguments: Any) -> str:
        return str(self.call(tool, **arguments)["content"][0]["text"])

    def initialize(self, revision: str = "2025-11-25", seconds: float = SECONDS) -> Json:
        info = {"name": "test", "version": "1"}
        params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": info}
        result: Json = self.ask("initialize", params, seconds)["result"]
        self.send("notifications/initialized")
        return result

    def message(self, seconds: float = SECONDS) -> Json:
        message: Json = json.loads(self.line(seconds))
        return message

    def line(self, seconds: float = SECONDS) -> bytes:
        """The next line. Raises TimeoutError, or EOFError when the server has closed its output."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            self._buffer += self.chunk(deadline - time.monotonic())
        line, _, self._buffer = self._buffer.partition(b"\n")
        self.lines.append(line)
        return line

    def chunk(self, seconds: float = SECONDS) -> bytes:
        """The bytes that one read gives."""
        if not select.select([self._stdout], [], [], max(0.0, seconds))[0]:
            raise TimeoutError(f"nothing within the time; stderr: {self.stderr()[-500:]}")
        data = os.read(self._stdout.fileno(), 65536)
        if not data:
            raise EOFError(f"the server closed its output; stderr: {self.stderr()[-500:]}")
        return data

    def stderr(self) -> str:
        return self._stderr.read_text(errors="replace")

    def end_input(self) -> None:
        self._stdin.close()

    def wait(self, seconds: float = SECONDS) -> int:
        """The exit code; raises subprocess.TimeoutExpired."""
        return self.process.wait(seconds)


@contextmanager
def stdio_client(argv: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[StdioClient]:
    """Starts ``argv`` and kills what is left of it at the end."""
    with tempfile.NamedTemporaryFile() as stderr:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=env)
        try:
            yield StdioClient(process, Path(stderr.name))
        finally:
            _end(process)


def python_server(script: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", str(script), *arguments]


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.kill()
    process.wait(SECONDS)
    process.stdout.close()
    try:
        process.stdin.close()
    except BrokenPipeError:
        return  # what a test left unsent has nowhere to go
