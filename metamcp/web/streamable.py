"""Streamable HTTP: one URL with POST, GET and DELETE (MCP 2025-06-18 and 2025-11-25, Transports).

The same URL serves 2026-07-28, which has POST alone (``web/stateless.py``).
"""

from __future__ import annotations

from flask import Blueprint, Response, request
from werkzeug.exceptions import MethodNotAllowed

from metamcp.errors import InvalidRequest
from metamcp.gateway.interface import Client, Delete, Listen, Outbound
from metamcp.protocol import http_rules
from metamcp.protocol.versions import HANDSHAKE
from metamcp.web import caller, messages, stateless, streaming
from metamcp.web.auth import revocable
from metamcp.web.reading import read_body
from metamcp.web.state import web_state

blueprint = Blueprint("streamable", __name__)


@blueprint.post("/metamcp/<endpoint>/mcp", strict_slashes=False)
@blueprint.post("/mcp", strict_slashes=False, defaults={"endpoint": "default"})
def post(endpoint: str) -> Response:
    """One message of the client; a request is answered with JSON or a stream, the rest with 202."""
    body = read_body()
    if stateless.is_meant(body):
        return stateless.post(endpoint, body)
    accepts = http_rules.accepts(request.headers.get("Accept"))
    http_rules.require_json(request.headers.get("Content-Type"))
    parts = messages.read(body)
    opening = any(message.method == "initialize" for message in parts.messages)
    client = _client(endpoint, session_required=not opening or parts.batch)
    if not opening:
        http_rules.check_version(client.revision)
    resumable = _resumable(client, accepts)
    exchange = web_state().gateway.exchange(parts.request(client, resumable.name))
    return streaming.answer(revocable(exchange), accepts, resumable)


@blueprint.get("/metamcp/<endpoint>/mcp", strict_slashes=False)
@blueprint.get("/mcp", strict_slashes=False, defaults={"endpoint": "default"})
def listen(endpoint: str) -> Response:
    """A stream for what belongs to no call."""
    stateless.refuse_other_methods()
    if request.method == "HEAD":
        return streaming.head()
    if not http_rules.takes_events(request.headers.get("Accept")):
        # The one status that every client reads as "no stream for me": the SDK in TypeScript gives up at others.
        raise MethodNotAllowed(["POST", "DELETE"], f"GET opens a stream: Accept must contain {http_rules.SSE}")
    client = _client(endpoint, session_required=True)
    http_rules.check_version(client.revision)
    resumable = _resumable(client, http_rules.Accepts(json=False, sse=True))
    listening = Listen(client, resumable.name, request.headers.get("Last-Event-ID", ""))

    def greeting(opened: Outbound) -> bytes:
        fresh = opened.data.decode() == resumable.name
        return (resumable.opening if fresh else b"") or b": open\n\n"

    return streaming.stream(revocable(web_state().gateway.exchange(listening)), greeting)


@blueprint.delete("/metamcp/<endpoint>/mcp", strict_slashes=False)
@blueprint.delete("/mcp", strict_slashes=False, defaults={"endpoint": "default"})
def delete(endpoint: str) -> Response:
    """The client ends its session (Session Management)."""
    stateless.refuse_other_methods()
    exchange = web_state().gateway.exchange(Delete(_client(endpoint, session_required=True)))
    response = streaming.answer(exchange, http_rules.Accepts(json=True, sse=False))
    if response.status_code == 202:
        response.status_code = 200
    return response


def _resumable(client: Client, accepts: http_rules.Accepts) -> streaming.Resumable:
    revision = HANDSHAKE.get(client.revision)
    name = web_state().streams.name() if accepts.sse else ""
    return streaming.Resumable(name, primes=revision is not None and revision.priming)


def _client(endpoint: str, session_required: bool) -> Client:
    session = request.headers.get(streaming.SESSION_HEADER, "")
    if session_required and not session:
        raise InvalidRequest(f"the header {streaming.SESSION_HEADER} is missing: initialize first")
    revision = request.headers.get("MCP-Protocol-Version", "")
    return caller.client(endpoint, "http", session if session_required else "", revision)
