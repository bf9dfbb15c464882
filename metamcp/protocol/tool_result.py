"""What a tool answers as one JSON value, for clients that know nothing of MCP.

Structured content is that value. Otherwise it is the one block of content, or an array of several: a text as the JSON
that it is, or else as a string; an image or a sound as a ``data:`` URL; anything else as the block itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from metamcp.errors import InvalidParams
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import JsonObject, Raw


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one call. ``value`` is JSON. ``error``: the tool reports one, and ``text`` is what it says for people;
    ``content`` and ``structured`` are raw, empty where there is none. ``asks``: it is no answer, but wants something of
    its client."""

    value: bytes = b"null"
    error: bool = False
    text: str = ""
    content: bytes = b""
    structured: bytes = b""
    asks: bool = False


def read(result: Raw | bytes) -> Answer:
    """Of a raw CallToolResult. Raises InvalidParams when it is none."""
    members = jsonrpc.decode_object(result, "the result")
    if bytes(members.get("resultType", b'"complete"')) != b'"complete"':
        return Answer(asks=True)
    content, structured = bytes(members.get("content", b"")), bytes(members.get("structuredContent", b""))
    blocks = [jsonrpc.decode_object(raw, "a block of content") for raw in _listed(content)]
    if bytes(members.get("isError", b"false")) == b"true":
        texts = [text for block in blocks if (text := _text(block)) is not None]
        return Answer(b"null", True, "\n".join(texts), content, structured)
    if structured not in (b"", b"null"):
        return Answer(structured)
    values = [_value(raw, block) for raw, block in zip(_listed(content), blocks, strict=True)]
    return Answer(values[0] if len(values) == 1 else b"[" + b",".join(values) + b"]")


def _listed(content: bytes) -> list[Raw]:
    return jsonrpc.decode_array(content, "content") if content not in (b"", b"null") else []


def _value(raw: Raw, block: JsonObject) -> bytes:
    text = _text(block)
    if text is not None:
        return _as_json(text) or bytes(block["text"])
    if _string(block, "type") in ("image", "audio"):
        url = f"data:{_string(block, 'mimeType')};base64,{_string(block, 'data')}"
        return jsonrpc.encode(url)
    return bytes(raw)


def _as_json(text: str) -> bytes:
    """The text itself, where it is JSON; else empty."""
    try:
        written = text.encode()
        msgspec.json.decode(written)
    except (ValueError, RecursionError):
        return b""
    return written


def _text(block: JsonObject) -> str | None:
    return _string(block, "text") if _string(block, "type") == "text" else None


def _string(block: JsonObject, name: str) -> str:
    try:
        return jsonrpc.decode_string(block.get(name), name)
    except InvalidParams:
        return ""
