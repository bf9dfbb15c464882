"""What is going on: servers, sessions, calls. The first state is in the page; scripts keep it up to date."""

from __future__ import annotations

from flask import Response
from werkzeug.exceptions import NotFound

from metamcp.web.console import documents
from metamcp.web.console.documents import Document
from metamcp.web.console.pages import page


def servers() -> Response:
    status = documents.status()
    return page("servers.html", snapshot=status, servers=[_said_once(server) for server in status["servers"]])


def server(server: str) -> Response:
    """One of them, with what it writes to its standard error."""
    status = documents.status()
    found = next((it for it in status["servers"] if it["name"] == server), None)
    if found is None:
        raise NotFound(f"there is no server {server!r} (any more)")
    children = [child for child in status["children"] if child["server"] == server]
    return page("server.html", server=_said_once(found), children=children, lines=documents.stderr(server))


def _said_once(server: Document) -> Document:
    """Some reasons hold the advice already; ``static/overview.js`` does the same."""
    return server | {"advice": None} if (server["advice"] or "") in (server["reason"] or "") else server


def sessions() -> Response:
    status = documents.status()
    return page("sessions.html", sessions=status["sessions"], children=status["children"])


def calls() -> Response:
    return page("calls.html", calls=documents.asked("calls"))


def diagnostics() -> Response:
    """What the checks would do; ``actions.diagnose`` does it."""
    return page("diagnostics.html", report=None)
