"""The body of the present request, under a bound over all bodies that this worker is reading."""

from __future__ import annotations

from flask import request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from metamcp.errors import InvalidRequest, RequestTimeout
from metamcp.protocol.http_head import MAX_BODY
from metamcp.web import caller
from metamcp.web.state import web_state

FREE_BYTES = 64 * 1024
"""Of a body that are never counted; there are no more of them than connections."""


def read_body() -> bytes:
    """The whole body. Raises RequestTimeout, InvalidRequest for one that ends early or is malformed, what ``Budget``
    raises, and 413."""
    try:
        return _read(request.content_length)
    except ClientDisconnected as error:
        if isinstance(error.__context__, TimeoutError):
            raise RequestTimeout("the body of the request did not come in time") from error
        raise InvalidRequest("the body ends early, or its chunks are malformed") from error


def _read(announced: int | None) -> bytes:
    begin = _beginning() if announced is None else b""
    if announced is None and len(begin) < FREE_BYTES:
        return begin
    count = MAX_BODY if announced is None else announced
    with web_state().bodies.take(caller.owner(), count if count > FREE_BYTES else 0):
        body = begin + request.get_data(cache=False)
    if announced is None and len(body) >= (request.max_content_length or MAX_BODY):
        raise RequestEntityTooLarge  # the stream ends there without a word
    return body


def _beginning() -> bytes:
    """Up to ``FREE_BYTES`` of a body that comes in chunks; less means that it has ended."""
    found = bytearray()
    while len(found) < FREE_BYTES and (data := request.stream.read(FREE_BYTES - len(found))):
        found += data
    return bytes(found)
