"""Who is calling, and whether by a name that is ours (MCP, Transports, Security Warning: DNS rebinding)."""

from __future__ import annotations

from flask import request

from metamcp.protocol import http_rules
from metamcp.web.state import web_state

ANONYMOUS = "anonymous"


def check_origin() -> None:
    """Before every request. Raises RequestRefused (403) or MisdirectedRequest (421)."""
    state = web_state()
    http_rules.check_host(request.headers.get("Host"), state.allowed_hosts)
    http_rules.check_origin(request.headers.get("Origin"), state.allowed_origins)


def principal() -> str:
    """The name that sessions are bound to."""
    return ANONYMOUS
