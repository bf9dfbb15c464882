"""Questions of operators, answered by whoever knows: one exchange, one JSON document."""

from __future__ import annotations

import msgspec
from flask import Response

from metamcp.gateway.interface import Ask, Is, Outbound, Subject
from metamcp.protocol import jsonrpc
from metamcp.protocol.http_rules import JSON
from metamcp.web.state import web_state


def ask(subject: Subject, timeout: float, argument: str = "") -> Outbound:
    """The final item, or FAILED with 503 when nothing came within ``timeout`` seconds."""
    return put(Ask(subject, argument), timeout)


def put(question: Ask, timeout: float) -> Outbound:
    """As ``ask``."""
    exchange = web_state().gateway.exchange(question)
    try:
        found = exchange.next(timeout)
    finally:
        exchange.close()
    return silent(timeout) if found is None or found.kind == Is.ENDED else found


def silent(timeout: float) -> Outbound:
    """FAILED: nothing came."""
    text = jsonrpc.encode({"error": {"message": f"the supervisor did not answer within {timeout:g} s"}})
    return Outbound(Is.FAILED, text, 503)


def document(found: Outbound) -> Response:
    return Response(found.data, found.status, mimetype=JSON)


def failure_text(found: Outbound) -> str:
    """The message of a FAILED item."""
    return str(msgspec.json.decode(found.data)["error"]["message"])
