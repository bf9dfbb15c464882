"""A request that has found its server goes there on the right instance, in the era that both sides need.

| client         | server speaks | how                                                               |
|----------------|---------------|-------------------------------------------------------------------|
| handshake era  | handshake     | as it is; questions through the session's ``Relay``               |
| handshake era  | 2026-07-28    | ``Rounds``: the envelope added, input-required results asked out  |
| 2026-07-28     | 2026-07-28    | as it is                                                          |
| 2026-07-28     | handshake     | ``BridgedCall``: the envelope removed, questions held             |

A server that speaks both is spoken to in the client's era, so that nothing has to be translated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from metamcp.concurrency.reactor import Reactor
from metamcp.config.given import NOTHING, Given
from metamcp.config.live import Live
from metamcp.config.model import ServerSpec
from metamcp.downstream.session import ClientSession
from metamcp.errors import InvalidRequest, MetaMCPError
from metamcp.gateway.addressing import Addressed
from metamcp.gateway.bridged import BridgedCall, HeldCalls
from metamcp.gateway.interface import Client
from metamcp.gateway.logging_levels import reaches
from metamcp.gateway.relay import QUESTIONS, Relay
from metamcp.gateway.rounds import Rounds
from metamcp.gateway.subscriptions import Subscriptions
from metamcp.gateway.turn import SessionTurn, StatelessTurn, Turn
from metamcp.protocol import envelope, jsonrpc, translate
from metamcp.protocol.jsonrpc import Raw
from metamcp.upstream.connection import Listener, UpstreamCall, UpstreamConnection, progress_token
from metamcp.upstream.era import Eras
from metamcp.upstream.opening import SpokenEra, handshake, own_hello, stateless
from metamcp.upstream.pool import UpstreamPool
from metamcp.upstream.roster import SHARED, isolation_of, shared_key

_EXCLUSIVE = frozenset({"tools/call", "prompts/get", "resources/read"})
"""The methods while which a server of the handshake era may ask something (2026-07-28, Multi Round-Trip Requests)."""


class Forwarding:
    """Owned by the reactor's thread. ``relays``: session id -> its Relay. ``server_info``: of a namespace, raw."""

    def __init__(
        self,
        reactor: Reactor,
        live: Live,
        pool: UpstreamPool,
        eras: Eras,
        subscriptions: Subscriptions,
        held: HeldCalls,
        relays: Mapping[str, Relay],
        server_info: Callable[[str], bytes],
        unique: Callable[[], str],
    ) -> None:
        self._reactor = reactor
        self._live = live
        self._pool = pool
        self._eras = eras
        self._subscriptions = subscriptions
        self._held = held
        self._relays = relays
        self._server_info = server_info
        self._unique = unique

    # --- clients of the handshake era ------------------------------------------------------------------

    def of_session(self, turn: SessionTurn, request: Addressed) -> None:
        """Raises MetaMCPError when no instance can be had."""
        turn.record.route = request.route
        session = turn.session
        if not session.revision:
            raise InvalidRequest("initialize first")
        spec = self._live.config.servers[request.route.server]
        era = self._eras.nearest(spec, "legacy")
        levelled = era == "modern" and session.log_level and isolation_of(spec, era) == "shared"
        connection = self._levelled(spec, turn, session.log_level) if levelled else self._serving(session, spec, era)
        token = progress_token(request.params)
        over = self._release(spec, connection)
        if era == "legacy":
            call = UpstreamCall(
                request.method, request.params, _answering(turn, over), turn.event, token=token, cause=turn.record.span
            )
            connection.call(call)
            turn.cancel = lambda told: connection.cancel(call, told)
            return
        relay = self._relays[session.id]
        params = envelope.wrap(request.params, relay.capabilities, relay.client_info, session.log_level)
        call = UpstreamCall(
            request.method, params, lambda _result, _error: None, token=token, cause=turn.record.span
        )
        Rounds(self._reactor, turn, connection, call, relay.declared, self._unique, over).begin()

    def instance(self, session: ClientSession, spec: ServerSpec) -> UpstreamConnection:
        """The one that ``session`` hears: its own, or the one for all."""
        return self._instance(session, spec, self._eras.nearest(spec, "legacy"))

    def _instance(self, session: ClientSession, spec: ServerSpec, era: SpokenEra) -> UpstreamConnection:
        key = self._pool.key(spec, session.id, era)
        if key.startswith(SHARED):
            return self._common(spec, key, era)
        found = self._pool.find(spec.name, key)
        if found is not None:
            return found
        opening = handshake(session.hello) if era == "legacy" else stateless()
        given = spec.given_to(session.principal, session.passed)
        return self._pool.lease(spec, key, opening, self._relays[session.id], session.principal, given)

    def _serving(self, session: ClientSession, spec: ServerSpec, era: SpokenEra) -> UpstreamConnection:
        """The one that a call of ``session`` goes to."""
        if isolation_of(spec, era) == "shared":
            return self._for_all(spec, era)
        return self._instance(session, spec, era)

    # --- clients of 2026-07-28 -------------------------------------------------------------------------

    def stateless(self, turn: StatelessTurn, request: Addressed) -> None:
        """Raises MetaMCPError."""
        turn.record.route = request.route
        spec = self._live.config.servers[request.route.server]
        if self._eras.nearest(spec, "modern") == "modern":
            self._as_it_is(turn, request, spec)
        else:
            self._bridge(turn, request, spec)

    def _as_it_is(self, turn: StatelessTurn, request: Addressed, spec: ServerSpec) -> None:
        level = turn.envelope.log_level
        if level and isolation_of(spec, "modern") != "call":
            client = turn.client
            given = spec.given_to(client.principal, client.headers)
            connection = self._levelled(spec, turn, level, given, f"{client.principal}{given.mark}" if given else "")
        else:
            connection = self._of_principal(turn.client, spec, "modern")
        hearing = turn.passage.hearing if turn.passage is not None else None
        asked = hearing.question if hearing is not None else None
        done = _answering(turn, self._release(spec, connection), asked)
        token = progress_token(request.params)
        call = UpstreamCall(
            request.method, request.params, done, turn.event, token=token, cause=turn.record.span
        )
        connection.call(call)
        turn.cancel = lambda told: connection.cancel(call, told)

    def _bridge(self, turn: StatelessTurn, request: Addressed, spec: ServerSpec) -> None:
        params = envelope.strip(request.params)
        params.pop("inputResponses", None)
        params.pop("requestState", None)
        token = progress_token(params)
        info = self._server_info(turn.namespace.spec.name)

        def release(connection: UpstreamConnection) -> None:
            self._release(spec, connection)()

        call = BridgedCall(self._held, turn, request.method, params, request.asked, info, release)
        call.begin(self._bridging(turn, request.method, spec, call), token)

    def _bridging(self, turn: StatelessTurn, method: str, spec: ServerSpec, call: Listener) -> UpstreamConnection:
        """An instance for ``call`` alone where its server might ask or log, and nobody could say on whose behalf."""
        isolation = isolation_of(spec, "legacy")
        offered = turn.envelope.capabilities
        asks = method in _EXCLUSIVE and bool(offered.keys() & set(QUESTIONS.values()))
        if isolation == "shared" or (isolation == "session" and not asks and not turn.envelope.log_level):
            return self._of_principal(turn.client, spec, "legacy")
        given = spec.given_to(turn.client.principal, turn.client.headers)
        hello = own_hello(jsonrpc.encode({name: offered[name] for name in offered if name != "tasks"}))
        if isolation == "call":
            key = self._pool.key(spec, "", "legacy")
            return self._pool.lease(spec, key, handshake(hello), call, turn.client.principal, given)
        group = f"{SHARED}{turn.client.principal}{given.mark} {hashlib.sha256(hello).hexdigest()[:16]}"
        return self._pool.lease_idle(spec, group, handshake(hello), call, turn.client.principal, given)

    # --- instances -------------------------------------------------------------------------------------

    def common(self, client: Client, spec: ServerSpec, era: SpokenEra) -> UpstreamConnection:
        """The one that requests without a session hear: for all clients, or for one principal, as far as it sends
        the same headers for the server."""
        if isolation_of(spec, era) == "shared":
            return self._common(spec, self._pool.key(spec, "", era), era)
        given = spec.given_to(client.principal, client.headers)
        key = self._pool.key(spec, f"{SHARED}{client.principal}{given.mark}", era)
        return self._common(spec, key, era, client.principal, given)

    def _of_principal(self, client: Client, spec: ServerSpec, era: SpokenEra) -> UpstreamConnection:
        """The one that a call without a session goes to."""
        if isolation_of(spec, era) == "shared":
            return self._for_all(spec, era)
        return self.common(client, spec, era)

    def _for_all(self, spec: ServerSpec, era: SpokenEra) -> UpstreamConnection:
        """The least busy of those that serve everybody."""
        return self._common(spec, self._pool.least_busy(spec, shared_key(era)), era)

    def _common(
        self, spec: ServerSpec, key: str, era: SpokenEra, principal: str = "", given: Given = NOTHING
    ) -> UpstreamConnection:
        found = self._pool.find(spec.name, key)
        if found is not None:
            return found
        opening = handshake(own_hello()) if era == "legacy" else stateless()
        return self._pool.lease(spec, key, opening, self._subscriptions, principal, given)

    def _levelled(
        self, spec: ServerSpec, turn: Turn, level: str, given: Given = NOTHING, whose: str = ""
    ) -> UpstreamConnection:
        """For a call whose log messages are wanted: on stdio they do not tell which call they belong to. ``whose`` an
        instance is to which something is ``given``."""
        logged = _Logged(turn, level, self._subscriptions)
        return self._pool.lease_idle(spec, f"{SHARED}log{whose}", stateless(), logged, given=given)

    def _release(self, spec: ServerSpec, connection: UpstreamConnection) -> Callable[[], None]:
        def release() -> None:
            if isolation_of(spec, connection.era) == "call":
                connection.close("its call is over")

        return release


class _Logged(Listener):
    """Of an instance of 2026-07-28 that works for one call whose client wants its log."""

    def __init__(self, turn: Turn, level: str, others: Listener) -> None:
        self._turn = turn
        self._level = level
        self._others = others

    def on_ready(self, connection: UpstreamConnection) -> None: ...

    def on_request(self, connection: UpstreamConnection, identifier: bytes, method: str, params: Raw) -> None:
        self._others.on_request(connection, identifier, method, params)

    def on_withdrawn(self, connection: UpstreamConnection, identifier: bytes) -> None: ...

    def on_notification(self, connection: UpstreamConnection, method: str, params: Raw) -> None:
        if method != "notifications/message":
            self._others.on_notification(connection, method, params)
        elif reaches(bytes(params), self._level):
            self._turn.event(jsonrpc.notification(method, bytes(params)))

    def on_gone(self, connection: UpstreamConnection) -> None: ...


def _answering(
    turn: Turn, over: Callable[[], None], asked: Callable[[str, bytes], bytes] | None = None
) -> Callable[[bytes | None, bytes | MetaMCPError | None], None]:
    """``asked``: what each question in a result becomes, where middleware wants to see them. A server of 2026-07-28
    does not wait for the answer, so one that is not to be asked ends the call."""

    def done(result: bytes | None, error: bytes | MetaMCPError | None) -> None:
        over()
        if error is None and asked is not None:
            try:
                result = translate.with_questions(result or b"{}", asked)
            except MetaMCPError as refused:
                error = refused
        if error is not None:
            turn.error(error)
        else:
            turn.result(result or b"{}")

    return done
