"""From a client's message to whoever answers it: method -> handler (MCP 2025-11-25, schema: ClientRequest).

Everything here runs on the reactor's thread and returns at once; answers come later, through the ``Turn``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from metamcp import __version__
from metamcp.concurrency.reactor import Reactor
from metamcp.config.model import EndpointSpec, GatewayConfig, ServerSpec
from metamcp.downstream.registry import SessionRegistry
from metamcp.downstream.session import ClientSession
from metamcp.errors import (
    Cancelled,
    EndpointUnknown,
    InvalidParams,
    InvalidRequest,
    MetaMCPError,
    MethodNotFound,
    ShuttingDown,
    Unauthorized,
)
from metamcp.gateway.catalog import KINDS, PROMPTS, TOOLS, Catalog, Kind, own_hello
from metamcp.gateway.interface import Ask, Client, Delete, Listen, OpenSse, Post, Reply, Request
from metamcp.gateway.namespace import Namespace, Route
from metamcp.gateway.relay import Relay, requested_version
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import JsonObject, Raw
from metamcp.protocol.versions import negotiate
from metamcp.upstream.connection import Listener, UpstreamCall, UpstreamConnection, progress_token
from metamcp.upstream.pool import SHARED, UpstreamPool

SETTLE_SECONDS = 10.0
"""How long the first clients after a start wait for servers that have not yet been asked what they have."""

_LIST_CHANGED = {
    "tools": "notifications/tools/list_changed",
    "prompts": "notifications/prompts/list_changed",
    "resources": "notifications/resources/list_changed",
    "templates": "notifications/resources/list_changed",
}


@dataclass(slots=True, eq=False)
class Turn:
    """One request of a client on its way: where its events and its answer go, under the client's own id."""

    session: ClientSession
    namespace: Namespace
    id: bytes
    reply: Reply  # of the POST; for HTTP+SSE it was already answered with 202
    cancel: Callable[[JsonObject], None] | None = None  # set once a server works on it

    def begin(self) -> None:
        """Raises InvalidRequest when the client's id is in flight already."""
        self.session.begin(self.id, self.cancelled)
        if self.session.transport == "http":
            self.session.calls.append(self.reply)
            self.reply.on_closed = self._leave_stream
        else:
            self.reply.accepted()

    def cancelled(self, params: JsonObject) -> None:
        if self.cancel is not None:
            self.cancel(params)

    def event(self, data: bytes) -> None:
        if self.session.transport == "http":
            self.reply.event(data)
        else:
            self.session.send(data)

    def result(self, result: bytes, opened: str = "") -> None:
        """``opened``: the id of the session that this answer opens."""
        self._finish(jsonrpc.result_response(self.id, result), opened)

    def error(self, error: bytes | MetaMCPError) -> None:
        if isinstance(error, Cancelled) and self.session.transport == "sse":
            # Nobody waits, and no POST stream has to be ended (Cancellation: no response is sent).
            self.session.finish(self.id)
            return
        body = jsonrpc.encode(error.as_jsonrpc()) if isinstance(error, MetaMCPError) else error
        self._finish(jsonrpc.error_response(self.id, body))

    def _finish(self, response: bytes, opened: str = "") -> None:
        self.session.finish(self.id)
        self._leave_stream()
        if self.session.transport == "http":
            self.reply.answer(response, opened)
        else:
            self.session.send(response)

    def _leave_stream(self) -> None:
        if self.reply in self.session.calls:
            self.session.calls.remove(self.reply)


Handler = Callable[[Turn, bytes], None]
"""(turn, raw params). May raise MetaMCPError, which becomes the turn's error."""


class Router:
    """``operators`` answers ``Ask``: subject -> function that gets the Reply."""

    def __init__(
        self,
        reactor: Reactor,
        config: GatewayConfig,
        registry: SessionRegistry,
        pool: UpstreamPool,
        catalog: Catalog,
        namespaces: Mapping[str, Namespace],
        operators: Mapping[str, Callable[[Reply], None]],
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._registry = registry
        self._pool = pool
        self._catalog = catalog
        self._namespaces = namespaces
        self._operators = operators
        self._draining = False
        self._relays: dict[str, Relay] = {}
        self._requests: dict[str, Handler] = {
            "ping": lambda turn, _params: turn.result(b"{}"),
            "tools/call": self._call_tool,
            "prompts/get": self._get_prompt,
            "resources/read": self._read_resource,
            "completion/complete": self._complete,
            "logging/setLevel": self._set_level,
        } | {kind.method: self._lister(kind) for kind in KINDS}
        self._notifications: dict[str, Callable[[ClientSession, bytes], None]] = {
            "notifications/cancelled": self._cancelled,
            "notifications/roots/list_changed": self._roots_changed,
        }

    # --- the Gateway interface -------------------------------------------------------------------------

    def open(self, request: Request, reply: Reply) -> None:
        """Begin one request of the web tier; everything that follows goes to ``reply``."""
        identifier = request.id if isinstance(request, Post) and request.kind == "request" else b""
        try:
            self._open(request, reply)
        except MetaMCPError as error:
            reply.failed(error, identifier)

    def _open(self, request: Request, reply: Reply) -> None:
        if isinstance(request, Ask):
            self._operators[request.subject](reply)
            return
        if self._draining:
            raise ShuttingDown("the gateway is shutting down; connect again in a moment", retryAfterMs=1000)
        endpoint = self._endpoint(request.client)
        if isinstance(request, Post):
            self._post(request, endpoint, reply)
        elif isinstance(request, OpenSse):
            self._open_sse(request.client, reply)
        elif isinstance(request, Listen):
            self._listen(self._session(request.client), reply)
        elif isinstance(request, Delete):
            self._registry.close(self._session(request.client), "the client ended it")
            reply.accepted()

    def drain(self) -> None:
        """Take nothing new, end every stream and session."""
        self._draining = True
        self._registry.close_all("the gateway is shutting down")

    def session_closed(self, session: ClientSession) -> None:
        """For the registry: free what the session held."""
        self._relays.pop(session.id, None)
        self._pool.release(session.id, "its session ended")

    def catalog_changed(self, server: str) -> None:
        """For the catalog: merge anew, and tell clients whose listing is another one now."""
        for name, namespace in self._namespaces.items():
            if server in namespace.spec.servers:
                self._announce(name, namespace.rebuild())

    def _announce(self, namespace: str, kinds: tuple[Kind, ...]) -> None:
        methods = {_LIST_CHANGED[kind.name] for kind in kinds}
        for session in self._registry.sessions:
            if session.revision and self._config.endpoints[session.endpoint].namespace == namespace:
                for method in sorted(methods):
                    session.send(jsonrpc.notification(method, b""))

    # --- streams and sessions --------------------------------------------------------------------------

    def _endpoint(self, client: Client) -> EndpointSpec:
        endpoint = self._config.endpoints.get(client.endpoint)
        if endpoint is None:
            raise EndpointUnknown("there is no such endpoint")
        if endpoint.auth != "none" and client.principal == "anonymous":
            raise Unauthorized(f"this endpoint requires authentication ({endpoint.auth})")
        return endpoint

    def _session(self, client: Client) -> ClientSession:
        return self._registry.find(client.session, client.endpoint, client.principal, client.transport)

    def _open_sse(self, client: Client, reply: Reply) -> None:
        session = self._registry.create(client.endpoint, client.principal, "sse")
        reply.on_closed = lambda: self._registry.close(session, "the client went away")
        reply.opened(session.id)
        session.attach(reply)

    def _listen(self, session: ClientSession, reply: Reply) -> None:
        reply.on_closed = lambda: session.detach(reply)
        reply.opened(session.id)
        session.attach(reply)

    # --- messages --------------------------------------------------------------------------------------

    def _post(self, post: Post, endpoint: EndpointSpec, reply: Reply) -> None:
        if post.kind == "request" and post.method == "initialize" and post.client.transport == "http":
            requested_version(post.payload)
            session = self._registry.create(post.client.endpoint, post.client.principal, "http")
        else:
            session = self._session(post.client)
        if post.kind == "request":
            self._request(session, endpoint, post, reply)
        elif post.kind == "notification":
            reply.accepted()
            if handler := self._notifications.get(post.method):
                handler(session, post.payload)
        else:
            reply.accepted()
            session.answer(jsonrpc.parse(post.payload))

    def _request(self, session: ClientSession, endpoint: EndpointSpec, post: Post, reply: Reply) -> None:
        turn = Turn(session, self._namespaces[endpoint.namespace], post.id, reply)
        turn.begin()
        try:
            if post.method == "initialize":
                self._initialize(turn, post.payload)
            elif handler := self._requests.get(post.method):
                handler(turn, post.payload)
            else:
                raise MethodNotFound(f"unknown method {post.method!r}")
        except MetaMCPError as error:
            turn.error(error)

    def _initialize(self, turn: Turn, hello: bytes) -> None:
        session = turn.session
        version = negotiate(requested_version(hello))
        if session.revision:
            raise InvalidRequest("this session is initialized already")
        session.hello, session.revision = hello, version
        self._relays[session.id] = Relay(session, self._reactor.clock, self._catalog.changed)

        def answer() -> None:
            turn.result(_initialize_result(version, turn.namespace), session.id)

        self._when_settled(turn.namespace, answer)

    def _when_settled(self, namespace: Namespace, callback: Callable[[], None]) -> None:
        self._catalog.when_settled(namespace.spec.servers, SETTLE_SECONDS, callback)

    def _lister(self, kind: Kind) -> Handler:
        """The whole listing on one page: several clients ignore ``nextCursor``."""

        def answer(turn: Turn, params: bytes) -> None:
            if bytes(jsonrpc.decode_object(params).get("cursor", Raw(b"null"))) != b"null":
                raise InvalidParams("unknown cursor: the listing has one page")
            self._when_settled(turn.namespace, lambda: turn.result(turn.namespace.view.listings[kind.name]))

        return answer

    # --- calls -----------------------------------------------------------------------------------------

    def _call_tool(self, turn: Turn, raw: bytes) -> None:
        params = jsonrpc.decode_object(raw)
        route = turn.namespace.resolve(TOOLS, jsonrpc.decode_string(params.get("name"), "name"))
        params["name"] = Raw(jsonrpc.encode(route.name))
        self._forward(turn, route, "tools/call", params)

    def _get_prompt(self, turn: Turn, raw: bytes) -> None:
        params = jsonrpc.decode_object(raw)
        route = turn.namespace.resolve(PROMPTS, jsonrpc.decode_string(params.get("name"), "name"))
        params["name"] = Raw(jsonrpc.encode(route.name))
        self._forward(turn, route, "prompts/get", params)

    def _read_resource(self, turn: Turn, raw: bytes) -> None:
        params = jsonrpc.decode_object(raw)
        route = turn.namespace.resolve_resource(jsonrpc.decode_string(params.get("uri"), "uri"))
        self._forward(turn, route, "resources/read", params)

    def _complete(self, turn: Turn, raw: bytes) -> None:
        params = jsonrpc.decode_object(raw)
        reference = jsonrpc.decode_object(params.get("ref", b""), "ref")
        if jsonrpc.decode_string(reference.get("type"), "ref.type") == "ref/prompt":
            route = turn.namespace.resolve(PROMPTS, jsonrpc.decode_string(reference.get("name"), "ref.name"))
            reference["name"] = Raw(jsonrpc.encode(route.name))
        else:
            route = turn.namespace.resolve_resource(jsonrpc.decode_string(reference.get("uri"), "ref.uri"))
        params["ref"] = Raw(jsonrpc.encode(reference))
        self._forward(turn, route, "completion/complete", params)

    def _forward(self, turn: Turn, route: Route, method: str, params: JsonObject) -> None:
        """Send the request to its server, and its answer, whatever it is, back under the client's own id."""
        spec = self._config.servers[route.server]
        if not turn.session.revision:
            raise InvalidRequest("initialize first")
        connection = self._lease(turn.session, spec)

        def done(result: bytes | None, error: bytes | MetaMCPError | None) -> None:
            if spec.isolation == "call":
                self._pool.discard(connection, "its call is over")
            if error is not None:
                turn.error(error)
            else:
                turn.result(result or b"{}")

        call = UpstreamCall(method, params, done, turn.event, token=progress_token(params))
        connection.call(call)
        turn.cancel = lambda told: connection.cancel(call, told)

    def _lease(self, session: ClientSession, spec: ServerSpec) -> UpstreamConnection:
        key = self._pool.key(spec, session.id)
        if key == SHARED:
            return self._pool.lease(spec, key, own_hello(), self._catalog.listener)
        listener: Listener = self._relays[session.id]
        connection = self._pool.lease(spec, key, session.hello, listener)
        if session.log_level and not connection.started_well:
            _tell_level(connection, session)
        return connection

    # --- notifications of the client -------------------------------------------------------------------

    def _cancelled(self, session: ClientSession, raw: bytes) -> None:
        params = jsonrpc.decode_object(raw)
        session.cancel(bytes(params.pop("requestId", Raw(b""))), params)

    def _roots_changed(self, session: ClientSession, raw: bytes) -> None:
        for connection in self._pool.of_session(session.id):
            connection.notify("notifications/roots/list_changed", raw)

    def _set_level(self, turn: Turn, raw: bytes) -> None:
        session = turn.session
        session.log_level = jsonrpc.decode_string(jsonrpc.decode_object(raw).get("level"), "level")
        for connection in self._pool.of_session(session.id):
            _tell_level(connection, session)
        turn.result(b"{}")


def _tell_level(connection: UpstreamConnection, session: ClientSession) -> None:
    """As soon as the server has started. One that cannot log at levels may refuse; its answer changes nothing."""

    def tell(error: MetaMCPError | None) -> None:
        params = {"level": Raw(jsonrpc.encode(session.log_level))}
        if error is None and b"logging" in bytes(connection.server_says.get("capabilities", Raw(b""))):
            connection.call(UpstreamCall("logging/setLevel", params, lambda _result, _error: None))

    connection.when_ready(tell)


def _initialize_result(version: str, namespace: Namespace) -> bytes:
    result: dict[str, object] = {
        "protocolVersion": version,
        "capabilities": Raw(namespace.view.capabilities),
        "serverInfo": {"name": f"metamcp-{namespace.spec.name}", "version": __version__},
    }
    if namespace.view.instructions:
        result["instructions"] = namespace.view.instructions
    return jsonrpc.encode(result)

