"""The JSON-RPC 2.0 envelope, with payloads left as the bytes that they came in.

Only the envelope's own members are decoded. ``id``, ``params``, ``result`` and ``error`` stay raw, so that
what the gateway does not change leaves it byte for byte as it came: big integers, escapes, key order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from metamcp.errors import InvalidParams, InvalidRequest, ParseError

Raw = msgspec.Raw
Kind = Literal["request", "notification", "response"]
JsonObject = dict[str, Raw]

_encode = msgspec.json.Encoder().encode


class Message(msgspec.Struct, frozen=True):
    """One envelope. An absent member is an empty Raw (``bytes(raw) == b""``); ``null`` is ``b"null"``."""

    jsonrpc: Literal["2.0"]
    method: str | None = None
    id: Raw = Raw(b"")
    params: Raw = Raw(b"")
    result: Raw = Raw(b"")
    error: Raw = Raw(b"")

    @property
    def failure(self) -> bytes:
        """The raw error of a response, or empty. Some peers write ``"error": null`` beside a result."""
        error = bytes(self.error)
        return b"" if error == b"null" else error

    @property
    def kind(self) -> Kind:
        if self.method is None:
            return "response"
        return "request" if bytes(self.id) else "notification"


_envelope = msgspec.json.Decoder(Message)
_object = msgspec.json.Decoder(JsonObject)
_array = msgspec.json.Decoder(list[Raw])

# An escaped pair, or any other escape: kept. Half of a pair alone: replaced.
_HALVES = re.compile(
    rb"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\(?!u[dD][89a-fA-F]).)"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def parse(data: bytes) -> Message:
    """Decode one message (JSON-RPC 2.0, sections 4 and 5; MCP, Base Protocol: an id is a string or an integer).

    Raises ParseError (not JSON) or InvalidRequest (JSON, but no message).
    """
    try:
        message = _decode(data)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"not a JSON-RPC 2.0 message: {error}") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ParseError(f"the body is not JSON: {error}") from error
    _check(message)
    return message


def _decode(data: bytes) -> Message:
    """Text that is not Unicode is mended with U+FFFD. Servers that cut a long string in the middle of a character
    send such text: refusing it would leave their call without an answer, and not every reader survives it."""
    if not data.isascii():
        data = _utf8(data)
    try:
        return _envelope.decode(data)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if b"\\ud" not in data.lower():
            raise
        return _envelope.decode(_HALVES.sub(lambda found: found[1] or rb"\ufffd", data))


def _utf8(data: bytes) -> bytes:
    # The envelope's decoder does not look into strings of raw members.
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace").encode()
    return data


def _check(message: Message) -> None:
    identifier = bytes(message.id)
    if message.method is None:
        if not bytes(message.result) and not bytes(message.error):
            raise InvalidRequest("a message needs a method, a result or an error")
        if not identifier:
            raise InvalidRequest("a response needs the id of its request")
    elif identifier and not valid_id(identifier):
        raise InvalidRequest("an id must be a string or an integer")
    if bytes(memoryview(message.params)[:1]) not in (b"", b"{"):
        raise InvalidRequest("params must be an object")


def valid_id(identifier: bytes) -> bool:
    """A string, or a number without fraction and exponent (MCP, Base Protocol, Requests)."""
    return identifier[:1] == b'"' or not identifier.strip(b"-0123456789")


def id_key(identifier: bytes) -> bytes:
    """Equal for equal ids, whatever escapes they were written with; ``1`` and ``"1"`` differ."""
    escaped = identifier[:1] == b'"' and b"\\" in identifier
    return _encode(msgspec.json.decode(identifier)) if escaped else identifier


def decode_object(raw: Raw | bytes, what: str = "params") -> JsonObject:
    """One level of an object; the members stay raw, in their order. Absent is empty. Raises InvalidParams."""
    if not bytes(raw):
        return {}
    try:
        return _object.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidParams(f"{what} must be an object: {error}") from error


def decode_array(raw: Raw | bytes, what: str) -> list[Raw]:
    """The members of an array, raw. Raises InvalidParams."""
    try:
        return _array.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidParams(f"{what} must be an array: {error}") from error


def decode_string(raw: Raw | bytes | None, what: str) -> str:
    """A string member. Raises InvalidParams when it is absent or something else."""
    try:
        return msgspec.json.decode(raw or b"", type=str)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidParams(f"{what} must be a string") from error


class _ErrorObject(msgspec.Struct):
    code: int = 0


def error_code(error: bytes) -> int:
    """The code of a raw error object; 0 when there is none."""
    try:
        return msgspec.json.decode(error, type=_ErrorObject).code
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0


def encode(value: Any) -> bytes:
    """Compact JSON; Raw values go in as they are."""
    return _encode(value)


def request(identifier: bytes, method: str, params: bytes) -> bytes:
    """One request; ``params`` empty means absent."""
    head = b'{"jsonrpc":"2.0","id":' + identifier + b',"method":' + _encode(method)
    return head + (b',"params":' + params + b"}" if params else b"}")


def notification(method: str, params: bytes) -> bytes:
    head = b'{"jsonrpc":"2.0","method":' + _encode(method)
    return head + (b',"params":' + params + b"}" if params else b"}")


def result_response(identifier: bytes, result: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":' + identifier + b',"result":' + result + b"}"


def error_response(identifier: bytes, error: bytes | Mapping[str, Any]) -> bytes:
    """``identifier`` empty means that the request's id is not known: ``null`` (JSON-RPC 2.0, section 5)."""
    body = error if isinstance(error, bytes) else _encode(error)
    return b'{"jsonrpc":"2.0","id":' + (identifier or b"null") + b',"error":' + body + b"}"
