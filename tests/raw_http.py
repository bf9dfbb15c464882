"""Bytes to a port and back, as no HTTP library would send them; and the ways to hide one request in another."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

WAIT_SECONDS = 10.0
HEAD = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@contextmanager
def connected(port: int, timeout: float = WAIT_SECONDS) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        yield connection


def until_closed(connection: socket.socket) -> bytes:
    """Everything up to the end of the connection. Raises TimeoutError when the other side does not end it."""
    found = bytearray()
    with suppress(ConnectionResetError):
        while data := connection.recv(65536):
            found += data
    return bytes(found)


def asked(port: int, data: bytes, timeout: float = WAIT_SECONDS) -> bytes:
    """All that comes back for ``data`` until the other side closes."""
    with connected(port, timeout) as connection:
        connection.sendall(data)
        return until_closed(connection)


def statuses(answer: bytes) -> list[int]:
    """Of the responses in ``answer``, one after the other."""
    return [int(found) for found in _STATUS.findall(answer)]


def _body(fields: bytes, body: bytes) -> bytes:
    return HEAD + fields + b"\r\n" + body + HIDDEN


def _chunked(body: bytes) -> bytes:
    return _body(b"Transfer-Encoding: chunked\r\n", body)


PING_CHUNK = b"%x\r\n%s\r\n" % (len(PING), PING)
_LENGTH = b"Content-Length: %d\r\n" % len(PING)

AMBIGUOUS: dict[str, bytes] = {
    "length and chunked": _body(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "chunked and length": _body(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    "chunked in capitals and length": _body(b"TRANSFER-ENCODING: CHUNKED\r\ncontent-LENGTH: 5\r\n", b"0\r\n\r\n"),
    "two lengths": _body(_LENGTH + b"Content-Length: 0\r\n", PING),
    "the same length twice": _body(_LENGTH + _LENGTH, PING),
    "two lengths in other letters": _body(_LENGTH + b"cOnTeNt-LeNgTh: 0\r\n", PING),
    "a list of lengths": _body(b"Content-Length: 40, 40\r\n", PING),
    "a length with a sign": _body(b"Content-Length: +40\r\n", PING),
    "a negative length": _body(b"Content-Length: -1\r\n", PING),
    "a hexadecimal length": _body(b"Content-Length: 0x28\r\n", PING),
    "a length with an underscore": _body(b"Content-Length: 4_0\r\n", PING),
    "an empty length": _body(b"Content-Length:\r\n", PING),
    "a length with a space inside": _body(b"Content-Length: 4 0\r\n", PING),
    "another coding": _body(b"Transfer-Encoding: xchunked\r\n", PING_CHUNK + b"0\r\n\r\n"),
    "chunked, then identity": _body(b"Transfer-Encoding: chunked, identity\r\n", PING_CHUNK + b"0\r\n\r\n"),
    "gzip, then chunked": _body(b"Transfer-Encoding: gzip, chunked\r\n", PING_CHUNK + b"0\r\n\r\n"),
    "identity": _body(b"Transfer-Encoding: identity\r\n" + _LENGTH, PING),
    "two codings": _body(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", PING_CHUNK + b"0\r\n\r\n"),
    "a space before the colon": _body(b"Transfer-Encoding : chunked\r\n", PING_CHUNK + b"0\r\n\r\n"),
    "a control character behind the coding": _body(b"Transfer-Encoding: chunked\x0b\r\n", PING_CHUNK + b"0\r\n\r\n"),
    "a folded coding": _body(b"Transfer-Encoding:\r\n chunked\r\n", PING_CHUNK + b"0\r\n\r\n"),
    "a folded header": _body(b"X-Some: thing\r\n  more\r\n" + _LENGTH, PING),
    "a bare LF behind a header": _body(b"X-Some: thing\n" + _LENGTH, PING),
    "a bare CR in a header": _body(b"X-Some: thing\rContent-Length: 0\r\n" + _LENGTH, PING),
    "NUL in a header": _body(b"X-Some: th\0ing\r\n" + _LENGTH, PING),
    "a header without a name": _body(b": thing\r\n" + _LENGTH, PING),
    "a header without a colon": _body(b"X-Some\r\n" + _LENGTH, PING),
    "chunks in HTTP/1.0": _chunked(PING_CHUNK + b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "a chunk with an extension": _chunked(b"28;a=b\r\n" + PING + b"\r\n0\r\n\r\n"),
    "an extension with a bare LF": _chunked(b"28;a\nxx\r\n" + PING + b"\r\n0\r\n\r\n"),
    "an extension of the last chunk": _chunked(PING_CHUNK + b"0;a=b\r\n\r\n"),
    "a chunk's size with a prefix": _chunked(b"0x28\r\n" + PING + b"\r\n0\r\n\r\n"),
    "a chunk's size with a sign": _chunked(b"+28\r\n" + PING + b"\r\n0\r\n\r\n"),
    "a chunk's size with a space": _chunked(b"28 \r\n" + PING + b"\r\n0\r\n\r\n"),
    "a chunk's size behind a bare LF": _chunked(b"28\n" + PING + b"\r\n0\r\n\r\n"),
    "a chunk longer than its size": _chunked(b"20\r\n" + PING + b"\r\n0\r\n\r\n"),
    "a bare LF behind a chunk": _chunked(b"28\r\n" + PING + b"\n0\r\n\r\n"),
    "a huge chunk's size": _chunked(b"FFFFFFFFFFFFFFFFF\r\n" + PING + b"\r\n0\r\n\r\n"),
    "a trailer": _chunked(PING_CHUNK + b"0\r\nContent-Length: 44\r\n\r\n"),
    "two hosts": _body(b"Host: evil.example\r\n" + _LENGTH, PING),
    "HTTP/0.9": b"GET /health\r\n" + HIDDEN,
    "HTTP/2 in the request line": b"GET /health HTTP/2.0\r\nHost: localhost\r\n\r\n" + HIDDEN,
    "HTTP/1.10": b"GET /health HTTP/1.10\r\nHost: localhost\r\n\r\n" + HIDDEN,
    "a method in small letters": b"get /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + HIDDEN,
    "two spaces in the request line": b"GET  /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + HIDDEN,
    "a bare LF behind the request line": b"GET /health HTTP/1.1\nHost: localhost\r\n\r\n" + HIDDEN,
    "an empty line first": b"\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + HIDDEN,
    "HEAD with a body": b"HEAD /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 44\r\n\r\n" + HIDDEN,
}
"""Requests that two readers may read differently: what one takes for the body, the other takes for ``HIDDEN``."""
