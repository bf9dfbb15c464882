"""MCP for pages in a browser (WHATWG Fetch, CORS protocol), such as the inspector: which origins may read answers.

Only the routes of MCP, and what describes them to clients without a token: the operator's own routes are not for other
pages, whatever origin they come from.
"""

from __future__ import annotations

import re

from flask import Flask, Response

from metamcp.protocol.http_rules import origin_allowed
from metamcp.web.incoming import Incoming
from metamcp.web.outgoing import Outgoing
from metamcp.web.present import incoming

_ROUTES = re.compile(
    r"(?:/metamcp/[^/]+)?/(?:mcp|sse|message)/?"
    r"|/metamcp/[^/]+/api(?:/.*)?"
    r"|(?:/.*)?/\.well-known/oauth-protected-resource(?:/.*)?"
)  # fmt: skip
_METHODS = "GET, POST, DELETE, OPTIONS"
_HEADERS = (
    "accept", "authorization", "baggage", "content-type", "last-event-id", "mcp-method", "mcp-name",
    "mcp-protocol-version", "mcp-session-id", "traceparent", "tracestate", "x-api-key", "x-request-id",
)  # fmt: skip
_PARAMETER = re.compile(r"mcp-param-[!#$%&'*+.^_`|~0-9a-z-]+")
"""A header that repeats an argument of a tool (2026-07-28): the names are the server's, so a list cannot hold them."""

_EXPOSED = "Mcp-Session-Id, WWW-Authenticate, X-Request-ID"
_MAX_AGE = "600"  # seconds for which a browser need not ask again; the shortest limit of the known ones


def register(app: Flask) -> None:
    """After the check of the Origin, before any authentication: a browser sends no key with its first question."""
    app.before_request(lambda: _preflight(incoming()))

    def allow_all(response: Response) -> Response:
        if is_mcp(incoming().path):
            response.headers.extend(allow(incoming()))
        return response

    app.after_request(allow_all)


def allow(incoming: Incoming) -> list[tuple[str, str]]:
    """Of a route of MCP: what lets a page of an allowed origin read the answer, errors too. Of another origin it was
    refused before."""
    origin = incoming.header("Origin")
    if not origin or not origin_allowed(origin, incoming.state.allowed_origins):
        return [("Vary", "Origin")]
    return [
        ("Vary", "Origin"),
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", _EXPOSED),
    ]


def is_mcp(path: str) -> bool:
    return _ROUTES.fullmatch(path) is not None


def _preflight(incoming: Incoming) -> Response | None:
    """The answer to a browser that asks whether it may send the real request."""
    asked = incoming.header("Access-Control-Request-Method")
    if incoming.method != "OPTIONS" or not asked or not incoming.operation or not is_mcp(incoming.path):
        return None
    outgoing = Outgoing(204)
    outgoing.add("Access-Control-Allow-Methods", _METHODS)
    outgoing.add("Access-Control-Allow-Headers", ", ".join((*_HEADERS, *_parameters(incoming))))
    outgoing.add("Access-Control-Max-Age", _MAX_AGE)
    return outgoing.flask()


def _parameters(incoming: Incoming) -> list[str]:
    asked = (incoming.header("Access-Control-Request-Headers") or "").lower().split(",")
    return [name for name in map(str.strip, asked) if _PARAMETER.fullmatch(name)]
