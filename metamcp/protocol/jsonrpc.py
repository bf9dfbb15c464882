"""The JSON-RPC 2.0 envelope, with payloads left as the bytes that they came in.

Only the envelope's own members are decoded. ``id``, ``params``, ``result`` and ``error`` stay raw, so that
what the gateway does not change leaves it byte for byte as it came: big integers, escapes, key order, keys that
come twice. Two things are not kept: line ends between the values of a payload become spaces where a message has to
be one line (stdio, server-sent events), and bytes that are no UTF-8 become U+FFFD.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

from metamcp.errors import InvalidParams, InvalidRequest, ParseError
from metamcp.protocol.halves import Veiled, spell, veil

Raw = msgspec.Raw
Kind = Literal["request", "notification", "response"]
JsonObject = dict[str, Raw]
T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


MAX_ID, MAX_METHOD = 1024, 256
"""Of a request: they are kept, compared and sent back, and nobody needs more of them."""


class NestedTooDeeply(ParseError):
    """JSON, perhaps, but of more levels (about a thousand) than the decoder can go down."""


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
        if not self.error:
            return b""
        error = bytes(self.error)
        return b"" if error == b"null" else error

    @property
    def kind(self) -> Kind:
        if self.method is None:
            return "response"
        return "request" if self.id else "notification"


_envelope = msgspec.json.Decoder(Message)
_object = msgspec.json.Decoder(JsonObject)
_array = msgspec.json.Decoder(list[Raw])
_string = msgspec.json.Decoder(str)

_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
_BRACE = ord("{")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def parse(data: bytes) -> Message:
    """Decode one message (JSON-RPC 2.0, sections 4 and 5; MCP, Base Protocol: an id is a string or an integer).

    Raises ParseError (not JSON), NestedTooDeeply or InvalidRequest (JSON, but no message).
    """
    try:
        message = _decode(data)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"not a JSON-RPC 2.0 message: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ParseError(f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise NestedTooDeeply("the message is nested too deeply to be read") from error
    _check(message)
    return message


def _decode(data: bytes) -> Message:
    """Bytes that are no UTF-8 are replaced by U+FFFD: not every reader would survive them, and to refuse them would
    leave a call without its answer. A byte order mark before the message is ignored (RFC 8259, section 8.1)."""
    if not data.isascii():
        data = _utf8(data.removeprefix(_BYTE_ORDER_MARK))
    try:
        return _envelope.decode(data)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        veiled = veil(data)
        if veiled is None:
            raise
    return _unveil(_envelope.decode(veiled.data), veiled)


_ID_AT_THE_BEGINNING = re.compile(rb'\s*\{(?:\s*"jsonrpc"\s*:\s*"2\.0"\s*,)?\s*"id"\s*:\s*(\d+)\s*,')
_ID_AT_THE_END = re.compile(rb'.*,\s*"id"\s*:\s*(\d+)\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*', re.DOTALL)


def id_of_unreadable(data: bytes) -> bytes:
    """The numeric id of a message that is nested too deeply, where known writers put it: at its beginning, or at its
    end. Empty when it is not there."""
    found = _ID_AT_THE_BEGINNING.match(data[:200]) or _ID_AT_THE_END.fullmatch(data[-200:])
    return found[1] if found else b""


def _unveil(message: Message, veiled: Veiled) -> Message:
    """The payloads as they came. In the method, which is a name of the protocol and no payload, halves become ``?``."""
    method = message.method and veiled.text_of(message.method).encode("utf-8", "replace").decode()
    members = (message.id, message.params, message.result, message.error)
    return Message(message.jsonrpc, method, *(_original(member, veiled) for member in members))


def _original(raw: Raw, veiled: Veiled) -> Raw:
    return Raw(veiled.bytes_of(bytes(raw)))


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
        if not message.result and not message.error:  # empty is false, and nothing is copied to see it
            raise InvalidRequest("a message needs a method, a result or an error")
        if not identifier:
            raise InvalidRequest("a response needs the id of its request")
    elif identifier and not valid_id(identifier):
        raise InvalidRequest("an id must be a string or an integer")
    elif len(identifier) > MAX_ID or len(message.method) > MAX_METHOD:
        raise InvalidRequest(f"an id must not be longer than {MAX_ID} bytes, a method than {MAX_METHOD} characters")
    if message.params and memoryview(message.params)[0] != _BRACE:
        raise InvalidRequest("params must be an object")


def valid_id(identifier: bytes) -> bool:
    """A string, or a number without fraction and exponent (MCP, Base Protocol, Requests)."""
    return identifier[:1] == b'"' or not identifier.strip(b"-0123456789")


def id_key(identifier: bytes) -> bytes:
    """Equal for equal ids, whatever escapes they were written with; ``1`` and ``"1"`` differ."""
    escaped = identifier[:1] == b'"' and b"\\" in identifier
    return encode(decode_string(identifier, "id")) if escaped else identifier


def decode_object(raw: Raw | bytes, what: str = "params") -> JsonObject:
    """One level of an object; the members stay raw, in their order. Absent is empty. Raises InvalidParams."""
    if not raw:
        return {}
    try:
        return _object.decode(raw)
    except _UNREADABLE as error:
        found, veiled = _decode_veiled(_object, raw, f"{what} must be an object: {error}")
    return {veiled.text_of(name): _original(member, veiled) for name, member in found.items()}


def decode_array(raw: Raw | bytes, what: str) -> list[Raw]:
    """The members of an array, raw. Raises InvalidParams."""
    try:
        return _array.decode(raw)
    except _UNREADABLE as error:
        found, veiled = _decode_veiled(_array, raw, f"{what} must be an array: {error}")
    return [_original(item, veiled) for item in found]


def decode_string(raw: Raw | bytes | None, what: str) -> str:
    """A string member. It may hold halves of surrogate pairs as code points, which ``encode`` writes as escapes
    again, but ``str.encode`` refuses. Raises InvalidParams when the member is absent or something else."""
    try:
        return _string.decode(raw or b"")
    except _UNREADABLE:
        found, veiled = _decode_veiled(_string, raw or b"", f"{what} must be a string")
    return veiled.text_of(found)


def _decode_veiled(decoder: msgspec.json.Decoder[T], raw: Raw | bytes, refusal: str) -> tuple[T, Veiled]:
    """What could not be decoded because of halves of surrogate pairs; InvalidParams(refusal) when it was not that."""
    veiled = veil(bytes(raw))
    if veiled is None:
        raise InvalidParams(refusal)
    try:
        return decoder.decode(veiled.data), veiled
    except _UNREADABLE as error:
        raise InvalidParams(refusal) from error


class _ErrorObject(msgspec.Struct):
    code: int = 0


def error_code(error: bytes) -> int:
    """The code of a raw error object; 0 when there is none."""
    try:
        return msgspec.json.decode(error, type=_ErrorObject).code
    except _UNREADABLE:
        return 0


def encode(value: Any) -> bytes:
    """Compact JSON; Raw values go in as they are."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return spell(value, _encode)


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
    body = error if isinstance(error, bytes) else encode(error)
    return b'{"jsonrpc":"2.0","id":' + (identifier or b"null") + b',"error":' + body + b"}"
