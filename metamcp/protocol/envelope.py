"""The metadata of a request of MCP 2026-07-28: its revision, and its client, in ``params._meta`` (Base Protocol)."""

from __future__ import annotations

from dataclasses import dataclass, field

from metamcp.errors import InvalidParams
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import JsonObject, Raw

REVISION = "2026-07-28"

PROTOCOL_VERSION = "io.modelcontextprotocol/protocolVersion"
CLIENT_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO = "io.modelcontextprotocol/clientInfo"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"
SERVER_INFO = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"

LOG_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""From the lowest to the highest."""

_KEYS = frozenset({PROTOCOL_VERSION, CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL})


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a request says about its client. ``client_info`` is empty and ``log_level`` is "" when absent."""

    version: str
    capabilities: JsonObject = field(default_factory=dict)
    client_info: Raw = field(default_factory=lambda: Raw(b""))
    log_level: str = ""


def read(params: JsonObject) -> Envelope:
    """Raises InvalidParams (-32602, HTTP 400) when a required key is absent or a value has the wrong type."""
    meta = jsonrpc.decode_object(params.get("_meta", b""), "params._meta")
    missing = [key for key in (PROTOCOL_VERSION, CLIENT_CAPABILITIES) if key not in meta]
    if missing:
        raise InvalidParams(f"params._meta lacks {' and '.join(missing)}")
    return Envelope(
        version=jsonrpc.decode_string(meta[PROTOCOL_VERSION], PROTOCOL_VERSION),
        capabilities=jsonrpc.decode_object(meta[CLIENT_CAPABILITIES], CLIENT_CAPABILITIES),
        client_info=meta.get(CLIENT_INFO, Raw(b"")),
        log_level=_log_level(meta),
    )


def _log_level(meta: JsonObject) -> str:
    if LOG_LEVEL not in meta:
        return ""
    level = jsonrpc.decode_string(meta[LOG_LEVEL], LOG_LEVEL)
    if level not in LOG_LEVELS:
        raise InvalidParams(f"{LOG_LEVEL} must be one of {', '.join(LOG_LEVELS)}")
    return level


def is_modern(params: Raw | bytes) -> bool:
    """Do raw params carry the reserved version key? A bare ``_meta`` proves nothing: older revisions have it too."""
    try:
        meta = jsonrpc.decode_object(params).get("_meta", b"")
        return PROTOCOL_VERSION in jsonrpc.decode_object(meta, "_meta")
    except InvalidParams:
        return False


def strip(params: JsonObject) -> JsonObject:
    """``params`` without the envelope, for a server of an older revision. Progress token, trace and vendor keys
    stay; a ``_meta`` with nothing left in it does not. A ``_meta`` that is no object is left for its reader."""
    raw = bytes(params.get("_meta", b""))
    if raw[:1] != b"{":
        return dict(params)
    meta = jsonrpc.decode_object(raw, "_meta")
    kept = {key: value for key, value in meta.items() if key not in _KEYS}
    if not kept:
        return {key: value for key, value in params.items() if key != "_meta"}
    return params | {"_meta": Raw(raw if len(kept) == len(meta) else jsonrpc.encode(kept))}


def wrap(
    params: JsonObject, capabilities: Raw | bytes, client_info: Raw | bytes = b"", log_level: str = ""
) -> JsonObject:
    """``params`` with an envelope, for a server of 2026-07-28; other keys of ``_meta`` stay. ``capabilities`` is a raw
    ClientCapabilities of any revision. Raises InvalidParams when it, or ``_meta``, is not an object."""
    meta = jsonrpc.decode_object(strip(params).get("_meta", b""), "_meta")
    meta[PROTOCOL_VERSION] = Raw(jsonrpc.encode(REVISION))
    meta[CLIENT_CAPABILITIES] = Raw(_without_tasks(bytes(capabilities)))
    if bytes(client_info):
        meta[CLIENT_INFO] = Raw(bytes(client_info))
    if log_level:
        meta[LOG_LEVEL] = Raw(jsonrpc.encode(log_level))
    return params | {"_meta": Raw(jsonrpc.encode(meta))}


def _without_tasks(capabilities: bytes) -> bytes:
    """The capability of 2025-11-25 is none of 2026-07-28, where tasks are an extension."""
    members = jsonrpc.decode_object(capabilities, "capabilities")
    if capabilities and "tasks" not in members:
        return capabilities
    return jsonrpc.encode({name: value for name, value in members.items() if name != "tasks"})


def declares(capabilities: JsonObject, kind: str, mode: str = "") -> bool:
    """Has the client declared ``kind`` (``sampling``, ``roots``, ``elicitation``), and ``mode`` of it? An
    ``elicitation`` without modes means ``form`` (2026-07-28, Elicitation, Capabilities)."""
    raw = bytes(capabilities.get(kind, b""))
    if raw[:1] != b"{":
        return False
    modes = jsonrpc.decode_object(raw, kind)
    return not mode or mode in modes or (kind == "elicitation" and mode == "form" and not modes)


def with_subscription(params: JsonObject, identifier: bytes) -> JsonObject:
    """Params of a notification, or a result, of the ``subscriptions/listen`` with this raw id (Subscriptions)."""
    meta = jsonrpc.decode_object(params.get("_meta", b""), "_meta") | {SUBSCRIPTION_ID: Raw(identifier)}
    return params | {"_meta": Raw(jsonrpc.encode(meta))}


def without_subscription(params: JsonObject) -> JsonObject:
    """For a subscriber who knows nothing of the subscription that brought it here."""
    raw = bytes(params.get("_meta", b""))
    if SUBSCRIPTION_ID.encode() not in raw:
        return params
    meta = jsonrpc.decode_object(raw, "_meta")
    meta.pop(SUBSCRIPTION_ID, None)
    rest = {name: value for name, value in params.items() if name != "_meta"}
    return rest | {"_meta": Raw(jsonrpc.encode(meta))} if meta else rest
