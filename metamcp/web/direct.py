"""The routes that carry calls, in front of Flask: the same checks and views, without what they do not need of it.

A POST with a message is nearly every request that there is, and a stream keeps what it was begun with. Flask's
contexts, routing, signals and response object cost more than all that is done for them (docs/decisions.md); the
blueprints keep the routes, and take whatever is not written as plainly as here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from metamcp.telemetry.edge import EDGE
from metamcp.web import auth, cors, errors, rates, request_ids, spans, sse, streamable
from metamcp.web.incoming import Incoming
from metamcp.web.outgoing import Outgoing, StartResponse
from metamcp.web.present import View
from metamcp.web.state import WebState

Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

_VIEWS: dict[tuple[str, str], tuple[str, View]] = {
    ("POST", "mcp"): ("streamable.post", streamable.post),
    ("GET", "mcp"): ("streamable.listen", streamable.listen),
    ("POST", "message"): ("sse.message", sse.message),
    ("GET", "sse"): ("sse.open_stream", sse.open_stream),
}
"""By method and the last part of the path: what it is called among Flask's routes, and who answers it."""

_KINDS = frozenset(kind for _, kind in _VIEWS)


class Direct:
    """A WSGI application; ``behind`` it is the one for everything else."""

    def __init__(self, behind: Application, state: WebState) -> None:
        self._behind = behind
        self._state = state

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        endpoint, kind = route(environ["PATH_INFO"])
        found = _VIEWS.get((environ["REQUEST_METHOD"], kind))
        if found is None:
            return self._behind(environ, start_response)
        operation, view = found
        outgoing = _serve(Incoming(environ, self._state, operation, endpoint), endpoint, view)
        EDGE.request(kind, outgoing.status)
        return outgoing.wsgi(start_response)


def route(path: str) -> tuple[str, str]:
    """The endpoint, and ``mcp``, ``sse`` or ``message`` (as metrics call these routes, too), of a path in its usual
    form; empty for all others."""
    parts = path.split("/")
    if len(parts) == 2:
        endpoint, kind = "default", parts[1]
    elif len(parts) == 4 and parts[1] == "metamcp":
        endpoint, kind = parts[2], parts[3]
    else:
        return "", ""
    return (endpoint, kind) if kind in _KINDS and endpoint and path.isascii() and not parts[0] else ("", "")


def _serve(incoming: Incoming, endpoint: str, view: View) -> Outgoing:
    """In the order in which the application has its checks (``application.py``)."""
    try:
        auth.check_origin(incoming)
        auth.admit(incoming)
        rates.check(incoming)
        outgoing = view(incoming, endpoint)
    except Exception as error:  # noqa: BLE001  the WSGI edge
        outgoing = errors.answer(incoming, error)
    spans.over(incoming, outgoing)
    outgoing.headers += cors.allow(incoming)
    outgoing.add(request_ids.HEADER, incoming.request_id)
    if challenge := auth.challenge_of(incoming, outgoing.status):
        outgoing.add("WWW-Authenticate", challenge)
    return outgoing
