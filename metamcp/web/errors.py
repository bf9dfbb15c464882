"""The WSGI edge: every error leaves as a JSON-RPC error object with a status, and none as a stack trace."""

from __future__ import annotations

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from metamcp.access.principal import ANONYMOUS
from metamcp.errors import MetaMCPError
from metamcp.gateway.interface import Client, failure
from metamcp.protocol import jsonrpc
from metamcp.protocol.http_rules import JSON
from metamcp.telemetry import logs
from metamcp.telemetry.edge import EDGE, UNREAD
from metamcp.web import caller, problems, spans
from metamcp.web.incoming import Incoming
from metamcp.web.outgoing import Outgoing
from metamcp.web.present import incoming as present
from metamcp.web.state import web_state
from metamcp.web.streaming import json_answer

_AUDITED = frozenset({401, 403, 408, 413, 421, 429, 503})
"""Of what the web tier itself answers; a request that is merely wrong is no refusal."""

_log = logs.get("web.errors")


def register(app: Flask) -> None:
    def handle(error: Exception) -> Response:
        incoming = present()
        return spans.over(incoming, answer(incoming, error)).flask()

    for kind in (MetaMCPError, HTTPException, Exception):
        app.register_error_handler(kind, handle)


def answer(incoming: Incoming, error: Exception) -> Outgoing:
    """What the client is told, in the form that it reads, and, of a refusal, the metrics and the audit log."""
    return problems.answered(incoming, _as_jsonrpc(incoming, error))


def _as_jsonrpc(incoming: Incoming, error: Exception) -> Outgoing:
    if isinstance(error, MetaMCPError):
        audit(incoming, error.http_status, error.rule)
        return json_answer(failure(error))
    if isinstance(error, HTTPException):
        audit(incoming, error.code or 500, error.name.lower().replace(" ", "-"))
        return _of_framework(error)
    _log.error("request-failed", exc_info=error, extra=logs.fields(request=incoming.request_id))
    return Outgoing(500, _body(-32603, "internal error of the gateway; its log has the details"), JSON)


def tell_unread(app: Flask, error: MetaMCPError, address: str) -> None:
    """For the server: a connection was refused whose request was never handed to the application."""
    EDGE.request(UNREAD, error.http_status)
    EDGE.refused(error.rule, error.http_status)
    state = web_state(app)
    client = Client("", ANONYMOUS, "http", address=caller.network(address))
    state.refusals.tell(state.gateway, client, error.http_status, error.rule)


def _of_framework(error: HTTPException) -> Outgoing:
    """404, 405, 413 and the like; its headers (``Allow``) stay."""
    outgoing = Outgoing(error.code or 500, _body(-32600, error.description or error.name), JSON)
    for name, value in error.get_headers():
        if name.lower() != "content-type":
            outgoing.add(name, value)
    return outgoing


def audit(incoming: Incoming, status: int, rule: str) -> None:
    """The refusal of a request, if it is one."""
    if status in _AUDITED:
        EDGE.refused(rule, status)
        state = incoming.state
        client = caller.client(incoming, incoming.endpoint or "", "http")
        state.refusals.tell(state.gateway, client, status, rule)


def _body(code: int, text: str) -> bytes:
    return jsonrpc.error_response(b"", {"code": code, "message": text})
