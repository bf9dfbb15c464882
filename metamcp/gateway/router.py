"""From a client's message to whoever answers it: method -> handler (MCP 2025-11-25, schema: ClientRequest).

Everything here runs on the reactor's thread and returns at once; answers come later, through the ``Turn``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.config.live import Live
from metamcp.downstream.quota import Quota
from metamcp.downstream.registry import SessionRegistry
from metamcp.downstream.session import ClientSession
from metamcp.downstream.streams import Stream, parse_event_id
from metamcp.errors import InvalidParams, InvalidRequest, MetaMCPError, MethodNotFound, ShuttingDown
from metamcp.gateway.addressing import Addressed, address
from metamcp.gateway.audit import Audit
from metamcp.gateway.batch import Collected
from metamcp.gateway.batch import check as check_batch
from metamcp.gateway.bridged import HeldCalls
from metamcp.gateway.catalog import Catalog
from metamcp.gateway.discovery import Discovery
from metamcp.gateway.entering import check, enter
from metamcp.gateway.forwarding import Forwarding
from metamcp.gateway.interface import (
    ORDERS,
    Ask,
    Batch,
    Client,
    Delete,
    Listen,
    OpenSse,
    Post,
    Refusal,
    Reply,
    Request,
    Stateless,
)
from metamcp.gateway.listening import Listening, Listenings
from metamcp.gateway.listings import KINDS, Kind
from metamcp.gateway.merging import View, differing
from metamcp.gateway.middleware.stack import Stack
from metamcp.gateway.namespace import Namespace
from metamcp.gateway.namespaces import Namespaces
from metamcp.gateway.own_lists import OwnLists
from metamcp.gateway.relay import Relay, requested_version, tell_level
from metamcp.gateway.stateless import StatelessMethods, server_info
from metamcp.gateway.subscriptions import Subscriber, Subscriptions
from metamcp.gateway.turn import SessionTurn, Way
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import Raw
from metamcp.protocol.versions import HANDSHAKE, negotiate
from metamcp.upstream.connection import UpstreamConnection
from metamcp.upstream.era import Eras
from metamcp.upstream.pool import UpstreamPool
from metamcp.upstream.roster import SHARED

_HOMELESS_SECONDS = 0.5  # between two looks whether the calls of a session without an endpoint are over

SETTLE_SECONDS = 10.0
"""How long the first clients after a start wait for servers that have not yet been asked what they have."""

_LIST_CHANGED = {
    "tools": "notifications/tools/list_changed",
    "prompts": "notifications/prompts/list_changed",
    "resources": "notifications/resources/list_changed",
    "templates": "notifications/resources/list_changed",
}


Operator = Callable[[Reply, Ask], None]

Handler = Callable[[SessionTurn, bytes], None]
"""(turn, raw params). May raise MetaMCPError, which becomes the turn's error."""


class Router:
    """``operators`` answers ``Ask``: subject -> function that gets Reply and Ask. ``wall``: Unix seconds;
    ``unique``: an unguessable name. ``searchers`` has one thread, for searches among tools."""

    def __init__(
        self,
        reactor: Reactor,
        live: Live,
        registry: SessionRegistry,
        pool: UpstreamPool,
        eras: Eras,
        catalog: Catalog,
        subscriptions: Subscriptions,
        namespaces: Namespaces,
        operators: Mapping[str, Operator],
        audit: Audit,
        streams: Quota,
        wall: Callable[[], float],
        unique: Callable[[], str],
        searchers: Workers,
    ) -> None:
        self._reactor = reactor
        self._audit = audit
        self._streams = streams
        self._live = live
        self._registry = registry
        self._pool = pool
        self._catalog = catalog
        self._namespaces = namespaces
        self._operators = operators
        self._draining = False
        self._relays: dict[str, Relay] = {}
        self._own_lists = OwnLists(reactor, catalog, _tell_changed)
        self._eras = eras
        self._subscriptions = subscriptions
        self.listenings = Listenings(self._listening, lambda listening: subscriptions.drop(listening, pool.find))
        self.held = HeldCalls(reactor, unique().encode(), wall, unique, catalog.changed)
        self._forwarding = Forwarding(
            reactor, live, pool, eras, subscriptions, self.held, self._relays, server_info, unique
        )
        self._discovery = Discovery(reactor, searchers, self._when_settled)
        self._stateless = StatelessMethods(
            self._forwarding, self._discovery, self.held, self.listenings, self._when_settled, audit, namespaces
        )
        self._requests: dict[str, Handler] = {
            "ping": lambda turn, _params: turn.result(b"{}"),
            "tools/call": self._call_tool,
            "prompts/get": self._forward("prompts/get"),
            "resources/read": self._forward("resources/read"),
            "completion/complete": self._forward("completion/complete"),
            "resources/subscribe": self._subscriber("resources/subscribe"),
            "resources/unsubscribe": self._subscriber("resources/unsubscribe"),
            "logging/setLevel": self._set_level,
        } | {kind.method: self._lister(kind) for kind in KINDS}
        self._notifications: dict[str, Callable[[ClientSession, bytes], None]] = {
            "notifications/cancelled": self._cancelled,
            "notifications/roots/list_changed": self._roots_changed,
        }

    # --- the Gateway interface -------------------------------------------------------------------------

    def open(self, request: Request, reply: Reply) -> None:
        """Begin one request of the web tier; everything that follows goes to ``reply``."""
        try:
            self._open(request, reply)
        except MetaMCPError as error:
            reply.failed(error, request.id if isinstance(request, (Post, Stateless)) else b"")
            self._audit.refused(request, error)

    def _open(self, request: Request, reply: Reply) -> None:
        if isinstance(request, (Ask, Refusal)):
            self._of_the_web_tier(request, reply)
            return
        if self._draining:
            raise ShuttingDown("the gateway is shutting down; connect again in a moment", retryAfterMs=1000)
        shared = self._namespaces.enter(request.client.endpoint, request.client.principal)
        if isinstance(request, Post):
            self._post(request, shared, reply)
            return
        if isinstance(request, (OpenSse, Listen, Stateless)):
            reply.on_over = self._streams.take(request.client.owner)
        if isinstance(request, Stateless):
            self._stateless.open(request, shared, reply)
        elif isinstance(request, Batch):
            self._batch(request, shared, reply)
        elif isinstance(request, OpenSse):
            self._open_sse(request.client, reply)
        elif isinstance(request, Listen):
            self._listen(request, self._session(request.client), reply)
        elif isinstance(request, Delete):
            self._registry.close(self._session(request.client), "the client ended it")
            reply.accepted()

    def _of_the_web_tier(self, request: Ask | Refusal, reply: Reply) -> None:
        if isinstance(request, Ask):
            if request.subject in ORDERS:
                self._audit.ordered(request.subject, request.argument, request.principal, request.address)
            self._operators[request.subject](reply, request)
        else:
            self._audit.told(request)
            reply.accepted()

    def drain(self) -> None:
        """Take nothing new, end every stream and session."""
        self._draining = True
        self.listenings.end_all()
        self._registry.close_all("the gateway is shutting down")

    def session_closed(self, session: ClientSession) -> None:
        """For the registry: free what the session held."""
        self._own_lists.close(session)
        if (relay := self._relays.pop(session.id, None)) is not None:
            self._subscriptions.drop(relay, self._pool.find)
        self._pool.release(session.id, "its session ended")

    def catalog_changed(self, servers: frozenset[str]) -> None:
        """For the catalog: merge anew, and tell clients whose listing is another one now."""
        for namespace in self._namespaces:
            if not servers.isdisjoint(namespace.servers):
                kinds = namespace.rebuild()
                self._announce(namespace, kinds)
                self.listenings.announce(namespace, kinds)
        self._own_lists.catalog_changed(servers)

    def _announce(self, namespace: Namespace, kinds: tuple[Kind, ...]) -> None:
        for session in self._registry.sessions:
            if session.revision and self._sees(session) is namespace:
                _tell_changed(session, kinds)

    def _sees(self, session: ClientSession) -> Namespace | None:
        """The view of ``session``: its own, or what its endpoint shows; None when that is gone."""
        shared = self._namespaces.at(session.endpoint)
        return self._own_lists.namespace(session, shared) if shared is not None else None

    # --- another configuration -------------------------------------------------------------------------

    def follow(self, before: Mapping[str, View]) -> None:
        """The configuration in force is another one: sessions and listeners see what it says, and hear what is
        different. ``before``: what each endpoint showed."""
        self._namespaces.follow()
        self._close_homeless()
        kinds = {name: differing(before.get(name), view) for name, view in self._namespaces.views().items()}
        for session in self._registry.sessions:
            now = self._namespaces.at(session.endpoint)
            if session.revision and now is not None and self._sees(session) is now:
                _tell_changed(session, kinds[session.endpoint])
        self._own_lists.follow(lambda session: self._namespaces.at(session.endpoint))
        self.listenings.follow(before, self._namespaces)
        self._end_subscriptions()

    def _end_subscriptions(self) -> None:
        """Nobody hears any more of servers that their endpoint does not show any more."""
        for session in self._registry.sessions:
            if relay := self._relays.get(session.id):
                relay.follow()
                self._drop(relay, self._sees(session))
        for listening in self.listenings:
            self._drop(listening, listening.turn.namespace)

    def _drop(self, subscriber: Subscriber, namespace: Namespace | None) -> None:
        self._subscriptions.drop(subscriber, self._pool.find, lambda server: self._heard(namespace, server) is None)

    def _heard(self, namespace: Namespace | None, server: str) -> tuple[Stack, ...] | None:
        """The middleware that sees what ``server`` says by itself in ``namespace``; None where it is not shown."""
        spec = self._live.config.servers.get(server)
        if namespace is None or spec is None or not spec.enabled:
            return None
        return namespace.hearing.get(server)

    def _close_homeless(self) -> None:
        """Sessions that their endpoint does not admit any more end, each with its last call in flight."""
        homeless = [it for it in self._registry.sessions if not self._namespaces.admits(it.endpoint, it.principal)]
        for session in homeless:
            if not session.in_flight:
                self._registry.close(session, "its endpoint is no longer configured for it")
        if any(session.in_flight for session in homeless):
            self._reactor.call_later(_HOMELESS_SECONDS, self._close_homeless)

    # --- streams and sessions --------------------------------------------------------------------------

    def _session(self, client: Client) -> ClientSession:
        return self._registry.find(client.session, client.endpoint, client.principal, client.transport)

    def _open_sse(self, client: Client, reply: Reply) -> None:
        session = self._registry.create(client.endpoint, client.principal, "sse", client.owner)
        session.passed = client.headers
        reply.on_closed = lambda: self._registry.close(session, "the client went away")
        reply.opened(session.id)
        session.attach(reply)

    def _listen(self, listen: Listen, session: ClientSession, reply: Reply) -> None:
        """A new stream, or the lost one that ``Last-Event-ID`` names; of one that is not kept (any more) the client
        gets at least what comes from now on."""
        seen = parse_event_id(listen.last_event_id)
        stream = session.window.find(seen[0]) if seen else None
        if stream is None or seen is None:
            stream = Stream(listen.stream, reply, session.window, resumable=_primes(session))
            reply.opened(session.id, stream.name)
            self._carry(session, stream, reply, standing=True)
            session.attach(stream)
            return
        standing = stream not in session.calls and not stream.ended
        reply.opened(session.id, stream.name)
        self._carry(session, stream, reply, standing)
        stream.resume(reply, seen[1])
        if standing:
            session.detach(stream)  # its former connection may not have been lost yet
            session.attach(stream)

    def _carry(self, session: ClientSession, stream: Stream, reply: Reply, standing: bool = False) -> None:
        """``standing``: the stream of a GET. That its connection is lost ends no stream (Resumability)."""

        def lost() -> None:
            stream.lost(reply)
            if standing and not stream.carried:
                session.detach(stream)

        reply.on_closed = lost

    # --- messages --------------------------------------------------------------------------------------

    def _post(self, post: Post, shared: Namespace, reply: Reply) -> None:
        if post.kind == "request" and post.method == "initialize" and post.client.transport == "http":
            requested_version(post.payload)
            client = post.client
            session = self._registry.create(client.endpoint, client.principal, "http", client.owner)
            session.passed = client.headers
        else:
            session = self._session(post.client)
        if post.kind != "request":
            reply.accepted()
            self._tell(session, post)
            return
        way = self._way(session, post.stream, reply)
        turn = self._begin(session, shared, post, way)
        if way is None:
            reply.accepted()
        self._handle(turn, post)

    def _batch(self, batch: Batch, shared: Namespace, reply: Reply) -> None:
        session = self._session(batch.client)
        check_batch(batch, session.revision)
        requests = sum(post.kind == "request" for post in batch.posts)
        way = self._way(session, batch.stream, reply) if requests or batch.refused else None
        if way is None:
            reply.accepted()
        collected = Collected(way or session, requests, batch.refused)
        for post in batch.posts:
            if post.kind == "request":
                self._part(session, shared, post, collected)
            else:
                self._tell(session, post)

    def _part(self, session: ClientSession, shared: Namespace, post: Post, collected: Collected) -> None:
        part = collected.part()
        try:
            turn = self._begin(session, shared, post, part)
        except MetaMCPError as refused:
            self._audit.refused(post, refused)
            part.answer(jsonrpc.error_response(post.id, refused.as_jsonrpc()))
        else:
            self._handle(turn, post)

    def _way(self, session: ClientSession, name: str, reply: Reply) -> Stream | None:
        """How a request is answered; None for HTTP+SSE, where everything leaves on the session's one stream."""
        if session.transport == "sse":
            return None
        stream = Stream(name, reply, session.window, takes_events=bool(name), resumable=_primes(session))
        self._carry(session, stream, reply)
        return stream

    def _tell(self, session: ClientSession, post: Post) -> None:
        """A notification or a response of the client; nothing answers it."""
        if post.kind == "response":
            session.answer(jsonrpc.parse(post.payload))
        elif handler := self._notifications.get(post.method):
            handler(session, post.payload)

    def _begin(self, session: ClientSession, shared: Namespace, post: Post, way: Way | None) -> SessionTurn:
        """Raises InvalidRequest for an id that is in flight already, and TooManyRequests."""
        record = self._audit.begin(post.client, post.method, session.short_id)
        turn = SessionTurn(session, self._own_lists.namespace(session, shared), post.id, way, record)
        turn.begin()
        return turn

    def _handle(self, turn: SessionTurn, post: Post) -> None:
        try:
            if post.method == "initialize":
                self._initialize(turn, post.payload)
            elif handler := self._requests.get(post.method):
                handler(turn, post.payload)
            else:
                raise MethodNotFound(f"unknown method {post.method!r}")
        except MetaMCPError as error:
            turn.error(error)

    def _initialize(self, turn: SessionTurn, hello: bytes) -> None:
        session = turn.session
        version = negotiate(requested_version(hello))
        if session.revision:
            raise InvalidRequest("this session is initialized already")
        session.hello, session.revision = hello, version

        def changed(connection: UpstreamConnection) -> None:
            shared = self._namespaces.at(session.endpoint)
            if shared is not None:
                self._own_lists.changed(session, shared, connection)
            self._catalog.changed(connection)

        def gone(connection: UpstreamConnection) -> None:
            self._own_lists.gone(session, connection)

        def heard(server: str) -> tuple[Stack, ...] | None:
            return self._heard(self._sees(session), server)

        self._relays[session.id] = Relay(session, self._reactor.clock, changed, gone, heard)

        def answer() -> None:
            turn.result(_initialize_result(version, turn.namespace), session.id)

        self._when_settled(turn.namespace, answer)

    def _when_settled(self, namespace: Namespace, callback: Callable[[], None]) -> None:
        self._catalog.when_settled(namespace.servers, SETTLE_SECONDS, callback)

    def _lister(self, kind: Kind) -> Handler:
        """The whole listing on one page: several clients ignore ``nextCursor``."""

        def answer(turn: SessionTurn, params: bytes) -> None:
            if bytes(jsonrpc.decode_object(params).get("cursor", Raw(b"null"))) != b"null":
                raise InvalidParams("unknown cursor: the listing has one page")
            self._when_settled(turn.namespace, lambda: self._list(turn, kind))

        return answer

    def _list(self, turn: SessionTurn, kind: Kind) -> None:
        try:
            turn.result(turn.namespace.listing(kind))
        except MetaMCPError as error:
            turn.error(error)

    # --- calls -----------------------------------------------------------------------------------------

    def _call_tool(self, turn: SessionTurn, raw: bytes) -> None:
        params = self._discovery.meant(turn, jsonrpc.decode_object(raw), turn.result)
        if params is not None:
            self._go(turn, address(turn.namespace, "tools/call", raw, params))

    def _forward(self, method: str) -> Handler:
        def forward(turn: SessionTurn, params: bytes) -> None:
            self._go(turn, address(turn.namespace, method, params))

        return forward

    def _go(self, turn: SessionTurn, request: Addressed) -> None:
        if request.route.stacks:
            enter(turn, request, self._reactor, turn.session.endpoint, turn.session.principal)
        self._forwarding.of_session(turn, request)

    def _subscriber(self, method: str) -> Handler:
        """``resources/subscribe`` and its opposite. An instance of the session's own is told by the session itself."""

        def handle(turn: SessionTurn, params: bytes) -> None:
            relay = self._relays.get(turn.session.id)
            if relay is None:
                raise InvalidRequest("initialize first")
            request = address(turn.namespace, method, params)
            turn.record.route = request.route
            if request.route.stacks:
                enter(turn, request, self._reactor, turn.session.endpoint, turn.session.principal)
            connection = self._forwarding.instance(turn.session, self._live.config.servers[request.route.server])
            uri = jsonrpc.decode_string(request.params.get("uri"), "uri")
            if connection.era == "legacy" and not connection.key.startswith(SHARED):
                relay.subscribes(connection, method, uri)
                self._forwarding.of_session(turn, request)
                return
            if method == "resources/subscribe":
                self._subscriptions.add(connection, uri, relay)
            else:
                self._subscriptions.remove(connection, uri, relay)
            turn.result(b"{}")

        return handle

    def _listening(self, listening: Listening, uri: str) -> bool:
        """For ``subscriptions/listen``."""
        namespace = listening.turn.namespace
        route, client = namespace.resolve_resource(uri), listening.turn.client
        if route.stacks:
            check("resources/subscribe", route, {}, client.endpoint, client.principal)
        spec = self._live.config.servers[route.server]
        era = self._eras.nearest(spec, "modern")
        entry = self._catalog.entry(spec.name)
        if entry is None or not entry.subscribes:
            return False
        connection = self._forwarding.common(client, spec, era)
        self._subscriptions.add(connection, uri, listening)
        return True

    # --- notifications of the client -------------------------------------------------------------------

    def _cancelled(self, session: ClientSession, raw: bytes) -> None:
        params = jsonrpc.decode_object(raw)
        session.cancel(bytes(params.pop("requestId", Raw(b""))), params)

    def _roots_changed(self, session: ClientSession, raw: bytes) -> None:
        for connection in self._pool.of_session(session.id):
            if connection.era == "legacy":
                connection.notify("notifications/roots/list_changed", raw)

    def _set_level(self, turn: SessionTurn, raw: bytes) -> None:
        session = turn.session
        session.log_level = jsonrpc.decode_string(jsonrpc.decode_object(raw).get("level"), "level")
        for connection in self._pool.of_session(session.id):
            tell_level(connection, session.log_level)
        turn.result(b"{}")


def _tell_changed(session: ClientSession, kinds: tuple[Kind, ...]) -> None:
    for method in sorted({_LIST_CHANGED[kind.name] for kind in kinds}):
        session.send(jsonrpc.notification(method, b""))


def _primes(session: ClientSession) -> bool:
    return session.revision in HANDSHAKE and HANDSHAKE[session.revision].priming


def _initialize_result(version: str, namespace: Namespace) -> bytes:
    result: dict[str, object] = {
        "protocolVersion": version,
        "capabilities": Raw(namespace.view.capabilities),
        "serverInfo": Raw(server_info(namespace.spec.name)),
    }
    if namespace.view.instructions:
        result["instructions"] = namespace.view.instructions
    return jsonrpc.encode(result)

