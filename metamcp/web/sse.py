"""HTTP+SSE: a stream, and a separate URL for the client's messages (MCP 2024-11-05, Transports)."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from flask import Blueprint

from metamcp.errors import InvalidRequest
from metamcp.gateway.interface import OpenSse, Outbound
from metamcp.protocol import http_rules, sse
from metamcp.web import auth, caller, messages, spans, streaming
from metamcp.web.incoming import Incoming
from metamcp.web.outgoing import Outgoing
from metamcp.web.present import serve
from metamcp.web.reading import read_body

blueprint = Blueprint("sse", __name__)


def open_stream(incoming: Incoming, endpoint: str) -> Outgoing:
    """A new session that lives as long as this stream. Its first event is the URL for messages: a path only, so
    that it holds behind any proxy, and beside the stream's own URL."""
    if incoming.method == "HEAD":
        return streaming.head()
    base = incoming.script_root + incoming.path.rstrip("/").removesuffix("/sse")

    def greeting(opened: Outbound) -> bytes:
        ticket = auth.ticket(incoming, opened.session)
        query = {"sessionId": opened.session} | ({"ticket": ticket} if ticket else {})
        return sse.event(f"{base}/message?{urlencode(query, quote_via=quote)}".encode(), "endpoint")

    exchange = incoming.state.gateway.exchange(OpenSse(caller.opening(incoming, endpoint, "sse")))
    return streaming.stream(incoming, auth.revocable(incoming, exchange), greeting)


def message(incoming: Incoming, endpoint: str) -> Outgoing:
    """One message of the client; what comes of it leaves on the stream."""
    session = incoming.argument("sessionId") or incoming.argument("session_id")
    if not session:
        raise InvalidRequest("the query parameter sessionId is missing")
    parts = messages.read(read_body(incoming))
    if incoming.state.traces is not None:
        spans.begin(incoming, *parts.traced, session)
    client = caller.client(incoming, endpoint, "sse", session)
    exchange = incoming.state.gateway.exchange(parts.request(client, ""))
    outgoing = streaming.answer(exchange, http_rules.Accepts(json=True, sse=False), incoming.state.heartbeat)
    return Outgoing(202, b"Accepted", "text/plain") if outgoing.status == 202 else outgoing


serve(blueprint, "GET", "sse", open_stream)
serve(blueprint, "POST", "message", message)
