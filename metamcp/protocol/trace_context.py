"""The trace that a request belongs to: in the headers of HTTP (W3C Trace Context, Baggage) and, under the same names,
in ``params._meta`` (MCP 2026-07-28, Base Protocol, ``_meta``; SEP-414)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from metamcp.errors import InvalidParams
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import JsonObject, Raw

_PARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[\x21-\x7e]{1,200})?"
)  # fmt: skip
_STATE = re.compile(r"[\t\x20-\x7e]{0,512}")
_BAGGAGE = re.compile(r"[\t\x20-\x7e]{0,8192}")
_FORMS = {"traceparent": _PARENT, "tracestate": _STATE, "baggage": _BAGGAGE}
"""What does not look so counts as absent (Trace Context, 3.2; Baggage, 3.3.2): it must break nobody's request."""


class TraceContext(NamedTuple):
    """"" for what is absent; ``tracestate`` is nothing without its ``traceparent``."""

    traceparent: str = ""
    tracestate: str = ""
    baggage: str = ""


def read(get: Callable[[str], str | None]) -> TraceContext:
    """From whatever has values by name: headers, or members of ``_meta``."""
    found = {name: value for name, form in _FORMS.items() if (value := get(name)) and form.fullmatch(value)}
    if "traceparent" not in found:
        found.pop("tracestate", None)
    return TraceContext(**found)


def of_params(params: bytes) -> TraceContext:
    """What raw params say in their ``_meta``."""
    if b'"_meta"' not in params and b"\\" not in params:
        return TraceContext()  # the usual case, without decoding; a backslash may hide the name
    try:
        meta = jsonrpc.decode_object(jsonrpc.decode_object(params).get("_meta", b""), "_meta")
    except InvalidParams:
        return TraceContext()  # for its reader to refuse
    return read(lambda name: _text(meta.get(name)))


def joined(first: TraceContext, second: TraceContext) -> TraceContext:
    """``first`` wins."""
    parent = first if first.traceparent else second
    return TraceContext(parent.traceparent, parent.tracestate, first.baggage or second.baggage)


def insert(params: JsonObject, context: TraceContext) -> JsonObject:
    """``params`` with ``context`` in their ``_meta``, whose other members keep their bytes; as its client wrote it the
    baggage stays. A ``_meta`` that is no object is left for its reader."""
    raw = params.get("_meta", Raw(b"{}"))
    try:
        meta = jsonrpc.decode_object(raw, "_meta")
    except InvalidParams:
        return params
    meta.pop("tracestate", None)
    meta["traceparent"] = Raw(jsonrpc.encode(context.traceparent))
    if context.tracestate:
        meta["tracestate"] = Raw(jsonrpc.encode(context.tracestate))
    if context.baggage:
        meta.setdefault("baggage", Raw(jsonrpc.encode(context.baggage)))
    return params | {"_meta": Raw(jsonrpc.encode(meta))}


def headers(params: bytes) -> dict[str, str]:
    """The headers that repeat the ``_meta`` of raw params."""
    return {name: value for name, value in of_params(params)._asdict().items() if value}


def _text(raw: Raw | None) -> str | None:
    try:
        return jsonrpc.decode_string(raw, "")
    except InvalidParams:
        return None
