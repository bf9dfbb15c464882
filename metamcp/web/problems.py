"""Errors for clients that do not speak JSON-RPC: problem documents (RFC 9457) below ``/metamcp/<endpoint>/api``."""

from __future__ import annotations

import math
import re
from http import HTTPStatus
from typing import Any

import msgspec

from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import Raw
from metamcp.protocol.openapi import PROBLEM
from metamcp.web.incoming import Incoming
from metamcp.web.outgoing import Outgoing

_ROUTES = re.compile(r"/metamcp/[^/]+/api(?:/.*)?", re.DOTALL)

_STATUS = {
    -32601: 404, -32021: 501, -31001: 503, -31002: 503, -31003: 504, -31004: 502, -31005: 403, -31006: 429,
} | dict.fromkeys((-32700, -32600, -32602, -32020), 400)  # fmt: skip
"""Of an error that answers a call. ``-32021``: the tool needs what a client of REST cannot give."""


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""
    data: Raw = Raw(b"")


class _Response(msgspec.Struct):
    error: _Error


class _Pause(msgspec.Struct):
    retryAfterMs: float = 0  # noqa: N815  as it is written


def wanted(path: str) -> bool:
    """Is ``path`` one of those whose clients do not speak JSON-RPC?"""
    return _ROUTES.fullmatch(path) is not None


def problem(status: int, detail: str, **members: Any) -> Outgoing:
    """``members`` are extensions."""
    title = HTTPStatus(status).phrase
    known = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return Outgoing(status, jsonrpc.encode(known | members), PROBLEM)


def answered(incoming: Incoming, outgoing: Outgoing) -> Outgoing:
    """An ``outgoing`` whose body is an error of JSON-RPC, as the client of ``incoming`` reads it."""
    if not wanted(incoming.path) or not isinstance(outgoing.body, bytes):
        return outgoing
    made = of_response(outgoing.body, outgoing.status)
    made.headers += [header for header in outgoing.headers if header not in made.headers and not _is_kind(header)]
    return made


def of_response(response: bytes, status: int = 0) -> Outgoing:
    """From a raw error response of JSON-RPC. ``status`` 0: by the error's code, and 502 for codes of servers."""
    try:
        error = msgspec.json.decode(response, type=_Response).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return problem(502, "the server answered with an error that cannot be read")
    members: dict[str, Any] = {"code": error.code} | ({"data": error.data} if error.data else {})
    made = problem(status or _STATUS.get(error.code, 502), error.message, **members)
    if pause := _pause(error.data):
        made.add("Retry-After", str(pause))
    return made


def _pause(data: Raw) -> int:
    """Seconds."""
    try:
        return math.ceil(msgspec.json.decode(data, type=_Pause).retryAfterMs / 1000)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return 0


def _is_kind(header: tuple[str, str]) -> bool:
    return header[0] == "Content-Type"
