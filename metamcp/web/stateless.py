"""Streamable HTTP of MCP 2026-07-28: every POST is a request for itself, without a session."""

from __future__ import annotations

import msgspec
from werkzeug.exceptions import MethodNotAllowed

from metamcp.errors import SupervisorAway
from metamcp.gateway.interface import Exchange, Is, Outbound, Stateless, failure
from metamcp.protocol import envelope, jsonrpc, ladder
from metamcp.protocol.headers import Headers
from metamcp.protocol.ladder import Asked, Refused, Told
from metamcp.protocol.versions import HANDSHAKE
from metamcp.web import caller, spans, streaming
from metamcp.web.auth import revocable
from metamcp.web.hangup import Watched
from metamcp.web.incoming import Incoming
from metamcp.web.outgoing import Outgoing


class _Final(msgspec.Struct):
    """Of a response only what decides how it is answered: results may be large."""

    id: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"")


class _Error(msgspec.Struct):
    code: int = 0


_final = msgspec.json.Decoder(_Final)
_error = msgspec.json.Decoder(_Error)


def is_meant(incoming: Incoming, body: bytes) -> bool:
    """Is this POST one of 2026-07-28, rather than of a revision with a handshake?"""
    if incoming.header(ladder.VERSION) in HANDSHAKE:
        return False  # nearly every request, without looking at all of its headers
    return ladder.era_of(_fields(incoming), body) == "stateless"


def refuse_other_methods(incoming: Incoming) -> None:
    """For GET and DELETE. Raises 405 with ``Allow: POST`` when the client speaks 2026-07-28."""
    if _fields(incoming).get(ladder.VERSION) == envelope.REVISION:
        raise MethodNotAllowed(["POST"], f"{envelope.REVISION} has neither sessions nor GET streams: use POST")


def post(incoming: Incoming, endpoint: str, body: bytes) -> Outgoing:
    """One message: a request is answered with JSON or a stream, a notification with 202."""
    found = ladder.climb(_fields(incoming), body)
    if isinstance(found, Refused):
        return _json(failure(found.error, found.id))
    if isinstance(found, Told):
        return Outgoing(202)
    if incoming.state.traces is not None:
        spans.begin(incoming, found.method, found.params, None)
    client = caller.opening(incoming, endpoint, "http", envelope.REVISION)
    asked = Stateless(client, found.method, found.id, found.params, found.mirrored)
    exchange = incoming.state.gateway.exchange(asked)
    return _answer(incoming, Watched(revocable(incoming, exchange), incoming.connection), found)


def _fields(incoming: Incoming) -> Headers:
    return Headers(incoming.headers.items())


def _answer(incoming: Incoming, exchange: Exchange, asked: Asked) -> Outgoing:
    """The status depends on the outcome, so a stream begins only with the first item, or after a heartbeat of
    silence; from then on an error is an event like others."""
    heartbeat = incoming.state.heartbeat
    first = exchange.next(heartbeat)
    while not asked.accepts.sse and not (first is not None and first.final):
        first = exchange.next(heartbeat)
    if first is not None and first.final:
        whole = _whole(first, asked)
        if whole is not None:
            exchange.close()
            return whole
    # Streams that may last for ever are ended with their worker, others get their answer.
    streams = incoming.state.streams if asked.method == ladder.LISTEN else None
    return streaming.events(streaming.Stream(exchange, first, heartbeat, streaming.Resumable().encode, streams=streams))


def _whole(final: Outbound, asked: Asked) -> Outgoing | None:
    """The answer as one JSON body; None when it has to be an event."""
    if final.kind == Is.ENDED:
        return _json(failure(SupervisorAway("the request was given up; try again", retryAfterMs=1000), asked.id))
    response = _final.decode(final.data)
    if bytes(response.error):
        return _json(_failed(final, response, asked.id))
    return _json(final) if asked.accepts.json and asked.method != ladder.LISTEN else None


def _failed(final: Outbound, response: _Final, identifier: bytes) -> Outbound:
    """An error with its HTTP status, and with the request's id also where nobody behind us knew it."""
    error = bytes(response.error)
    known = bytes(response.id) != b"null"
    data = final.data if known else jsonrpc.error_response(identifier, error)
    if final.kind == Is.FAILED:
        return msgspec.structs.replace(final, data=data)
    return Outbound(final.kind, data, _status(error))


def _status(error: bytes) -> int:
    try:
        return ladder.http_status(_error.decode(error).code)
    except msgspec.ValidationError:
        return 200  # it is as its server has written it


def _json(final: Outbound) -> Outgoing:
    return streaming.json_answer(msgspec.structs.replace(final, session=""))
