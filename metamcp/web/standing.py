"""Streams of events for operators: the gateway's state as it changes, and what a server says on its standard error."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response

from metamcp.errors import InvalidRequest
from metamcp.gateway.interface import Ask, Is, Lines, Outbound
from metamcp.protocol import sse
from metamcp.web import auth, present, streaming
from metamcp.web.hangup import Watched
from metamcp.web.incoming import Incoming
from metamcp.web.operator import document, silent

_SECONDS = 5.0
_OPENING = b"retry: %d\n\n" % sse.RETRY_MS
_MOST_LINES = 1000

blueprint = Blueprint("standing", __name__)


@blueprint.get("/api/events")
def events() -> Response:
    """``status`` and ``calls``: each at once, and with each change."""
    return _stream(present.incoming(), Ask("events"), _named)


@blueprint.get("/api/servers/<server>/stderr")
def stderr(server: str) -> Response:
    """The lines that are kept, behind ``Last-Event-ID`` where that is given, and then each that comes."""
    incoming = present.incoming()
    return _stream(incoming, Ask("stderr", server, lines=_lines(incoming)), _numbered)


_LOST = b": the supervisor is away\n\n"


def _named(item: Outbound) -> bytes:
    if item.kind != Is.EVENT:
        return _LOST
    name, _, data = item.data.partition(b" ")
    return sse.event(data, name.decode())


def _numbered(item: Outbound) -> bytes:
    return sse.event(item.data, event_id=str(item.number)) if item.kind == Is.EVENT else _LOST


def _lines(incoming: Incoming) -> Lines:
    """Raises InvalidRequest. A ``Last-Event-ID`` that is none of ours names nothing that was seen."""
    seen = incoming.header("Last-Event-ID") or ""
    tail, follow = incoming.argument("tail") or str(_MOST_LINES), incoming.argument("follow") or "true"
    if not _whole(tail) or int(tail) > _MOST_LINES:
        raise InvalidRequest(f"the query parameter tail must be a number from 0 to {_MOST_LINES}")
    if follow not in ("true", "false"):
        raise InvalidRequest("the query parameter follow must be true or false")
    return Lines(int(seen) if _whole(seen) else 0, int(tail), follow == "true")


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16


def _stream(incoming: Incoming, question: Ask, encode: Callable[[Outbound], bytes]) -> Response:
    if incoming.method == "HEAD":
        return streaming.head().flask()
    state = incoming.state
    exchange = Watched(auth.revocable(incoming, state.gateway.exchange(question)), incoming.connection)
    first = exchange.next(_SECONDS)
    if first is None or first.kind != Is.OPENED:
        exchange.close()
        return document(silent(_SECONDS) if first is None or first.kind == Is.ENDED else first)
    body = streaming.Stream(exchange, None, state.heartbeat, encode, _OPENING, streams=state.streams)
    return streaming.events(body).flask()
