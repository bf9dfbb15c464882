"""MCP over Streamable HTTP, and over HTTP+SSE of 2024-11-05."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urljoin, urlsplit

from bench.client.events import SseParser
from bench.client.http1 import Headers, HttpConnection
from bench.client.session import CallError, Session, Settings

_SHOWN = 300


class Answer:
    """The answer to one request: collects a body, or feeds a session from the events in it.

    ``head`` is done with the status, ``done`` with the end; both fail with ConnectionError.
    """

    def __init__(self, session: Session, request_id: int | None = None) -> None:
        self.request_id = request_id
        self.status = 0
        self.headers: Headers = {}
        self.body: list[bytes] = []
        loop = asyncio.get_running_loop()
        self.head: asyncio.Future[int] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()
        self._session = session
        self._parser: SseParser | None = None

    def on_head(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers
        if headers.get(b"content-type", b"").startswith(b"text/event-stream"):
            self._parser = SseParser(self._session.on_event)
        if not self.head.done():
            self.head.set_result(status)

    def on_data(self, data: bytes) -> None:
        if self._parser is not None:
            self._parser.feed(data)
        else:
            self.body.append(data)

    def on_end(self) -> None:
        if self._is_message():
            self._session.on_message(b"".join(self.body))
        if not self.done.done():
            self.done.set_result(None)

    def _is_message(self) -> bool:
        if self.request_id is None or not self.body or self.status >= 400:
            return False
        return b"json" in self.headers.get(b"content-type", b"")

    def on_lost(self, reason: str) -> None:
        error = ConnectionError(reason)
        for future in (self.head, self.done):
            if not future.done():
                future.set_exception(error)
                future.exception()  # not everybody waits for both

    def text(self) -> str:
        """The beginning of the body."""
        return b"".join(self.body)[:_SHOWN].decode("utf-8", "replace")


class HttpBase(Session):
    """Connections to one host. ``receive_buffer``: bytes that the kernel may hold for the stream (None: its own)."""

    def __init__(
        self, url: str, settings: Settings, headers: Sequence[str] = (), receive_buffer: int | None = None
    ) -> None:
        super().__init__(settings)
        parts = urlsplit(url)
        self.url = url
        self.path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.common = f"Host: {parts.netloc}\r\n" + "".join(f"{header}\r\n" for header in headers)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._receive_buffer = receive_buffer
        self._pool: list[HttpConnection] = []
        self._connections: set[HttpConnection] = set()

    async def connection(self, fresh: bool = False) -> HttpConnection:
        """One that may be used; a new one if there is none, or with ``fresh``. Raises OSError."""
        while self._pool and not fresh:
            kept = self._pool.pop()
            if kept.idle:
                return kept
            self._connections.discard(kept)
        made = await self._connect()
        self._connections.add(made)
        return made

    async def _connect(self) -> HttpConnection:
        loop = asyncio.get_running_loop()
        if self._receive_buffer is None:
            return (await loop.create_connection(HttpConnection, self._host, self._port))[1]
        # The window of TCP follows the size of the buffer at the time of the connect.
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        try:
            await loop.sock_connect(sock, (self._host, self._port))
            return (await loop.create_connection(HttpConnection, sock=sock))[1]
        except OSError:
            sock.close()
            raise

    async def roundtrip(self, data: bytes, request_id: int | None = None) -> Answer:
        """Send a request and wait for the whole answer; once more where a kept connection turns out to be closed."""
        connection, answer = await self.connection(), Answer(self, request_id)
        for last in (False, True):
            connection.send(data, answer)
            try:
                await answer.done
                break
            except ConnectionError:
                self._connections.discard(connection)
                if last or connection.used == 1 or connection.answered:
                    raise
            connection, answer = await self.connection(fresh=True), Answer(self, request_id)
        if connection.idle:
            self._pool.append(connection)
        else:
            self._connections.discard(connection)
        return answer

    def drop(self) -> None:
        """Every connection, at once."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._pool.clear()

    @property
    def received(self) -> int:
        """Bytes that came over the connections that are open."""
        return sum(connection.received for connection in self._connections)

    def throttle(self, bytes_per_second: float) -> None:
        """What is read of each connection from now on, on the average."""
        for connection in self._connections:
            connection.throttle(bytes_per_second)


class HttpSession(HttpBase):
    """Streamable HTTP. With ``listen`` it holds the GET stream open, too, as SDKs do."""

    def __init__(
        self, url: str, settings: Settings, headers: Sequence[str] = (), receive_buffer: int | None = None,
        listen: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(url, settings, headers, receive_buffer)
        self._listen = listen
        self._listening = False
        self._session_id: str | None = None
        self._make_heads()

    def _make_heads(self) -> None:
        known = f"Mcp-Session-Id: {self._session_id}\r\n" if self._session_id else ""
        if self.server_info is not None:
            known += f"MCP-Protocol-Version: {self.version}\r\n"
        accepted = "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        start = f"{self.path} HTTP/1.1\r\n{self.common}{known}"
        self._post_head = f"POST {start}{accepted}Content-Length: ".encode()
        self._other = f" {start}Accept: text/event-stream\r\n\r\n".encode()

    def initialized(self) -> None:
        self._make_heads()

    async def open(self) -> None:
        await self.handshake()
        if self._listen:
            answer = Answer(self)
            (await self.connection(fresh=True)).send(b"GET" + self._other, answer)
            async with asyncio.timeout(self.settings.timeout):
                await answer.head
            if answer.status != 200:
                raise CallError("no-stream", f"GET answered {answer.status}")
            self._listening = True

    async def post(self, body: bytes, request_id: int | None) -> None:
        # The end of the HTTP answer is waited for, too, so that the connection can be kept; the time of the call was
        # taken when its message came.
        answer = await self.roundtrip(b"%b%d\r\n\r\n%b" % (self._post_head, len(body), body), request_id)
        if answer.status >= 400:
            raise CallError(f"http-{answer.status}", answer.text())
        if self._session_id is None and (given := answer.headers.get(b"mcp-session-id")):
            self._session_id = given.decode()
            self._make_heads()
        if self.is_waiting_for(request_id) and not self._listening:
            raise CallError("no-answer", f"HTTP {answer.status} ended without the answer")

    async def close(self, graceful: bool = True) -> None:
        with suppress(OSError, TimeoutError):
            if graceful and self._session_id:
                async with asyncio.timeout(self.settings.timeout):
                    await self.roundtrip(b"DELETE" + self._other)
        self.drop()


class SseSession(HttpBase):
    """HTTP+SSE: one GET stream for all answers, and POSTs to the endpoint that it names."""

    async def open(self) -> None:
        self._endpoint: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answer = Answer(self)
        stream = await self.connection(fresh=True)
        head = f"GET {self.path} HTTP/1.1\r\n{self.common}Accept: text/event-stream\r\n\r\n"
        stream.send(head.encode(), self._answer)
        self._answer.done.add_done_callback(self._stream_ended)
        parts = urlsplit(urljoin(self.url, await self._target()))
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        head = f"POST {path} HTTP/1.1\r\n{self.common}Content-Type: application/json\r\nContent-Length: "
        self._post_head = head.encode()
        await self.handshake()

    async def _target(self) -> str:
        try:
            async with asyncio.timeout(self.settings.timeout):
                await self._answer.head
                if self._answer.status != 200:
                    raise CallError(f"http-{self._answer.status}", self._answer.text())
                return await self._endpoint
        except TimeoutError:
            raise CallError("timeout", "no endpoint event") from None
        except OSError as error:
            raise CallError("connection", str(error)) from None

    def _stream_ended(self, _: object) -> None:
        self.fail_all("stream-closed", "the SSE stream ended")
        if not self._endpoint.done():
            self._endpoint.set_exception(CallError("stream-closed", "before its endpoint event"))
            self._endpoint.exception()

    def on_event(self, name: bytes, data: bytes) -> None:
        if name == b"endpoint":
            if not self._endpoint.done():
                self._endpoint.set_result(data.decode().strip())
        elif name == b"message":
            self.on_message(data)

    async def post(self, body: bytes, request_id: int | None) -> None:
        if self.lost:
            raise CallError(self.lost, "the SSE stream had ended")
        answer = await self.roundtrip(b"%b%d\r\n\r\n%b" % (self._post_head, len(body), body), request_id)
        if answer.status >= 400:
            raise CallError(f"http-{answer.status}", answer.text())

    async def close(self, graceful: bool = True) -> None:
        if hasattr(self, "_answer"):
            self._answer.done.cancel()
        self.drop()
