"""Between Flask and the checks and views of MCP: its present request as they know it, and their views as routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from flask import Blueprint, Flask, Response, g, request

from metamcp.web import request_ids, spans
from metamcp.web.incoming import Incoming
from metamcp.web.outgoing import Outgoing
from metamcp.web.state import web_state

_KEY = "metamcp_incoming"

View = Callable[..., Outgoing]
"""(request, endpoint of MCP, and what else the route names)"""


def incoming() -> Incoming:
    """One object for each request, since the checks note in it what they find."""
    if not hasattr(g, _KEY):
        endpoint = (request.view_args or {}).get("endpoint")
        setattr(g, _KEY, Incoming(request.environ, web_state(), request.endpoint or "", endpoint))
    return cast("Incoming", getattr(g, _KEY))


def register(app: Flask) -> None:
    """Each answer says what its request is called in the logs."""

    def name(response: Response) -> Response:
        response.headers[request_ids.HEADER] = incoming().request_id
        return response

    app.after_request(name)


def serve(blueprint: Blueprint, method: str, rule: str, view: View, *, strict: bool = False) -> None:
    """``view`` at ``rule`` of every endpoint, and of ``default`` also without its name. ``strict``: a slash at the end
    is another path."""

    def call(endpoint: str, **named: str) -> Response:
        asked = incoming()
        return spans.over(asked, view(asked, endpoint, **named)).flask()

    slash = {"strict_slashes": strict}
    name = view.__name__
    blueprint.add_url_rule(f"/metamcp/<endpoint>/{rule}", name, call, methods=[method], **slash)
    blueprint.add_url_rule(f"/{rule}", name, call, methods=[method], defaults={"endpoint": "default"}, **slash)
