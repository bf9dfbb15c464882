"""The SERVER span of a request of MCP, where traces are wanted: from its message being read to the end of its answer.

Names and attributes are those of the semantic conventions for MCP and HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from metamcp.protocol import trace_context
from metamcp.protocol.trace_context import TraceContext
from metamcp.telemetry.spans import NOWHERE, Span
from metamcp.web import caller
from metamcp.web.incoming import Incoming
from metamcp.web.outgoing import Outgoing

_UNTRACED = frozenset({"ping"})
_METHOD = re.compile(r"[a-zA-Z/_$.-]{1,64}")


def begin(incoming: Incoming, method: str | None, params: bytes, session: str | None) -> None:
    """``params`` raw. Their ``_meta`` says whose part it is; where it says nothing, the headers do."""
    traces = incoming.state.traces
    if traces is None or not method or method in _UNTRACED:
        return
    name = method if _METHOD.fullmatch(method) else "(other)"
    around, within = trace_context.read(incoming.header), trace_context.of_params(params)
    parent = trace_context.joined(within, around)
    link = around if around.traceparent and around.traceparent != parent.traceparent else NOWHERE
    attributes = {
        "mcp.method.name": name,
        "mcp.protocol.version": incoming.header("MCP-Protocol-Version") or "",
        "mcp.session.id": (session or "")[:8],
        "metamcp.endpoint": incoming.endpoint or "",
        "metamcp.request.id": incoming.request_id,
        "network.protocol.name": "http",
        "network.transport": "tcp",
        "client.address": caller.network(incoming.remote_address),
        "http.request.method": incoming.method,
    }
    shown = {key: value for key, value in attributes.items() if value}
    incoming.span = traces.begin(name, "server", parent, shown, link)
    incoming.trace = TraceContext(*incoming.span.carrier)


def over(incoming: Incoming, outgoing: Outgoing) -> Outgoing:
    """The answer is ``outgoing``: a stream has yet to come to its end."""
    span, incoming.span = incoming.span, None
    if span is None:
        return outgoing
    span.set({"http.response.status_code": outgoing.status})
    if isinstance(outgoing.body, bytes):
        _end(span, outgoing.status)
    else:
        outgoing.body = _Stream(outgoing.body, span, outgoing.status)
    return outgoing


def _end(span: Span, status: int) -> None:
    span.end(str(status) if status >= 400 else "")


class _Stream:
    """A response body (PEP 3333) whose end is the end of the span."""

    def __init__(self, body: Iterable[bytes], span: Span, status: int) -> None:
        self._body: Any = body
        self._span = span
        self._status = status

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        try:
            self._body.close()
        finally:
            _end(self._span, self._status)
