"""HTTP/1.1 on asyncio.Protocol. General client libraries cost more for each request than the fastest gateways do."""

from __future__ import annotations

import asyncio
import enum
import socket
from typing import Protocol, cast

Headers = dict[bytes, bytes]


class Handler(Protocol):
    """Is told of the answer to one request as it arrives."""

    def on_head(self, status: int, headers: Headers) -> None: ...

    def on_data(self, data: bytes) -> None: ...

    def on_end(self) -> None: ...

    def on_lost(self, reason: str) -> None: ...


class State(enum.Enum):
    """What the next bytes of a connection are."""

    HEAD = enum.auto()
    LENGTH = enum.auto()
    CHUNK_SIZE = enum.auto()
    CHUNK = enum.auto()
    CHUNK_END = enum.auto()
    TRAILER = enum.auto()
    UNTIL_CLOSE = enum.auto()
    IDLE = enum.auto()


_BODY = (State.LENGTH, State.CHUNK)


class HttpConnection(asyncio.Protocol):
    """A keep-alive connection that carries one request at a time."""

    def __init__(self) -> None:
        self.closed = False
        self.used = 0
        """Requests that were sent over it."""
        self.received = 0
        """Bytes that came over it."""
        self.answered = False
        """Whether the current request has got any byte back."""
        self._transport: asyncio.Transport | None = None
        self._handler: Handler | None = None
        self._buffer = b""
        self._left = 0
        self._state = State.IDLE
        self._keep = True
        self._rate = 0.0

    @property
    def transport(self) -> asyncio.Transport:
        """Raises ConnectionError before the connection is made."""
        if self._transport is None:
            raise ConnectionError("not connected")
        return self._transport

    @property
    def idle(self) -> bool:
        """Whether another request may be sent."""
        return self._state is State.IDLE and self._keep and not self.closed

    def send(self, data: bytes, handler: Handler) -> None:
        """A whole request; ``handler`` is told of its answer."""
        self._handler = handler
        self._state = State.HEAD
        self.answered = False
        self.used += 1
        self.transport.write(data)

    def close(self) -> None:
        """At once; nobody is told."""
        self._handler = None
        if self._transport is not None:
            self._transport.abort()

    def throttle(self, bytes_per_second: float) -> None:
        """From now on no more than that is read on the average; 0 lifts it."""
        self._rate = bytes_per_second

    # --- told by asyncio ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's have another parent
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        handler, self._handler = self._handler, None
        if handler is None:
            return
        if self._state is State.UNTIL_CLOSE:
            self._state = State.IDLE
            handler.on_end()
        elif self._state is not State.IDLE:
            handler.on_lost(str(error or "connection closed by the server"))

    def data_received(self, data: bytes) -> None:
        self.answered = True
        self.received += len(data)
        if self._rate:
            self._rest(len(data))
        if self._state is State.UNTIL_CLOSE and self._handler is not None:
            self._handler.on_data(data)
            return
        data = self._buffer + data if self._buffer else data
        position = self._consume(data)
        self._buffer = data[position:] if self._state is not State.IDLE else b""

    def _rest(self, size: int) -> None:
        self.transport.pause_reading()
        asyncio.get_running_loop().call_later(size / self._rate, self._resume)

    def _resume(self) -> None:
        if not self.closed and not self.transport.is_closing():
            self.transport.resume_reading()

    # --- parsing -----------------------------------------------------------------------------------------

    def _consume(self, data: bytes) -> int:
        """How much of ``data`` was understood; the rest waits for more."""
        position = 0
        while self._handler is not None and self._state is not State.IDLE:
            if self._state in _BODY:
                after = self._body(data, position)
            elif self._state is State.UNTIL_CLOSE:
                if position < len(data):
                    self._handler.on_data(data[position:])
                return len(data)
            else:
                after = self._line(data, position)
            if after < 0:
                break
            position = after
        return position

    def _body(self, data: bytes, position: int) -> int:
        if position >= len(data):
            return -1
        whole = not position and len(data) <= self._left
        piece = data if whole else data[position : position + self._left]
        self._left -= len(piece)
        assert self._handler is not None
        self._handler.on_data(piece)
        if not self._left:
            if self._state is State.LENGTH:
                self._end()
            else:
                self._state = State.CHUNK_END
        return position + len(piece)

    def _line(self, data: bytes, position: int) -> int:
        mark = b"\r\n\r\n" if self._state is State.HEAD else b"\r\n"
        end = data.find(mark, position)
        if end < 0:
            return -1
        if self._state is State.HEAD:
            self._head(data[position:end])
        elif self._state is State.CHUNK_SIZE:
            self._left = int(data[position:end].split(b";", 1)[0], 16)
            self._state = State.CHUNK if self._left else State.TRAILER
        elif self._state is State.CHUNK_END:
            self._state = State.CHUNK_SIZE
        elif end == position:
            self._end()
        return end + len(mark)

    def _head(self, head: bytes) -> None:
        lines = head.split(b"\r\n")
        status = int(lines[0].split(b" ", 2)[1])
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        if 100 <= status < 200 and status != 101:
            return  # "100 Continue" and its like: the real head follows
        self._keep = self._keep and headers.get(b"connection", b"").lower() != b"close"
        self._state, self._left = self._framing(status, headers)
        self._keep = self._keep and self._state is not State.UNTIL_CLOSE
        assert self._handler is not None
        self._handler.on_head(status, headers)
        if self._state is State.LENGTH and not self._left:
            self._end()

    @staticmethod
    def _framing(status: int, headers: Headers) -> tuple[State, int]:
        if status == 101:
            return State.UNTIL_CLOSE, 0
        if status in (204, 304):
            return State.LENGTH, 0
        if b"chunked" in headers.get(b"transfer-encoding", b"").lower():
            return State.CHUNK_SIZE, 0
        if b"content-length" in headers:
            return State.LENGTH, int(headers[b"content-length"])
        return State.UNTIL_CLOSE, 0

    def _end(self) -> None:
        handler, self._handler = self._handler, None
        self._state = State.IDLE
        if not self._keep:
            self.transport.close()
        if handler is not None:
            handler.on_end()
