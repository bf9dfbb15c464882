"""The head of an HTTP/1.1 request, read strictly (RFC 9112): what two readers could read differently is refused.

A proxy and a server that disagree about where a request ends let a client hide a second one in the first (request
smuggling). So there is no leniency here: no bare LF, no folded line, no white space before a colon, one length.
"""

from __future__ import annotations

import http
import re
from dataclasses import dataclass

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
_LENGTH = re.compile(rb"[0-9]{1,15}")
_ONCE = frozenset({b"content-length", b"transfer-encoding", b"host", b"content-type", b"authorization"})
"""Fields of which a second one could be taken for the first."""


@dataclass(frozen=True, slots=True)
class Head:
    """``version`` is ``HTTP/1.1`` or ``HTTP/1.0``. ``fields``: by name in lower case; what stood in several fields of
    one name is one value, with commas (RFC 9110, 5.2). ``length``: bytes of the body; None when it comes in chunks."""

    method: str
    target: str
    version: str
    fields: dict[bytes, bytes]
    length: int | None

    @property
    def awaits_continue(self) -> bool:
        return self.fields.get(b"expect", b"").lower() == b"100-continue"

    @property
    def closes(self) -> bool:
        """Is this the last request of its connection (RFC 9112, 9.3)?"""
        options = {option.strip() for option in self.fields.get(b"connection", b"").lower().split(b",")}
        return b"close" in options or (self.version == "HTTP/1.0" and b"keep-alive" not in options)


def read(line: bytes, fields: list[bytes]) -> Head:
    """``line`` and ``fields`` as they came, each with its line end. Raises MetaMCPError for a request that must not be
    answered otherwise, and whose connection must be closed."""
    found = _REQUEST_LINE.fullmatch(_content(line))
    if found is None:
        raise InvalidRequest("the request line must be METHOD TARGET HTTP/1.1")
    named = _named(fields)
    length = _length(named, found[3])
    if length and found[1] == b"HEAD":
        raise InvalidRequest("HEAD has no body")
    return Head(found[1].decode(), found[2].decode(), found[3].decode(), named, length)


def texts(head: Head) -> dict[str, str]:
    """The fields, for a log."""
    return {name.decode(): value.decode("latin-1") for name, value in head.fields.items()}


def too_large(line: bytes, fields: list[bytes], size: int) -> MetaMCPError | None:
    """For the reader, after each line: the refusal of a head that need not be read to its end. ``size``: bytes of all
    ``fields``."""
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


def _content(line: bytes) -> bytes:
    if not line.endswith(b"\r\n"):
        raise InvalidRequest("a line of the request's head must end with CR LF")
    return line[:-2]


def _named(fields: list[bytes]) -> dict[bytes, bytes]:
    named: dict[bytes, bytes] = {}
    for field in fields:
        found = _FIELD.fullmatch(_content(field))
        if found is None:
            raise InvalidRequest("a header field must be NAME: VALUE on one line, without control characters")
        name = found[1].lower()
        if name in named and name in _ONCE:
            raise InvalidRequest(f"the header {name.decode()} must not be repeated")
        value = found[2].rstrip(b" \t")
        named[name] = named[name] + b"," + value if name in named else value
    return named


def _length(named: dict[bytes, bytes], version: bytes) -> int | None:
    coding, length = named.get(b"transfer-encoding"), named.get(b"content-length")
    if coding is not None:
        if length is not None or version != b"HTTP/1.1" or coding.lower() != b"chunked":
            raise InvalidRequest("Transfer-Encoding must be chunked, in HTTP/1.1, without Content-Length")
        return None
    if length is None:
        return 0
    if _LENGTH.fullmatch(length) is None:
        raise InvalidRequest("Content-Length must be one whole number")
    if int(length) > MAX_BODY:
        raise TooLarge(f"a body must not be longer than {MAX_BODY} bytes")
    return int(length)
