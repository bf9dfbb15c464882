"""The head of an HTTP/1.1 response, from what a WSGI application gives (PEP 3333): one text, checked once."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

BODILESS = frozenset({204, 304})
"""Statuses whose responses have no body, and say no length of one (RFC 9112, 6.3)."""


class ResponseHead(msgspec.Struct, frozen=True):
    """``lines``: the status line and the fields, each with its end, without the empty line. ``said``: the names of the
    fields in lower case. ``closes``: the application wants this response to be the last one of its connection."""

    code: int
    lines: bytes
    said: frozenset[str]
    closes: bool


def response_head(status: str, headers: Sequence[tuple[str, str]]) -> ResponseHead:
    """``status`` is ``200 OK``. Raises ValueError for what would not be one line each in latin-1: whoever can break a
    line can write a response of their own (response splitting)."""
    lines = [f"HTTP/1.1 {status}", *[f"{name}: {value}" for name, value in headers], ""]
    text = "\r\n".join(lines)
    breaks = len(lines) - 1
    if text.count("\n") != breaks or text.count("\r") != breaks:
        raise ValueError("a line break in the status or a header of a response")
    said = frozenset([name.lower() for name, _ in headers])
    closes = "connection" in said and any(
        name.lower() == "connection" and value.lower() == "close" for name, value in headers
    )
    return ResponseHead(int(status[:3]), text.encode("latin-1"), said, closes)


def ending(head: ResponseHead, date: bytes, length: int | None, version: str, closes: bool) -> tuple[bytes, bool, bool]:
    """What the server adds to ``head``, the empty line included; is the body sent in chunks; is the response the last
    one of its connection. ``date``: the value of the field. ``length``: of the whole body, None where nobody knows it.
    ``version``: of the request; ``closes``: its client, or the server, wants no further one."""
    added = [] if "date" in head.said else [b"Date: ", date, b"\r\n"]
    closes = closes or head.closes
    chunked = False
    if "content-length" not in head.said and head.code not in BODILESS:
        if length is not None:
            added.append(b"Content-Length: %d\r\n" % length)
        elif version == "HTTP/1.1":
            chunked = True
            added.append(b"Transfer-Encoding: chunked\r\n")
        else:
            closes = True  # nothing else tells where the body ends
    if version == "HTTP/1.0" and "connection" not in head.said:
        added.append(b"Connection: close\r\n" if closes else b"Connection: keep-alive\r\n")
    added.append(b"\r\n")
    return b"".join(added), chunked, closes
