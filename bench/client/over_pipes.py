"""MCP over stdio: a command's own, and that of a container that the Engine API attached to."""

from __future__ import annotations

import asyncio
import json
import shlex
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from bench.client.http1 import HttpConnection
from bench.client.over_http import Answer
from bench.client.session import NOW, CallError, Session, Settings

_END_SECONDS = 15.0
_READ_BYTES = 1 << 18
_STDOUT = 1
_HEADER_BYTES = 8


class LineSession(Session):
    """Newline-delimited JSON over some byte stream."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> None:
        if b"\n" not in data:
            self._pieces.append(data)
            return
        first, *middle, last = data.split(b"\n")
        self._pieces.append(first)
        self.on_message(b"".join(self._pieces))
        for line in middle:
            self.on_message(line)
        self._pieces = [last] if last else []


class StdioSession(LineSession):
    """``command``: a shell-quoted command line, started without a shell."""

    def __init__(self, command: str, settings: Settings) -> None:
        super().__init__(settings)
        self._argv = shlex.split(command)
        self._process: asyncio.subprocess.Process | None = None

    async def open(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        self._reader = asyncio.ensure_future(self._read(self._process))
        await self.handshake()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while data := await process.stdout.read(_READ_BYTES):
            self.feed(data)
        self.fail_all("stream-closed", "the process closed its stdout")

    async def post(self, body: bytes, request_id: int | None) -> None:
        if self.lost or self._process is None or self._process.stdin is None:
            raise CallError(self.lost or "not-open")
        self._process.stdin.write(body + b"\n")

    async def close(self, graceful: bool = True) -> None:
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _END_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader


class _Attached(Answer):
    """The attached streams of a container, which last until it ends."""

    def __init__(self, session: DockerSession) -> None:
        super().__init__(session)
        self._container = session

    def on_data(self, data: bytes) -> None:
        self._container.on_frames(data)

    def on_end(self) -> None:
        self._container.fail_all("stream-closed", "the attach ended")

    def on_lost(self, reason: str) -> None:
        super().on_lost(reason)
        self._container.fail_all("stream-closed", reason)


class DockerSession(LineSession):
    """A container of its own, attached to over the Engine API, without the docker command. ``labels`` are its."""

    def __init__(
        self, image: str, arguments: Sequence[str], labels: Mapping[str, str], socket_path: str, settings: Settings
    ) -> None:
        super().__init__(settings)
        self._body = {
            "Image": image, "Cmd": list(arguments), "Labels": dict(labels), "OpenStdin": True, "StdinOnce": True,
            "AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "HostConfig": {"AutoRemove": True},
        }  # fmt: skip
        self._socket_path = socket_path
        self._frames = b""
        self._stream: HttpConnection | None = None
        self._container = ""

    async def _connect(self) -> HttpConnection:
        loop = asyncio.get_running_loop()
        return (await loop.create_unix_connection(HttpConnection, self._socket_path))[1]

    async def _api(self, method: str, path: str, body: Any = None) -> Any:
        connection, answer = await self._connect(), Answer(self)
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n"
        connection.send(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data, answer)
        try:
            async with asyncio.timeout(self.settings.timeout):
                await answer.done
        finally:
            connection.close()
        if answer.status >= 400:
            raise CallError(f"docker-{answer.status}", answer.text())
        return json.loads(b"".join(answer.body) or b"null")

    async def open(self) -> None:
        self._container = (await self._api("POST", "/containers/create", self._body))["Id"]
        stream, answer = await self._connect(), _Attached(self)
        path = f"/containers/{self._container}/attach?stream=1&stdin=1&stdout=1&stderr=1"
        fields = "Host: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0"
        stream.send(f"POST {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode(), answer)
        self._stream = stream
        async with asyncio.timeout(self.settings.timeout):
            await answer.head
        if answer.status != 101:
            raise CallError(f"docker-{answer.status}", answer.text())
        await self._api("POST", f"/containers/{self._container}/start")
        await self.handshake()

    def on_frames(self, data: bytes) -> None:
        """Bytes of the engine's multiplexed stream: eight of a header, the last four of them the length."""
        data = self._frames + data if self._frames else data
        position = 0
        while len(data) - position >= _HEADER_BYTES:
            kind, size = data[position], struct.unpack_from(">I", data, position + 4)[0]
            end = position + _HEADER_BYTES + size
            if len(data) < end:
                break
            if kind == _STDOUT:
                self.feed(data[position + _HEADER_BYTES : end])
            position = end
        self._frames = data[position:]

    async def post(self, body: bytes, request_id: int | None) -> None:
        if self.lost or self._stream is None:
            raise CallError(self.lost or "not-open")
        self._stream.transport.write(body + b"\n")

    async def close(self, graceful: bool = True) -> None:
        if self._container and not await self._ends():
            await self._api("DELETE", f"/containers/{self._container}?force=1")
        if self._stream is not None:
            self._stream.close()

    async def _ends(self) -> bool:
        """Whether the container ends with its standard input, in time."""
        if self._stream is None:
            return False
        if self.lost is None and self._stream.transport.can_write_eof():
            self._stream.transport.write_eof()
        deadline = NOW() + _END_SECONDS
        while self.lost is None and NOW() < deadline:
            await asyncio.sleep(0.02)
        return self.lost is not None
