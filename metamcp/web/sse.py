"""HTTP+SSE: a stream, and a separate URL for the client's messages (MCP 2024-11-05, Transports)."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from flask import Blueprint, Response, request

from metamcp.errors import InvalidRequest
from metamcp.gateway.interface import OpenSse, Outbound
from metamcp.protocol import http_rules, sse
from metamcp.web import auth, caller, messages, streaming
from metamcp.web.reading import read_body
from metamcp.web.state import web_state

blueprint = Blueprint("sse", __name__)


@blueprint.get("/metamcp/<endpoint>/sse", strict_slashes=False)
@blueprint.get("/sse", strict_slashes=False, defaults={"endpoint": "default"})
def open_stream(endpoint: str) -> Response:
    """A new session that lives as long as this stream. Its first event is the URL for messages: a path only, so
    that it holds behind any proxy, and beside the stream's own URL."""
    if request.method == "HEAD":
        return streaming.head()
    base = request.script_root + request.path.rstrip("/").removesuffix("/sse")

    def greeting(opened: Outbound) -> bytes:
        query = {"sessionId": opened.session} | ({"ticket": ticket} if (ticket := auth.ticket(opened.session)) else {})
        return sse.event(f"{base}/message?{urlencode(query, quote_via=quote)}".encode(), "endpoint")

    exchange = web_state().gateway.exchange(OpenSse(caller.client(endpoint, "sse")))
    return streaming.stream(auth.revocable(exchange), greeting)


@blueprint.post("/metamcp/<endpoint>/message", strict_slashes=False)
@blueprint.post("/message", strict_slashes=False, defaults={"endpoint": "default"})
def message(endpoint: str) -> Response:
    """One message of the client; what comes of it leaves on the stream."""
    session = request.args.get("sessionId") or request.args.get("session_id")
    if not session:
        raise InvalidRequest("the query parameter sessionId is missing")
    parts = messages.read(read_body())
    client = caller.client(endpoint, "sse", session)
    exchange = web_state().gateway.exchange(parts.request(client, ""))
    response = streaming.answer(exchange, http_rules.Accepts(json=True, sse=False))
    if response.status_code == 202:
        response.set_data(b"Accepted")
    return response
