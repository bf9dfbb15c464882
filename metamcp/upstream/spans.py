"""The CLIENT span of a call: from its line being written to the server to the answer."""

from __future__ import annotations

from urllib.parse import urlsplit

from metamcp.errors import InvalidParams, MetaMCPError
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import JsonObject
from metamcp.runtime.child import Child
from metamcp.telemetry.spans import Span

_NAMED = {"tools/call": "gen_ai.tool.name", "prompts/get": "gen_ai.prompt.name"}


def begin(parent: Span, server: str, url: str, child: Child, method: str, params: JsonObject, identifier: int) -> Span:
    """``url``: of a server that runs elsewhere, else empty; ``identifier``: of the request that the server gets."""
    name = _text(params, "name") if method in _NAMED else ""
    attributes: dict[str, str | int] = {
        "mcp.method.name": method, "jsonrpc.request.id": str(identifier), "metamcp.server": server,
    }  # fmt: skip
    if method in _NAMED:
        attributes[_NAMED[method]] = name
    if method == "tools/call":
        attributes["gen_ai.operation.name"] = "execute_tool"
    if child.session:
        attributes["mcp.session.id"] = child.short_session
    attributes |= _over_network(url) if url else {"network.transport": "pipe"}
    if child.container_name:
        attributes["container.name"] = child.container_name
    return parent.child(f"{method} {name}".rstrip(), "client", attributes)


def end(span: Span, method: str, result: bytes | None, error: bytes | MetaMCPError | None) -> None:
    if isinstance(error, MetaMCPError):
        span.set({"rpc.response.status_code": str(error.code)})
        span.end(error.rule, "" if error.fault == "client" else error.headline)
    elif error is not None:
        code = str(jsonrpc.error_code(error))
        span.set({"rpc.response.status_code": code})
        span.end(code)
    else:
        span.end("tool_error" if method == "tools/call" and _is_error(result or b"") else "")


def _over_network(url: str) -> dict[str, str | int]:
    """Host and port alone: the rest of a URL may hold a key."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {
        "network.transport": "tcp", "network.protocol.name": "http",
        "server.address": parts.hostname or "", "server.port": port,
    }  # fmt: skip


def _is_error(result: bytes) -> bool:
    """The tool failed, which is a result (2025-11-25, Tools, Error Handling)."""
    if b'"isError"' not in result:
        return False
    try:
        return bytes(jsonrpc.decode_object(result).get("isError", b"")) == b"true"
    except InvalidParams:
        return False


def _text(params: JsonObject, name: str) -> str:
    try:
        return jsonrpc.decode_string(params.get(name), name)
    except InvalidParams:
        return ""
