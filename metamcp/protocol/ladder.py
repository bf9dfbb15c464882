"""Whether a POST is a request of MCP 2026-07-28, and which check it fails first (Streamable HTTP, Server Validation).

The order matters to clients: one that contradicts itself is told so before it is told that we do not speak its
version. What needs the tool's schema (``Mcp-Param-*`` against arguments) is checked where the tool is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from metamcp.errors import (
    HeaderMismatch,
    InvalidRequest,
    MetaMCPError,
    MethodNotFound,
    MissingClientCapability,
    UnsupportedVersion,
)
from metamcp.protocol import envelope, headers, http_rules, jsonrpc
from metamcp.protocol.envelope import REVISION, Envelope
from metamcp.protocol.headers import Headers, Params
from metamcp.protocol.http_rules import Accepts
from metamcp.protocol.jsonrpc import JsonObject, Message
from metamcp.protocol.versions import HANDSHAKE

Era = Literal["handshake", "stateless"]

VERSION = "MCP-Protocol-Version"
METHOD = "Mcp-Method"
NAME = "Mcp-Name"

LISTEN = "subscriptions/listen"
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""The param that ``Mcp-Name`` mirrors."""

METHODS = frozenset(NAMED) | {
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "completion/complete",
    "server/discover",
    LISTEN,
}
"""Every request of the revision. ``initialize``, ``ping`` and others of older revisions are removed."""

_STATUS = {-32601: 404} | dict.fromkeys((-32700, -32600, -32602, -32020, -32021, -32022), 400)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that passed. ``params`` is raw; ``mirrored`` are its ``Mcp-Param-*`` headers."""

    id: bytes
    method: str
    params: bytes
    envelope: Envelope
    mirrored: Params
    accepts: Accepts


@dataclass(frozen=True, slots=True)
class Told:
    """A notification. The revision defines none over HTTP: accept it and forget it. Above all a posted
    ``notifications/cancelled`` means nothing here: its id may be another client's."""


@dataclass(frozen=True, slots=True)
class Refused:
    """``id`` is that of the request, to be echoed; empty when it could not be read."""

    error: MetaMCPError
    id: bytes


def http_status(code: int) -> int:
    """Of a response whose JSON body is an error with this code."""
    return _STATUS.get(code, 200)


# --- which era ---------------------------------------------------------------------------------------------


def era(header: str | None, method: str | None, params: bytes) -> Era:
    """Who handles a POST with this ``MCP-Protocol-Version``. Without one, the envelope's version key tells.

    An ``initialize`` of an unknown version is a handshake: it negotiates the version in its body.
    """
    version = (header or "").strip()
    if version in HANDSHAKE:
        return "handshake"
    if version == REVISION:
        return "stateless"
    modern = envelope.is_modern(params)
    if method == "initialize":
        return "stateless" if version and modern else "handshake"
    return "stateless" if version or modern else "handshake"


def era_of(fields: Headers, body: bytes) -> Era:
    """The same for a body that nobody has read. One that is no single message is refused by its era, or, without
    a version header, by the older one, which knows batches."""
    header = fields.get(VERSION)
    if header in HANDSHAKE or header == REVISION:
        return era(header, None, b"")
    try:
        message = jsonrpc.parse(body)
    except MetaMCPError:
        return era(header, None, b"")
    return era(header, message.method, bytes(message.params))


# --- the ladder --------------------------------------------------------------------------------------------


def climb(fields: Headers, body: bytes) -> Asked | Told | Refused:
    """Judge a POST of this era by its headers and its body."""
    identifier = b""
    try:
        accepts = http_rules.accepts(fields.get("Accept"))
        http_rules.require_json(fields.get("Content-Type"))
        message = _message(body)
        identifier = bytes(message.id)
        return _request(fields, message, accepts) if identifier else _notification(fields)
    except MetaMCPError as error:
        return Refused(error, identifier)


def _message(body: bytes) -> Message:
    message = jsonrpc.parse(body)
    if message.kind == "response":
        # Not echoed: the id of a response is not an id of a request.
        raise InvalidRequest(f"a client of {REVISION} posts requests and notifications only")
    return message


def _notification(fields: Headers) -> Told:
    """Which headers it needs is not defined; a version that is not served is told so, as in a request."""
    if version := fields.get(VERSION):
        _check_served(version)
    return Told()


def _request(fields: Headers, message: Message, accepts: Accepts) -> Asked:
    method, raw = message.method or "", bytes(message.params)
    _check_single(fields)
    version = fields.get(VERSION)
    if version and version != REVISION and not envelope.is_modern(raw):
        _check_served(version)  # tells such a client more than which keys of an envelope it lacks
    params = jsonrpc.decode_object(raw)
    described = envelope.read(params)
    _check_mirrors(fields, method, params, described)
    _check_served(described.version)
    if method not in METHODS:
        raise MethodNotFound(f"{REVISION} has no method {method!r}")
    if method == LISTEN and not accepts.sse:
        raise http_rules.NotAcceptable(f"Accept must contain {http_rules.SSE}: {LISTEN} is answered with a stream")
    return Asked(bytes(message.id), method, raw, described, fields.params(), accepts)


def _check_single(fields: Headers) -> None:
    """The first and the last of two would be read by different readers. WSGI joins repeated fields with a comma,
    which neither a version nor a method contains."""
    joined = [name for name in (VERSION, METHOD) if "," in (fields.get(name) or "")]
    for name in (VERSION, METHOD, NAME):
        if fields.repeated(name) or name in joined:
            raise HeaderMismatch(f"the header {name} was sent more than once")


def _check_mirrors(fields: Headers, method: str, params: JsonObject, described: Envelope) -> None:
    _check_equal(VERSION, fields.get(VERSION), described.version)
    _check_equal(METHOD, fields.get(METHOD), method)
    source = NAMED.get(method, "")
    mirrored = params.get(source, jsonrpc.Raw(b"null"))
    if bytes(mirrored) != b"null":
        header = fields.get(NAME)
        # What is no string equals no header. Without the param there is nothing to compare; its reader will refuse.
        expected = jsonrpc.decode_string(mirrored, source) if bytes(mirrored)[:1] == b'"' else None
        _check_equal(NAME, None if header is None else headers.decode(header), expected)


def _check_equal(name: str, header: str | None, expected: str | None) -> None:
    if header is None:
        raise HeaderMismatch(f"the header {name} is missing")
    if header != expected:
        raise HeaderMismatch(f"the header {name} does not equal what the body says")


def _check_served(version: str) -> None:
    if version != REVISION:
        text = f"protocol version {version!r} is not served without a handshake"
        raise UnsupportedVersion(text, supported=[REVISION], requested=version)


def require(described: Envelope, kind: str, mode: str = "") -> None:
    """The last rung, for whoever knows that a request needs it. Raises MissingClientCapability."""
    if not envelope.declares(described.capabilities, kind, mode):
        needed: dict[str, dict[str, object]] = {kind: {mode: {}} if mode else {}}
        raise MissingClientCapability(f"this request needs the client capability {kind}", requiredCapabilities=needed)
