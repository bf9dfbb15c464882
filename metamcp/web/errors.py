"""The WSGI edge: every error leaves as a JSON-RPC error object with a status, and none as a stack trace."""

from __future__ import annotations

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from metamcp.errors import MetaMCPError
from metamcp.gateway.interface import failure
from metamcp.protocol import jsonrpc
from metamcp.protocol.http_rules import JSON
from metamcp.telemetry import logs
from metamcp.web.streaming import json_response

_log = logs.get("web.errors")


def register(app: Flask) -> None:
    app.register_error_handler(MetaMCPError, _ours)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def _ours(error: Exception) -> Response:
    assert isinstance(error, MetaMCPError)  # noqa: S101  registered for it
    return json_response(failure(error))


def _http(error: Exception) -> Response:
    """404, 405, 413 and the like of the framework; its headers (``Allow``) stay."""
    assert isinstance(error, HTTPException)  # noqa: S101  registered for it
    response = Response(_body(-32600, error.description or error.name), error.code, mimetype=JSON)
    for name, value in error.get_headers():
        if name.lower() != "content-type":
            response.headers[name] = value
    return response


def _unexpected(error: Exception) -> Response:
    _log.error("request-failed", exc_info=error)
    return Response(_body(-32603, "internal error of the gateway; its log has the details"), 500, mimetype=JSON)


def _body(code: int, text: str) -> bytes:
    return jsonrpc.error_response(b"", {"code": code, "message": text})
