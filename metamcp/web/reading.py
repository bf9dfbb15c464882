"""The body of one request, under a bound over all bodies that this worker is reading."""

from __future__ import annotations

from typing import BinaryIO, cast

from werkzeug.exceptions import RequestEntityTooLarge

from metamcp.errors import InvalidRequest, RequestTimeout
from metamcp.protocol.http_head import MAX_BODY
from metamcp.web import caller
from metamcp.web.incoming import Incoming

FREE_BYTES = 64 * 1024
"""Of a body that are never counted; there are no more of them than connections."""


def read_body(incoming: Incoming) -> bytes:
    """The whole body. Raises RequestTimeout, InvalidRequest for one that ends early or is malformed, what ``Budget``
    raises, and 413."""
    try:
        return _read(incoming)
    except TimeoutError as error:
        raise RequestTimeout("the body of the request did not come in time") from error
    except OSError as error:
        raise InvalidRequest("the body ends early, or its chunks are malformed") from error


def _read(incoming: Incoming) -> bytes:
    source = cast("BinaryIO", incoming.environ["wsgi.input"])
    announced = _announced(incoming)
    if announced is not None and announced <= FREE_BYTES:
        return _whole(source, announced)
    begin = b"" if announced is not None else _up_to(source, FREE_BYTES)
    if announced is None and len(begin) < FREE_BYTES:
        return begin
    with incoming.state.bodies.take(caller.owner(incoming), MAX_BODY if announced is None else announced):
        if announced is not None:
            return _whole(source, announced)
        body = begin + _up_to(source, MAX_BODY + 1 - len(begin))
    if len(body) > MAX_BODY:
        raise RequestEntityTooLarge
    return body


def _announced(incoming: Incoming) -> int | None:
    """Bytes of the body; None when only its end tells, which the server must know then. Raises 413."""
    length = incoming.environ.get("CONTENT_LENGTH")
    if not length:
        return None if incoming.environ.get("wsgi.input_terminated") else 0
    if not length.isascii() or not length.isdigit() or int(length) > MAX_BODY:
        raise RequestEntityTooLarge
    return int(length)


def _whole(source: BinaryIO, count: int) -> bytes:
    body = _up_to(source, count)
    if len(body) < count:
        raise InvalidRequest("the body ends before its length")
    return body


def _up_to(source: BinaryIO, count: int) -> bytes:
    """``count`` bytes; fewer mean that there were no more."""
    first = source.read(count)
    if len(first) in (0, count):
        return first
    found = bytearray(first)
    while len(found) < count and (data := source.read(count - len(found))):
        found += data
    return bytes(found)
