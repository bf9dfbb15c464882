"""Results and errors on their way from one era to the other; what does not change keeps its bytes.

``stateless`` is MCP 2026-07-28, ``handshake`` are the revisions before it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from metamcp.errors import InvalidParams, ServerMisbehaved
from metamcp.protocol import jsonrpc
from metamcp.protocol.envelope import SERVER_INFO
from metamcp.protocol.jsonrpc import JsonObject, Raw

CACHEABLE = frozenset(
    {
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
    }
)
"""Methods whose complete results say how long they hold (2026-07-28, Caching)."""

_RESOURCE_NOT_FOUND = -32002
_URL_ELICITATION = -32042
_RESERVED = range(-32099, -32019)
_DEFINED = (-32020, -32021, -32022)


def to_stateless(
    method: str, result: bytes, server_info: bytes, ttl_ms: int = 0, scope: str = "private"
) -> bytes:
    """A raw result with what 2026-07-28 demands of every result (Base Protocol, Responses), where it is absent.

    ``server_info`` is a raw Implementation. Raises ServerMisbehaved when the result is not an object.
    """
    members = _members(result, "a result")
    _default(members, "resultType", "complete")
    if method in CACHEABLE and bytes(members["resultType"]) == b'"complete"':
        _default(members, "ttlMs", ttl_ms)
        _default(members, "cacheScope", scope)
    meta = _members_if_object(members.get("_meta"))
    if SERVER_INFO not in meta:
        members["_meta"] = Raw(jsonrpc.encode(meta | {SERVER_INFO: Raw(server_info)}))
    return jsonrpc.encode(members)


def _default(members: JsonObject, name: str, value: str | int) -> None:
    """Servers that write out every absent member write ``null``."""
    if bytes(members.get(name, b"null")) == b"null":
        members[name] = Raw(jsonrpc.encode(value))


def error_to_stateless(method: str, error: bytes, uri: str = "") -> bytes:
    """A raw error without the codes that 2026-07-28 must not emit (Base Protocol, Error Codes): "resource not found"
    becomes -32602, for ``resources/read`` with ``data.uri``; reserved codes that it does not define become -32603."""
    members = _members(error, "an error")
    code = _code(members)
    if code == _RESOURCE_NOT_FOUND:
        members["code"] = Raw(b"-32602")
        if method == "resources/read" and uri:
            members["data"] = _with_uri(members.get("data"), uri)
    elif code in _RESERVED and code not in _DEFINED:
        members["code"] = Raw(b"-32603")
    else:
        return error
    return jsonrpc.encode(members)


def _with_uri(data: Raw | None, uri: str) -> Raw:
    members = _members_if_object(data)
    members.setdefault("uri", Raw(jsonrpc.encode(uri)))
    return Raw(jsonrpc.encode(members))


def elicitations_of(error: bytes) -> list[JsonObject] | None:
    """The params of ``elicitation/create`` that an error -32042 of 2025-11-25 asks for; None for any other error,
    and for one that asks for nothing readable. ``elicitationId`` is gone: 2026-07-28 has none."""
    try:
        members = jsonrpc.decode_object(error)
        if _code(members) != _URL_ELICITATION:
            return None
        data = jsonrpc.decode_object(members.get("data", b""))
        asked = [jsonrpc.decode_object(each) for each in jsonrpc.decode_array(data.get("elicitations", b""), "data")]
    except InvalidParams:
        return None
    for each in asked:
        each.pop("elicitationId", None)
        each.setdefault("mode", Raw(b'"url"'))
    return asked or None


def with_questions(result: bytes, asked: Callable[[str, bytes], bytes]) -> bytes:
    """A raw result of 2026-07-28, where it asks for input with what ``asked`` makes of the params of each request.
    Raises ServerMisbehaved for one that cannot be read, and what ``asked`` raises."""
    members = _members(result, "a result")
    if "inputRequests" not in members or _text(members.get("resultType", b'""'), "resultType") != "input_required":
        return result
    requests = _members(members["inputRequests"], "inputRequests")
    for key, raw in requests.items():
        request = _members(raw, f"inputRequests.{key}")
        params = asked(_text(request.get("method"), "method"), bytes(request.pop("params", b"")))
        requests[key] = Raw(jsonrpc.encode(request | ({"params": Raw(params)} if params else {})))
    return jsonrpc.encode(members | {"inputRequests": Raw(jsonrpc.encode(requests))})


def to_handshake(method: str, result: bytes) -> bytes:
    """A raw result without what older clients refuse: structured content and output schemas of other types than
    object, which 2026-07-28 allows. Additional members do not disturb them."""
    if method == "tools/call":
        return _without_other_content(result)
    return _without_other_schemas(result) if method == "tools/list" else result


def _without_other_content(result: bytes) -> bytes:
    members = _members(result, "a result")
    content = members.get("structuredContent")
    if content is None or _is_object(content):
        return result
    del members["structuredContent"]
    return jsonrpc.encode(members)


def _without_other_schemas(result: bytes) -> bytes:
    members = _members(result, "a result")
    try:
        tools = jsonrpc.decode_array(members.get("tools", b"[]"), "tools")
    except InvalidParams as error:
        raise ServerMisbehaved("a tools/list result is not readable") from error
    kept = [_tool(tool) for tool in tools]
    if all(new is old for new, old in zip(kept, tools, strict=True)):
        return result
    members["tools"] = Raw(jsonrpc.encode(kept))
    return jsonrpc.encode(members)


def _tool(tool: Raw) -> Raw:
    members = _members(tool, "a tool")
    schema = members.get("outputSchema")
    if schema is None or bytes(_members_if_object(schema).get("type", b"")) == b'"object"':
        return tool
    del members["outputSchema"]
    return Raw(jsonrpc.encode(members))


def _text(raw: Raw | bytes | None, what: str) -> str:
    try:
        return jsonrpc.decode_string(raw, what)
    except InvalidParams as error:
        raise ServerMisbehaved(error.text) from error


def _members(raw: Raw | bytes, what: str) -> JsonObject:
    try:
        return jsonrpc.decode_object(raw, what)
    except InvalidParams as error:
        raise ServerMisbehaved(error.text) from error


def _members_if_object(raw: Raw | None) -> JsonObject:
    return _members(raw, "a member") if raw is not None and _is_object(raw) else {}


def _code(error: JsonObject) -> int | None:
    try:
        return msgspec.json.decode(error.get("code", b""), type=int)
    except msgspec.DecodeError:
        return None


def _is_object(raw: Raw) -> bool:
    return bytes(memoryview(raw)[:1]) == b"{"
