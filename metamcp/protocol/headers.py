"""Headers that mirror the body: their coding, and ``Mcp-Param-*``.

MCP 2026-07-28, Streamable HTTP, Request Metadata.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from metamcp.errors import HeaderMismatch, ServerMisbehaved
from metamcp.protocol import json_schema, jsonrpc
from metamcp.protocol.jsonrpc import Raw

Path = tuple[str, ...]
Params = dict[str, str | None]
"""The ``Mcp-Param-*`` headers of a request: token in lower case -> decoded value; None where it is malformed or was
sent twice. Only a tool that recognises the header may refuse it, so it cannot be refused before the tool is known."""

PARAM_PREFIX = "Mcp-Param-"
ANNOTATION = "x-mcp-header"

_BLANKS = " \t"
_PLAIN = re.compile(r"[\x20-\x7e]*")
_FIELD = re.compile(r"[\t\x20-\x7e]*")
_CODED = re.compile(r"=\?base64\?(.*)\?=")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_INTEGRAL = re.compile(r"(-?)([0-9]+)(?:\.0+)?")
_SAFE_INTEGERS = 2**53  # those of JavaScript are below (Schema Extension)


# --- coding of values (Value Encoding) ---------------------------------------------------------------------


def encode(value: str) -> str:
    """A header value for any text: as it is, or ``=?base64?…?=`` when it would not survive the way."""
    looks_coded = value.startswith("=?base64?") and value.endswith("?=")
    if _PLAIN.fullmatch(value) and value == value.strip(_BLANKS) and not looks_coded:
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def decode(value: str) -> str:
    """The text that a header value stands for. Blanks around it do not count. Raises HeaderMismatch."""
    value = value.strip(_BLANKS)
    if not _FIELD.fullmatch(value):
        raise HeaderMismatch("a header value must be printable ASCII; encode other text as =?base64?…?=")
    coded = _CODED.fullmatch(value)
    return _decode_base64(coded[1]) if coded else value


def _decode_base64(payload: str) -> str:
    try:
        data = base64.b64decode(payload, validate=True)
        text = data.decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise HeaderMismatch("a header value is not the base64 of UTF-8 text") from error
    # Python lets bits behind the end pass: then two spellings would mean the same.
    if base64.b64encode(data).decode() != payload:
        raise HeaderMismatch("a header value is not in the canonical form of base64")
    return text


# --- the headers of one request ----------------------------------------------------------------------------


class Headers:
    """Fields by name in any case, blanks around the values dropped; remembers which name came more than once."""

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in fields:
            self._values.setdefault(name.lower(), []).append(value.strip(_BLANKS))

    def get(self, name: str) -> str | None:
        """The first value; None when the header is absent."""
        values = self._values.get(name.lower())
        return values[0] if values else None

    def repeated(self, name: str) -> bool:
        return len(self._values.get(name.lower(), ())) > 1

    def params(self) -> Params:
        """Every ``Mcp-Param-*``."""
        prefix = PARAM_PREFIX.lower()
        tokens = [name.removeprefix(prefix) for name in self._values if name.startswith(prefix)]
        return {token: self._param(prefix + token) for token in tokens if token}

    def _param(self, name: str) -> str | None:
        if self.repeated(name):
            return None
        try:
            return decode(self._values[name][0])
        except HeaderMismatch:
            return None


# --- annotated arguments (Custom Headers from Tool Parameters) ---------------------------------------------


def mirrored(input_schema: Raw | bytes) -> dict[str, Path]:
    """The annotated arguments of a tool: token -> names of nested properties, in the order of the schema.

    Raises ServerMisbehaved when an annotation is invalid: such a tool must not be offered over HTTP.
    """
    try:
        schema = msgspec.json.decode(input_schema)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ServerMisbehaved(f"an inputSchema cannot be read: {error}") from error
    found: dict[str, Path] = {}
    for path, part in _schemas(schema):
        if ANNOTATION in part:
            token = _token(path, part)
            if token.lower() in {other.lower() for other in found}:
                raise ServerMisbehaved(f"{ANNOTATION} {token!r} stands on more than one property")
            found[token] = path or ()
    return found


def _token(path: Path | None, schema: Mapping[str, Any]) -> str:
    if not path:
        raise ServerMisbehaved(f"{ANNOTATION} stands where no chain of `properties` leads")
    token, where = schema[ANNOTATION], ".".join(path)
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise ServerMisbehaved(f"{ANNOTATION} of property {where!r} is not a header token")
    if schema.get("type") not in ("string", "integer", "boolean"):
        raise ServerMisbehaved(f"{ANNOTATION} of property {where!r}: the type must be string, integer or boolean")
    return token


def _schemas(root: Any) -> Iterator[tuple[Path | None, Mapping[str, Any]]]:
    """Every schema within ``root`` with its chain of property names; None behind any other keyword."""
    waiting: list[tuple[Path | None, Any]] = [((), root)]
    while waiting:
        path, schema = waiting.pop()
        if isinstance(schema, dict):
            yield path, schema
            waiting += reversed(list(_below(path, schema)))


def _below(path: Path | None, schema: Mapping[str, Any]) -> Iterator[tuple[Path | None, Any]]:
    for keyword, value in schema.items():
        if keyword == "properties" and isinstance(value, dict):
            for name, part in value.items():
                yield (None if path is None else (*path, name)), part
        elif keyword in json_schema.ONE:
            yield None, value
        elif keyword in json_schema.LIST and isinstance(value, list):
            yield from ((None, part) for part in value)
        elif keyword in json_schema.MAP and isinstance(value, dict):
            yield from ((None, part) for part in value.values())


def params_headers(annotations: Mapping[str, Path], arguments: bytes) -> dict[str, str]:
    """What a client must send beside a ``tools/call`` with these raw arguments: header name -> coded value."""
    rendered = ((token, _rendered(_value_at(arguments, path))) for token, path in annotations.items())
    return {PARAM_PREFIX + token: encode(text) for token, text in rendered if text is not None}


def check_params(annotations: Mapping[str, Path], arguments: bytes, headers: Mapping[str, str | None]) -> None:
    """Raises HeaderMismatch unless header and argument are both absent, or both there and equal.

    ``headers`` is what ``Headers.params`` gives; those that no annotation names are ignored.
    """
    for token, path in annotations.items():
        name = token.lower()
        problem = _disagreement(_value_at(arguments, path), name in headers, headers.get(name))
        if problem:
            raise HeaderMismatch(f"{PARAM_PREFIX}{token} {problem} (argument {'.'.join(path)!r})")


def _disagreement(argument: bytes, sent: bool, header: str | None) -> str:
    expected = _rendered(argument)
    if not sent:
        return "" if expected is None else "is missing"
    if header is None:
        return "is malformed or was sent more than once"
    if expected is None:
        return "was sent, but its argument has no value to mirror"
    number = argument[:1] not in (b'"', b"t", b"f")
    same = header == expected or (number and _integral(header) == expected)
    return "" if same else "does not equal its argument"


def _value_at(raw: bytes, path: Path) -> bytes:
    """The raw value, empty when it is absent or null."""
    for name in path:
        members = jsonrpc.decode_object(raw, "arguments") if raw[:1] == b"{" else {}
        raw = bytes(members.get(name, b""))
    return b"" if raw == b"null" else raw


def _rendered(raw: bytes) -> str | None:
    """The text that mirrors a raw value; None for what has none: an object, an array, nothing."""
    if raw[:1] in (b"", b"{", b"["):
        return None
    if raw[:1] == b'"':
        return jsonrpc.decode_string(raw, "an argument")
    text = raw.decode()
    return text if text in ("true", "false") else _number(text)


def _number(text: str) -> str:
    """An integer in its plain decimal form, however JSON spelled it; another number as it was spelled."""
    if (whole := _integral(text)) is not None:
        return whole
    value = float(text)
    return str(int(value)) if value.is_integer() and abs(value) < _SAFE_INTEGERS else text


def _integral(text: str) -> str | None:
    """``42``, ``042`` and ``42.0`` are all ``42``; compared as text, so that no length is too long."""
    found = _INTEGRAL.fullmatch(text)
    if not found:
        return None
    digits = found[2].lstrip("0")
    return found[1] + digits if digits else "0"
