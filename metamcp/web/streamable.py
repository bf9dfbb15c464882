"""Streamable HTTP: one URL with POST, GET and DELETE (MCP 2025-06-18 and 2025-11-25, Transports).

The same URL serves 2026-07-28, which has POST alone (``web/stateless.py``).
"""

from __future__ import annotations

from flask import Blueprint
from werkzeug.exceptions import MethodNotAllowed

from metamcp.errors import InvalidRequest
from metamcp.gateway.interface import Client, Delete, Listen, Outbound
from metamcp.protocol import http_rules
from metamcp.protocol.versions import HANDSHAKE
from metamcp.web import caller, messages, spans, stateless, streaming
from metamcp.web.auth import revocable
from metamcp.web.incoming import Incoming
from metamcp.web.outgoing import Outgoing
from metamcp.web.present import serve
from metamcp.web.reading import read_body

blueprint = Blueprint("streamable", __name__)


def post(incoming: Incoming, endpoint: str) -> Outgoing:
    """One message of the client; a request is answered with JSON or a stream, the rest with 202."""
    body = read_body(incoming)
    if stateless.is_meant(incoming, body):
        return stateless.post(incoming, endpoint, body)
    accepts = http_rules.accepts(incoming.header("Accept"))
    http_rules.require_json(incoming.header("Content-Type"))
    parts = messages.read(body)
    opening = any(message.method == "initialize" for message in parts.messages)
    if incoming.state.traces is not None:
        spans.begin(incoming, *parts.traced, incoming.header(streaming.SESSION_HEADER))
    client = _client(incoming, endpoint, session_required=not opening or parts.batch)
    if not opening:
        http_rules.check_version(client.revision)
    resumable = _resumable(incoming, client, accepts)
    exchange = incoming.state.gateway.exchange(parts.request(client, resumable.name))
    return streaming.answer(revocable(incoming, exchange), accepts, incoming.state.heartbeat, resumable)


def listen(incoming: Incoming, endpoint: str) -> Outgoing:
    """A stream for what belongs to no call."""
    stateless.refuse_other_methods(incoming)
    if incoming.method == "HEAD":
        return streaming.head()
    if not http_rules.takes_events(incoming.header("Accept")):
        # The one status that every client reads as "no stream for me": the SDK in TypeScript gives up at others.
        raise MethodNotAllowed(["POST", "DELETE"], f"GET opens a stream: Accept must contain {http_rules.SSE}")
    client = _client(incoming, endpoint, session_required=True)
    http_rules.check_version(client.revision)
    resumable = _resumable(incoming, client, http_rules.Accepts(json=False, sse=True))
    listening = Listen(client, resumable.name, incoming.header("Last-Event-ID") or "")

    def greeting(opened: Outbound) -> bytes:
        fresh = opened.data.decode() == resumable.name
        return (resumable.opening if fresh else b"") or b": open\n\n"

    exchange = incoming.state.gateway.exchange(listening)
    return streaming.stream(incoming, revocable(incoming, exchange), greeting)


def delete(incoming: Incoming, endpoint: str) -> Outgoing:
    """The client ends its session (Session Management)."""
    stateless.refuse_other_methods(incoming)
    exchange = incoming.state.gateway.exchange(Delete(_client(incoming, endpoint, session_required=True)))
    outgoing = streaming.answer(exchange, http_rules.Accepts(json=True, sse=False), incoming.state.heartbeat)
    if outgoing.status == 202:
        outgoing.status = 200
    return outgoing


serve(blueprint, "POST", "mcp", post)
serve(blueprint, "GET", "mcp", listen)
serve(blueprint, "DELETE", "mcp", delete)


def _resumable(incoming: Incoming, client: Client, accepts: http_rules.Accepts) -> streaming.Resumable:
    revision = HANDSHAKE.get(client.revision)
    name = incoming.state.streams.name() if accepts.sse else ""
    return streaming.Resumable(name, primes=revision is not None and revision.priming)


def _client(incoming: Incoming, endpoint: str, session_required: bool) -> Client:
    session = incoming.header(streaming.SESSION_HEADER) or ""
    if session_required and not session:
        raise InvalidRequest(f"the header {streaming.SESSION_HEADER} is missing: initialize first")
    revision = incoming.header("MCP-Protocol-Version") or ""
    if not session_required:
        return caller.opening(incoming, endpoint, "http", revision)
    return caller.client(incoming, endpoint, "http", session, revision)
