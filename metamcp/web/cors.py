"""MCP for pages in a browser (WHATWG Fetch, CORS protocol), such as the inspector: which origins may read answers.

Only the routes of MCP, and what describes them to clients without a token: the operator's own routes are not for other
pages, whatever origin they come from.
"""

from __future__ import annotations

import re

from flask import Flask, Response, request

from metamcp.protocol.http_rules import origin_allowed
from metamcp.web.state import web_state

_ROUTES = re.compile(
    r"(?:/metamcp/[^/]+)?/(?:mcp|sse|message)/?"
    r"|(?:/.*)?/\.well-known/oauth-protected-resource(?:/.*)?"
)  # fmt: skip
_METHODS = "GET, POST, DELETE, OPTIONS"
_HEADERS = (
    "accept", "authorization", "content-type", "last-event-id", "mcp-method", "mcp-name", "mcp-protocol-version",
    "mcp-session-id", "x-api-key",
)  # fmt: skip
_PARAMETER = re.compile(r"mcp-param-[!#$%&'*+.^_`|~0-9a-z-]+")
"""A header that repeats an argument of a tool (2026-07-28): the names are the server's, so a list cannot hold them."""

_EXPOSED = "Mcp-Session-Id, WWW-Authenticate"
_MAX_AGE = "600"  # seconds for which a browser need not ask again; the shortest limit of the known ones


def register(app: Flask) -> None:
    """After the check of the Origin, before any authentication: a browser sends no key with its first question."""
    app.before_request(preflight)
    app.after_request(allow)


def preflight() -> Response | None:
    """The answer to a browser that asks whether it may send the real request."""
    asked = request.headers.get("Access-Control-Request-Method")
    if request.method != "OPTIONS" or not asked or request.url_rule is None or not _is_mcp():
        return None
    response = Response(status=204)
    response.headers["Access-Control-Allow-Methods"] = _METHODS
    response.headers["Access-Control-Allow-Headers"] = ", ".join((*_HEADERS, *_parameters()))
    response.headers["Access-Control-Max-Age"] = _MAX_AGE
    return response


def allow(response: Response) -> Response:
    """Lets a page of an allowed origin read the answer, errors too. Of another origin it was refused before."""
    if not _is_mcp():
        return response
    response.headers["Vary"] = "Origin"
    origin = request.headers.get("Origin")
    if origin and origin_allowed(origin, web_state().allowed_origins):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED
    return response


def _is_mcp() -> bool:
    return _ROUTES.fullmatch(request.path) is not None


def _parameters() -> list[str]:
    asked = request.headers.get("Access-Control-Request-Headers", "").lower().split(",")
    return [name for name in map(str.strip, asked) if _PARAMETER.fullmatch(name)]
