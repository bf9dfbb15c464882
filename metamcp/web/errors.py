"""The WSGI edge: every error leaves as a JSON-RPC error object with a status, and none as a stack trace."""

from __future__ import annotations

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from metamcp.access.principal import ANONYMOUS
from metamcp.errors import MetaMCPError
from metamcp.gateway.interface import Client, failure
from metamcp.protocol import jsonrpc
from metamcp.protocol.http_rules import JSON
from metamcp.telemetry import logs
from metamcp.web import caller
from metamcp.web.state import web_state
from metamcp.web.streaming import json_response

_AUDITED = frozenset({401, 403, 408, 413, 421, 429, 503})
"""Of what the web tier itself answers; a request that is merely wrong is no refusal."""

_log = logs.get("web.errors")


def register(app: Flask) -> None:
    app.register_error_handler(MetaMCPError, _ours)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def _ours(error: Exception) -> Response:
    assert isinstance(error, MetaMCPError)  # noqa: S101  registered for it
    _audit(error.http_status, error.rule)
    return json_response(failure(error))


def _http(error: Exception) -> Response:
    """404, 405, 413 and the like of the framework; its headers (``Allow``) stay."""
    assert isinstance(error, HTTPException)  # noqa: S101  registered for it
    _audit(error.code or 500, error.name.lower().replace(" ", "-"))
    response = Response(_body(-32600, error.description or error.name), error.code, mimetype=JSON)
    for name, value in error.get_headers():
        if name.lower() != "content-type":
            response.headers[name] = value
    return response


def _unexpected(error: Exception) -> Response:
    _log.error("request-failed", exc_info=error)
    return Response(_body(-32603, "internal error of the gateway; its log has the details"), 500, mimetype=JSON)


def tell_unread(app: Flask, error: MetaMCPError, address: str) -> None:
    """For the server: a connection was refused whose request was never handed to the application."""
    state = web_state(app)
    client = Client("", ANONYMOUS, "http", address=caller.network(address))
    state.refusals.tell(state.gateway, client, error.http_status, error.rule)


def _audit(status: int, rule: str) -> None:
    if status in _AUDITED:
        state = web_state()
        client = caller.client((request.view_args or {}).get("endpoint", ""), "http")
        state.refusals.tell(state.gateway, client, status, rule)


def _body(code: int, text: str) -> bytes:
    return jsonrpc.error_response(b"", {"code": code, "message": text})
