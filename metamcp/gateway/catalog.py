"""What each server has, asked once: lists are served from here and start no container for a client.

A server is asked by a connection of the gateway's own, when the gateway starts, when the server says that a
list changed, and again after a failure. An old answer stays until a new one is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from metamcp import __version__
from metamcp.concurrency.reactor import Reactor
from metamcp.config.model import ServerSpec
from metamcp.errors import InvalidParams, MetaMCPError, ServerMisbehaved
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import JsonObject, Raw
from metamcp.protocol.versions import LATEST
from metamcp.telemetry import logs
from metamcp.upstream.connection import UpstreamCall, UpstreamConnection
from metamcp.upstream.pool import CATALOG, SHARED, UpstreamPool

_MAX_PAGES = 1000
_RETRY_FIRST, _RETRY_MOST = 5.0, 300.0  # seconds between attempts to ask a server that failed
_log = logs.get("gateway.catalog")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of thing that servers list (MCP, Server Features)."""

    name: str
    method: str
    member: str  # of the result
    identity: str  # of an item
    capability: str


TOOLS = Kind("tools", "tools/list", "tools", "name", "tools")
PROMPTS = Kind("prompts", "prompts/list", "prompts", "name", "prompts")
RESOURCES = Kind("resources", "resources/list", "resources", "uri", "resources")
TEMPLATES = Kind("templates", "resources/templates/list", "resourceTemplates", "uriTemplate", "resources")
KINDS = (TOOLS, PROMPTS, RESOURCES, TEMPLATES)


@dataclass(frozen=True, slots=True)
class Item:
    """One listed thing; ``body`` holds its members raw, in the server's order."""

    identity: str
    body: JsonObject


@dataclass(frozen=True, slots=True)
class Entry:
    """All that one server has. ``capabilities`` and ``instructions`` are of its InitializeResult."""

    server: str
    capabilities: JsonObject
    instructions: str
    items: Mapping[str, tuple[Item, ...]]  # by the kind's name


@dataclass(slots=True)
class _Server:
    spec: ServerSpec
    entry: Entry | None = None
    problem: str = ""
    asking: bool = False
    again: bool = False
    failures: int = 0
    settled: bool = False  # the first attempt is over, well or not


@dataclass(slots=True, eq=False)
class _Waiter:
    servers: frozenset[str]
    callback: Callable[[], None]
    done: bool = field(default=False)


class _GatewayItself:
    """Hears a server on a connection that belongs to no client: questions are refused, changes noted."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed

    def on_request(self, connection: UpstreamConnection, identifier: bytes, method: str, params: Raw) -> None:
        connection.refuse(identifier, method)

    def on_notification(self, connection: UpstreamConnection, method: str, params: Raw) -> None:
        if method.endswith("/list_changed"):
            self._changed(connection.spec.name)


def own_hello() -> bytes:
    """``initialize`` params of the gateway itself, with empty capabilities: nobody is there to be asked."""
    return jsonrpc.encode(
        {
            "protocolVersion": LATEST,
            "capabilities": {},
            "clientInfo": {"name": "metamcp", "version": __version__},
        }
    )


class Catalog:
    """Owned by the reactor's thread. ``on_change(server)`` is called when an answer differs from the last."""

    def __init__(
        self,
        reactor: Reactor,
        pool: UpstreamPool,
        servers: Mapping[str, ServerSpec],
        on_change: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._pool = pool
        self._servers = {name: _Server(spec, settled=not spec.enabled) for name, spec in servers.items()}
        self._on_change = on_change
        self._waiters: list[_Waiter] = []
        self.listener = _GatewayItself(self.refresh)

    def entry(self, server: str) -> Entry | None:
        return self._servers[server].entry

    def problem(self, server: str) -> str:
        """Why the last attempt failed; empty when it did not."""
        return self._servers[server].problem

    def refresh_all(self) -> None:
        for name, server in self._servers.items():
            if server.spec.enabled:
                self.refresh(name)

    def refresh(self, name: str) -> None:
        """Ask ``name`` again; a second wish while it is being asked is met by one more round."""
        server = self._servers[name]
        if server.asking:
            server.again = True
            return
        server.asking, server.again = True, False
        self._ask(server)

    def when_settled(self, servers: Iterable[str], timeout: float, callback: Callable[[], None]) -> None:
        """Call back once: when each of ``servers`` was asked at least once, or after ``timeout`` seconds."""
        waiter = _Waiter(frozenset(servers), callback)
        self._waiters.append(waiter)
        self._wake()
        if not waiter.done:
            self._reactor.call_later(timeout, lambda: self._release(waiter))

    # --- asking ----------------------------------------------------------------------------------------

    def _ask(self, server: _Server) -> None:
        key = SHARED if server.spec.isolation == "shared" else CATALOG
        try:
            connection = self._pool.lease(server.spec, key, own_hello(), self.listener)
        except MetaMCPError as error:
            self._failed(server, error)
            return

        def over(outcome: Entry | MetaMCPError) -> None:
            if key == CATALOG:
                self._pool.discard(connection, "the catalog was read")
            if isinstance(outcome, Entry):
                self._learned(server, outcome)
            else:
                self._failed(server, outcome)

        _Reading(connection, over).begin()

    def _learned(self, server: _Server, entry: Entry) -> None:
        changed = server.entry != entry
        server.entry, server.problem, server.failures = entry, "", 0
        counts = {name: len(items) for name, items in entry.items.items()}
        _log.info("catalog-read", extra=logs.fields(server=entry.server, changed=changed, **counts))
        self._settle(server)
        if changed:
            self._on_change(entry.server)
        if server.again:
            self.refresh(entry.server)

    def _failed(self, server: _Server, error: MetaMCPError) -> None:
        server.problem = error.text
        server.failures += 1
        pause = min(_RETRY_MOST, _RETRY_FIRST * 2.0 ** min(server.failures - 1, 10))
        _log.warning("catalog-failed", extra=logs.fields(server=server.spec.name, reason=error.text, retry_in=pause))
        self._settle(server)
        self._reactor.call_later(pause, lambda: self.refresh(server.spec.name))

    def _settle(self, server: _Server) -> None:
        server.asking = False
        server.settled = True
        self._wake()

    def _wake(self) -> None:
        for waiter in tuple(self._waiters):
            if all(self._servers[name].settled for name in waiter.servers):
                self._release(waiter)

    def _release(self, waiter: _Waiter) -> None:
        if not waiter.done:
            waiter.done = True
            self._waiters.remove(waiter)
            waiter.callback()


class _Reading:
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
            elif error is not None:
                self._kind_over(kind)  # declared, but not implemented: common for templates
            else:
                self._take(kind, result or b"")

        try:
            self._connection.call(UpstreamCall(kind.method, params, answered))
        except MetaMCPError as refused:
            self._over(refused)

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
