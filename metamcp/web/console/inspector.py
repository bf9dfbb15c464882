"""The inspector: a session with an endpoint, whose client is the page. Its script speaks Streamable HTTP
(``static/mcp_client.js``) at a door of the console's own, which takes the operator's cookie, not the endpoint's key.

Any worker serves any of it, since sessions live in the supervisor.
"""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Response

from metamcp import __version__
from metamcp.errors import InvalidRequest
from metamcp.protocol import ladder
from metamcp.protocol.envelope import LOG_LEVELS
from metamcp.protocol.http_rules import JSON
from metamcp.protocol.versions import HANDSHAKE, LATEST
from metamcp.web import errors, orders, spans, streamable, streaming
from metamcp.web.console import documents, entering, tool_form
from metamcp.web.console.pages import page
from metamcp.web.outgoing import Outgoing
from metamcp.web.present import View, incoming
from metamcp.web.reading import read_body


class _Form(msgspec.Struct):
    """``sent``: the fields as they were filled in; None for a form that is still to be shown."""

    schema: Any = None
    sent: dict[str, str] | None = None


class _Fields(msgspec.Struct):
    """``arguments``: JSON, when nothing is wrong with what was sent. The rest is as in ``tool_form``."""

    fields: tuple[tool_form.Field, ...]
    arguments: str | None = None
    problem: str = ""


def inspect(name: str) -> Response:
    """The page; there is no session yet."""
    return page(
        "inspect.html", endpoint=name, may=entering.may(name), revisions=tuple(HANDSHAKE), latest=LATEST,
        levels=LOG_LEVELS, client=f"metamcp-inspector {__version__}",
    )  # fmt: skip


def send(name: str) -> Response:
    """One message of the client, as POST of Streamable HTTP. Who opens a session is noted in the audit log."""
    outgoing = _serve(streamable.post, name)
    if not incoming().header(streaming.SESSION_HEADER) and outgoing.status == 200:
        orders.give("inspect", f"{name} {_session(outgoing)[:8]}".strip())
    return outgoing.flask()


def listen(name: str) -> Response:
    """What belongs to no request, and what follows where a stream was lost, as GET of Streamable HTTP."""
    return _serve(streamable.listen, name).flask()


def end(name: str) -> Response:
    """The session, as DELETE of Streamable HTTP."""
    return _serve(streamable.delete, name).flask()


def fields() -> Response:
    """The fields of a schema that came with the session, and what was written into them. Raises InvalidRequest."""
    try:
        form = msgspec.convert(documents.read(read_body(incoming())), _Form)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("this needs JSON with a schema, and what was sent as texts") from error
    made = tool_form.fields_of(form.schema)
    filled = tool_form.fill(made, form.sent) if form.sent is not None else tool_form.Filled(made)
    arguments = None if filled.arguments is None else filled.arguments.decode()
    return Response(msgspec.json.encode(_Fields(filled.fields, arguments, filled.problem)), mimetype=JSON)


def _serve(view: View, name: str) -> Outgoing:
    """Raises InvalidRequest for a revision without sessions, whose requests would be nobody's, and what ``as_client``
    raises."""
    asked = incoming()
    if asked.header(ladder.VERSION) not in HANDSHAKE:
        raise InvalidRequest(f"the inspector has sessions: {ladder.VERSION} must be one of {', '.join(HANDSHAKE)}")
    seen = entering.as_client(asked, name)
    try:
        outgoing = view(seen, name)
    except Exception as error:  # noqa: BLE001  as at the edge: its client knows JSON alone
        outgoing = errors.answer(seen, error)
    return spans.over(seen, outgoing)


def _session(outgoing: Outgoing) -> str:
    """That was opened; "" for none."""
    return dict(outgoing.headers).get(streaming.SESSION_HEADER, "")
