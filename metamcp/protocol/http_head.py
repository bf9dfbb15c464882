"""The head of an HTTP/1.1 request, read strictly (RFC 9112): what two readers could read differently is refused.

A proxy and a server that disagree about where a request ends let a client hide a second one in the first (request
smuggling). So there is no leniency here: no bare LF, no folded line, no white space before a colon, one length.
"""

from __future__ import annotations

import http
import re
from collections.abc import Sequence

import msgspec

from metamcp.errors import HeadersTooLarge, InvalidRequest, MetaMCPError, TargetTooLong, TooLarge
from metamcp.protocol import jsonrpc
from metamcp.protocol.http_rules import JSON

MAX_TARGET = 8000
"""Bytes of the request line."""

MAX_HEADERS, MAX_HEADER_BYTES = 96, 64 * 1024
"""Fields, and bytes of all of them."""

MAX_BODY = 32 * 1024 * 1024
"""Bytes of one request's body."""

_REQUEST_LINE = re.compile(rb"([A-Z]{1,32}) ([\x21-\x7e]+) (HTTP/1\.[01])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_LENGTH = re.compile("[0-9]{1,15}")
_ONCE = frozenset({"content-length", "transfer-encoding", "host", "content-type", "authorization"})
"""Fields of which a second one could be taken for the first."""


class Head(msgspec.Struct, frozen=True):
    """``version`` is ``HTTP/1.1`` or ``HTTP/1.0``. ``fields``: by name in lower case, with each byte as one character
    (latin-1); what stood in several fields of one name is one value, with commas (RFC 9110, 5.2). ``length``: bytes of
    the body; None when it comes in chunks."""

    method: str
    target: str
    version: str
    fields: dict[str, str]
    length: int | None

    @property
    def awaits_continue(self) -> bool:
        return self.fields.get("expect", "").lower() == "100-continue"

    @property
    def closes(self) -> bool:
        """Is this the last request of its connection (RFC 9112, 9.3)?"""
        connection = self.fields.get("connection")
        if connection is None:
            return self.version == "HTTP/1.0"
        options = {option.strip() for option in connection.lower().split(",")}
        return "close" in options or (self.version == "HTTP/1.0" and "keep-alive" not in options)


class HeadReader:
    """Of one connection. A client says nearly the same in each head: what a line means is known until the next one."""

    def __init__(self) -> None:
        self._line: bytes | None = None
        self._request = ("", "", "")
        self._known: dict[bytes, tuple[str, str]] = {}

    def read(self, line: bytes, fields: Sequence[bytes]) -> Head:
        """The request line and the header fields, without line ends. Raises MetaMCPError for a request that must not
        be answered otherwise, and whose connection must be closed."""
        if line != self._line:
            self._request = _request_line(line)
            self._line = line
        method, target, version = self._request
        named = self._named(fields)
        length = _length(named, version)
        if length and method == "HEAD":
            raise InvalidRequest("HEAD has no body")
        return Head(method, target, version, named, length)

    def _named(self, fields: Sequence[bytes]) -> dict[str, str]:
        known = self._known
        present: dict[bytes, tuple[str, str]] = {}
        named: dict[str, str] = {}
        for line in fields:
            name, value = present[line] = known.get(line) or _field(line)
            if name in named:
                if name in _ONCE:
                    raise InvalidRequest(f"the header {name} must not be repeated")
                value = f"{named[name]},{value}"
            named[name] = value
        self._known = present
        return named


def lines_of(head: bytes) -> list[bytes]:
    """Of a whole head, as it stands before its empty line. Whatever else ends a line for somebody is no character of
    one, and refused."""
    return head.split(b"\r\n")


def content(line: bytes) -> bytes:
    """Of one line with its end. Raises InvalidRequest for another end."""
    if not line.endswith(b"\r\n"):
        raise InvalidRequest("a line of the request's head must end with CR LF")
    return line[:-2]


def too_large(line: bytes, fields: Sequence[bytes], size: int) -> MetaMCPError | None:
    """For who reads line by line, after each: the refusal of a head that need not be read to its end. ``size``: bytes
    of all ``fields``."""
    if len(line) > MAX_TARGET:
        return TargetTooLong(f"the request line must not be longer than {MAX_TARGET} bytes")
    if len(fields) > MAX_HEADERS:
        return HeadersTooLarge(f"a request may have {MAX_HEADERS} header fields")
    if size > MAX_HEADER_BYTES:
        return HeadersTooLarge(f"the header fields of a request may have {MAX_HEADER_BYTES} bytes")
    return None


def refusal(error: MetaMCPError) -> bytes:
    """The whole response to a request that never became one."""
    body = jsonrpc.error_response(b"", error.as_jsonrpc())
    reason = http.HTTPStatus(error.http_status).phrase
    head = f"HTTP/1.1 {error.http_status} {reason}\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


def _request_line(line: bytes) -> tuple[str, str, str]:
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise InvalidRequest("the request line must be METHOD TARGET HTTP/1.1")
    return found[1].decode(), found[2].decode(), found[3].decode()


def _field(line: bytes) -> tuple[str, str]:
    found = _FIELD.fullmatch(line)
    if found is None:
        raise InvalidRequest("a header field must be NAME: VALUE on one line, without control characters")
    return found[1].lower().decode(), found[2].rstrip(b" \t").decode("latin-1")


def _length(named: dict[str, str], version: str) -> int | None:
    coding, length = named.get("transfer-encoding"), named.get("content-length")
    if coding is not None:
        if length is not None or version != "HTTP/1.1" or coding.lower() != "chunked":
            raise InvalidRequest("Transfer-Encoding must be chunked, in HTTP/1.1, without Content-Length")
        return None
    if length is None:
        return 0
    if _LENGTH.fullmatch(length) is None:
        raise InvalidRequest("Content-Length must be one whole number")
    if int(length) > MAX_BODY:
        raise TooLarge(f"a body must not be longer than {MAX_BODY} bytes")
    return int(length)
