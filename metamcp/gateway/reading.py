"""Asking one server for everything that it lists, in either era (MCP 2025-11-25 and 2026-07-28, Pagination)."""

from __future__ import annotations

from collections.abc import Callable

from metamcp.errors import InvalidParams, MetaMCPError, ServerMisbehaved, ServerUnavailable
from metamcp.gateway.listings import KINDS, Entry, Item, Kind
from metamcp.protocol import envelope, jsonrpc
from metamcp.protocol.jsonrpc import JsonObject, Raw
from metamcp.telemetry import logs
from metamcp.upstream.connection import UpstreamCall, UpstreamConnection
from metamcp.upstream.opening import OWN_INFO

_MAX_PAGES = 1000
_GATEWAY_CODES = range(-31005, -31000)
_log = logs.get("gateway.reading")


class Reading:
    """One pass over all lists of one server, every page of each."""

    def __init__(self, connection: UpstreamConnection, over: Callable[[Entry | MetaMCPError], None]) -> None:
        self._connection = connection
        self._over = over
        self._found: dict[str, tuple[Item, ...]] = {}
        self._page: list[Item] = []
        self._cursors: set[bytes] = set()
        self._todo: list[Kind] = []
        self._capabilities: JsonObject = {}

    def begin(self) -> None:
        self._connection.when_ready(self._ready)

    def _ready(self, error: MetaMCPError | None) -> None:
        if error is not None:
            self._over(error)
            return
        try:
            says = self._connection.server_says
            self._capabilities = jsonrpc.decode_object(says.get("capabilities", Raw(b"{}")), "capabilities")
        except InvalidParams as invalid:
            self._over(self._misbehaved(invalid.text))
            return
        self._todo = [kind for kind in KINDS if kind.capability in self._capabilities]
        self._next_kind()

    def _next_kind(self) -> None:
        self._page, self._cursors = [], set()
        if self._todo:
            self._request(self._todo[0], {})
        else:
            self._over(self._entry())

    def _request(self, kind: Kind, params: JsonObject) -> None:
        def answered(result: bytes | None, error: bytes | MetaMCPError | None) -> None:
            if isinstance(error, MetaMCPError):
                self._over(error)
            elif error is not None and (problem := _not_answered(error, self._connection.spec.name)):
                self._over(problem)
            elif error is not None:
                self._kind_over(kind)  # declared, but not implemented: common for templates
            else:
                self._take(kind, result or b"")

        try:
            self._connection.call(UpstreamCall(kind.method, self._dressed(params), answered))
        except MetaMCPError as refused:
            self._over(refused)

    def _dressed(self, params: JsonObject) -> JsonObject:
        return params if self._connection.era == "legacy" else envelope.wrap(params, b"{}", OWN_INFO, "")

    def _take(self, kind: Kind, result: bytes) -> None:
        try:
            members = jsonrpc.decode_object(result, f"the result of {kind.method}")
            for raw in jsonrpc.decode_array(members.get(kind.member, b"[]"), kind.member):
                body = jsonrpc.decode_object(raw, f"an item of {kind.member}")
                self._page.append(Item(jsonrpc.decode_string(body.get(kind.identity), kind.identity), body))
        except InvalidParams as error:
            self._over(self._misbehaved(error.text))
            return
        cursor = bytes(members.get("nextCursor", Raw(b"null")))
        if cursor == b"null":
            self._kind_over(kind)
        elif cursor in self._cursors or len(self._cursors) >= _MAX_PAGES:
            _log.warning("cursor-loops", extra=logs.fields(server=self._connection.spec.name, method=kind.method))
            self._kind_over(kind)
        else:
            self._cursors.add(cursor)
            self._request(kind, {"cursor": Raw(cursor)})

    def _kind_over(self, kind: Kind) -> None:
        self._found[kind.name] = tuple(self._page)
        self._todo.pop(0)
        self._next_kind()

    def _entry(self) -> Entry:
        try:
            instructions = jsonrpc.decode_string(self._connection.server_says.get("instructions"), "instructions")
        except InvalidParams:
            instructions = ""
        return Entry(self._connection.spec.name, self._capabilities, instructions, self._found)

    def _misbehaved(self, text: str) -> ServerMisbehaved:
        name = self._connection.spec.name
        return ServerMisbehaved(f"server {name!r} answered against the protocol: {text}", server=name)


def _not_answered(error: bytes, server: str) -> ServerUnavailable | None:
    """An error of a gateway's own, ours or one behind it, says that the server was not asked (docs/operations.md): the
    list that is known stays. Every other error says that there is no such list."""
    if jsonrpc.error_code(error) not in _GATEWAY_CODES:
        return None
    try:
        text = jsonrpc.decode_string(jsonrpc.decode_object(error).get("message"), "message")
    except InvalidParams:
        text = f"server {server!r} could not be asked"
    return ServerUnavailable(text, server=server)
