"""One line for a remote server, and the HTTP headers that its message needs (MCP, Transports: Streamable HTTP)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metamcp.errors import MetaMCPError
from metamcp.protocol import jsonrpc, trace_context
from metamcp.protocol.envelope import PROTOCOL_VERSION
from metamcp.protocol.headers import encode
from metamcp.protocol.http_rules import JSON, SSE
from metamcp.protocol.jsonrpc import Kind, Raw

Headers = Mapping[str, str | bytes]

_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """``body`` has no line end. ``version`` is that of its envelope (2026-07-28: the request stands for itself, without
    a session); empty for a message of a session. ``trace``: the headers that repeat its trace context."""

    body: bytes
    kind: Kind
    method: str = ""
    id: bytes = b""
    params: bytes = b""
    version: str = ""
    trace: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> bytes:
        """Equal for the request and for what answers or cancels it."""
        return jsonrpc.id_key(self.id)

    @property
    def cancels(self) -> bytes:
        """The ``key`` of the request that a ``notifications/cancelled`` names; empty when it names none."""
        identifier = bytes(_member(self.params, "requestId"))
        return jsonrpc.id_key(identifier) if identifier else b""


def read(line: bytes, traced: bool = False) -> Outgoing:
    """``traced``: the trace context of its ``_meta`` is to stand in headers, too. Raises MetaMCPError when ``line`` is
    no message."""
    message = jsonrpc.parse(line)
    params = bytes(message.params)
    trace = trace_context.headers(params) if traced else {}
    version = _version(params)
    return Outgoing(line.strip(), message.kind, message.method or "", bytes(message.id), params, version, trace)


def headers(out: Outgoing, session: str, version: str) -> dict[str, str | bytes]:
    """What its POST says besides the configured headers. ``session`` and ``version`` are of the handshake."""
    common: dict[str, str | bytes] = {"Content-Type": JSON, "Accept": f"{JSON}, {SSE}", **out.trace}
    return common | (_stateless(out) if out.version else of_session(session, version))


def of_session(session: str, version: str) -> dict[str, str | bytes]:
    """Of everything that follows ``initialize`` (2025-06-18, Session Management, Protocol Version Header)."""
    found = {"Mcp-Session-Id": session, "MCP-Protocol-Version": version}
    return {name: value for name, value in found.items() if value}


def _stateless(out: Outgoing) -> dict[str, str | bytes]:
    found: dict[str, str | bytes] = {"MCP-Protocol-Version": out.version, "Mcp-Method": encode(out.method)}
    member = _NAMED_BY.get(out.method)
    name = _text(_member(out.params, member)) if member else ""
    return found | ({"Mcp-Name": encode(name)} if name else {})


def _version(params: bytes) -> str:
    if PROTOCOL_VERSION.encode() not in params:
        return ""  # the usual case, without decoding
    return _text(_member(bytes(_member(params, "_meta")), PROTOCOL_VERSION))


def _member(data: bytes, name: str) -> Raw:
    """A member of an object; empty when there is none, or no object."""
    try:
        return jsonrpc.decode_object(data).get(name, Raw(b""))
    except MetaMCPError:
        return Raw(b"")


def _text(raw: Raw) -> str:
    try:
        return jsonrpc.decode_string(raw, "")
    except MetaMCPError:
        return ""


def messages(data: bytes) -> list[bytes]:
    """What a body or an event says, as lines without their ends; 2025-03-26 allows several in one array. What is no
    message is returned as it is: the reader of the lines tells."""
    line = data.replace(b"\r", b" ").replace(b"\n", b" ").strip() if b"\n" in data or b"\r" in data else data.strip()
    if not line.startswith(b"["):
        return [line] if line else []
    try:
        return [bytes(one) for one in jsonrpc.decode_array(line, "a batch")]
    except MetaMCPError:
        return [line]


def answers(line: bytes, key: bytes) -> bool:
    """Is ``line`` the response to the request with ``key``?"""
    try:
        message = jsonrpc.parse(line)
    except MetaMCPError:
        return False
    return message.method is None and jsonrpc.id_key(bytes(message.id)) == key


def refusal(body: bytes) -> str:
    """The message of a JSON-RPC error without a usable id, as an HTTP error may carry one; empty when there is none."""
    error = bytes(_member(body, "error"))
    return _text(_member(error, "message"))
