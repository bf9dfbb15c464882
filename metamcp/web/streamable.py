"""Streamable HTTP: one URL with POST, GET and DELETE (MCP 2025-06-18 and 2025-11-25, Transports).

The same URL serves 2026-07-28, which has POST alone (``web/stateless.py``).
"""

from __future__ import annotations

from flask import Blueprint, Response, request
from werkzeug.exceptions import MethodNotAllowed

from metamcp.errors import InvalidRequest
from metamcp.gateway.interface import Client, Delete, Listen, Post
from metamcp.protocol import http_rules, jsonrpc
from metamcp.web import stateless, streaming
from metamcp.web.auth import principal
from metamcp.web.state import web_state

blueprint = Blueprint("streamable", __name__)


@blueprint.post("/metamcp/<endpoint>/mcp", strict_slashes=False)
@blueprint.post("/mcp", strict_slashes=False, defaults={"endpoint": "default"})
def post(endpoint: str) -> Response:
    """One message of the client; a request is answered with JSON or a stream, the rest with 202."""
    body = request.get_data(cache=False)
    if stateless.is_meant(body):
        return stateless.post(endpoint, body)
    accepts = http_rules.accepts(request.headers.get("Accept"))
    http_rules.require_json(request.headers.get("Content-Type"))
    message = jsonrpc.parse(body)
    opening = message.method == "initialize"
    client = _client(endpoint, session_required=not opening)
    if not opening:
        http_rules.check_version(client.revision)
    payload = body if message.kind == "response" else bytes(message.params)
    exchange = web_state().gateway.exchange(
        Post(client, message.kind, message.method or "", bytes(message.id), payload, accepts.sse)
    )
    return streaming.answer(exchange, accepts)


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
    return streaming.stream(web_state().gateway.exchange(Listen(client)), lambda _opened: b": open\n\n")


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


def _client(endpoint: str, session_required: bool) -> Client:
    session = request.headers.get(streaming.SESSION_HEADER, "")
    if session_required and not session:
        raise InvalidRequest(f"the header {streaming.SESSION_HEADER} is missing: initialize first")
    revision = request.headers.get("MCP-Protocol-Version", "")
    return Client(endpoint, principal(), "http", session if session_required else "", revision)
