"""A client of 2026-07-28 at a server of the handshake era: the server's questions become input-required results.

The server asks while a call is in flight. The HTTP request is then answered with what was asked and a sealed
``requestState``; the call stays with its instance. The client's retry carries the answers, and waits on for the
call (2026-07-28, Multi Round-Trip Requests).

Nothing on stdio says which call a question or a log message belongs to, so an instance works on one such call at
a time, and its listener is that call.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from metamcp.concurrency.reactor import Reactor, Timer
from metamcp.errors import AtCapacity, Cancelled, InvalidParams, MetaMCPError, MissingClientCapability
from metamcp.gateway.logging_levels import reaches
from metamcp.gateway.relay import QUESTION_SECONDS, QUESTIONS, tell_level
from metamcp.gateway.turn import StatelessTurn
from metamcp.protocol import jsonrpc, request_state, translate
from metamcp.protocol.jsonrpc import JsonObject, Raw
from metamcp.protocol.request_state import Claims
from metamcp.upstream.connection import Listener, UpstreamCall, UpstreamConnection

GATHER_SECONDS = 0.05
"""Questions that a server asks at once arrive within this time, and share one result."""

MAX_HELD = 1000
"""Calls of all clients that may wait for answers at once."""


@dataclass(slots=True)
class _Question:
    identifier: bytes  # as the server wrote it
    method: str
    params: bytes


class HeldCalls:
    """Owned by the reactor's thread. ``key`` seals the states that clients carry; it dies with the process, as the
    held calls do."""

    def __init__(
        self,
        reactor: Reactor,
        key: bytes,
        wall: Callable[[], float],
        unique: Callable[[], str],
        changed: Callable[[UpstreamConnection], None],
    ) -> None:
        self.reactor = reactor
        self.changed = changed
        self._key = key
        self._wall = wall
        self._unique = unique
        self._held: dict[str, BridgedCall] = {}

    def __len__(self) -> int:
        return len(self._held)

    def admit(self, call: BridgedCall) -> str:
        """A name for ``call`` while it waits. Raises AtCapacity."""
        if len(self._held) >= MAX_HELD:
            raise AtCapacity(f"{MAX_HELD} calls wait for answers of their clients; try again later")
        name = self._unique()
        self._held[name] = call
        return name

    def leave(self, name: str) -> None:
        self._held.pop(name, None)

    def state(self, name: str, number: int, principal: str, digest: str) -> str:
        expiry = int(self._wall() + QUESTION_SECONDS)
        return request_state.seal(self._key, Claims(name, number, principal, digest, expiry))

    def resume(self, turn: StatelessTurn, method: str, params: JsonObject) -> bool:
        """Go on with the held call that ``params`` name; False when they name none of ours. Raises InvalidParams."""
        raw = params.get("requestState")
        if raw is None:
            return False
        state = jsonrpc.decode_string(raw, "requestState")
        if not request_state.is_ours(state):
            return False
        digest = request_state.digest(method, params)
        claims = request_state.unseal(self._key, state, self._wall(), turn.client.principal, digest)
        call = self._held.get(claims.call)
        if call is None or call.number != claims.round:
            raise InvalidParams("requestState names a call that is over: call again without it")
        call.resume(turn, jsonrpc.decode_object(params.get("inputResponses", b""), "inputResponses"))
        return True


class BridgedCall(Listener):
    """One call. ``asked``: its params as the client sent them. ``release`` gives its instance back, whatever became of
    it."""

    def __init__(
        self,
        held: HeldCalls,
        turn: StatelessTurn,
        method: str,
        params: JsonObject,
        asked: bytes,
        server_info: bytes,
        release: Callable[[UpstreamConnection], None],
    ) -> None:
        self.number = 0
        self._held = held
        self._turn: StatelessTurn | None = turn
        self._principal = turn.client.principal
        self._envelope = turn.envelope
        self._route = turn.record.route
        self._passage = turn.passage
        self._asked = asked
        self._server_info = server_info
        self._release = release
        cause = turn.record.span
        self._call = UpstreamCall(method, params, self._done, self._event, self._undeclared, cause=cause)
        self._uri = jsonrpc.decode_string(params["uri"], "uri") if "uri" in params else ""
        self._questions: dict[str, _Question] = {}
        self._serial = itertools.count(1)
        self._name = ""
        self._connection: UpstreamConnection | None = None
        self._gathering: Timer | None = None
        self._patience: Timer | None = None
        self._outcome: tuple[bytes | None, bytes | MetaMCPError | None] | None = None

    def begin(self, connection: UpstreamConnection, token: bytes) -> None:
        """Raises AtCapacity."""
        self._connection = connection
        self._call.token = token
        self._attach(self._turn)
        self.on_ready(connection)
        connection.call(self._call)

    def resume(self, turn: StatelessTurn, responses: JsonObject) -> None:
        """The client came back. What it left out, or answered with something that no answer can be, is asked again."""
        if self._turn is not None:
            raise InvalidParams("this requestState was used already")
        self._stop(self._patience)
        self._attach(turn)
        for key, response in responses.items():
            if key in self._questions and bytes(response)[:1] == b"{":
                self._reply(self._questions.pop(key), bytes(response))
        if self._outcome is not None:
            self._finish(*self._outcome)
        elif self._questions:
            self._ask()

    # --- from the server -------------------------------------------------------------------------------

    def on_ready(self, connection: UpstreamConnection) -> None:
        if self._envelope.log_level:
            tell_level(connection, self._envelope.log_level)

    def on_request(self, connection: UpstreamConnection, identifier: bytes, method: str, params: Raw) -> None:
        capability = QUESTIONS.get(method)
        if capability not in self._envelope.capabilities or self._over:
            refuse(connection, identifier, method)
            self._undeclared(method)
            return
        try:
            heard = self._heard(method, bytes(params))
        except MetaMCPError as refused:
            connection.answer(identifier, None, jsonrpc.encode(refused.as_jsonrpc()))
            return
        self._questions[f"{capability}-{next(self._serial)}"] = _Question(identifier, method, heard)
        if self._turn is not None and self._gathering is None:
            self._gathering = self._held.reactor.call_later(GATHER_SECONDS, self._ask)

    def _heard(self, method: str, params: bytes) -> bytes:
        """What middleware leaves of a question. Raises MetaMCPError, which is the server's answer, for one that is
        not to be asked."""
        return params if self._passage is None else self._passage.question(method, params)

    def _undeclared(self, method: str) -> None:
        """The call needs a client that offers more (2026-07-28, MissingRequiredClientCapability)."""
        capability = QUESTIONS.get(method)
        if capability is not None:
            text = f"this request needs a client with the capability {capability}"
            self._abandon(MissingClientCapability(text, requiredCapabilities={capability: {}}))

    def on_withdrawn(self, connection: UpstreamConnection, identifier: bytes) -> None:
        for key, question in tuple(self._questions.items()):
            if question.identifier == identifier:
                del self._questions[key]

    def on_notification(self, connection: UpstreamConnection, method: str, params: Raw) -> None:
        if method.endswith("/list_changed"):
            self._held.changed(connection)
        elif method == "notifications/message" and reaches(bytes(params), self._envelope.log_level):
            self._event(jsonrpc.notification(method, bytes(params)))

    def on_gone(self, connection: UpstreamConnection) -> None: ...

    def _event(self, data: bytes) -> None:
        if self._turn is not None:
            self._turn.event(data)

    # --- rounds ----------------------------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return self._connection is None

    def _attach(self, turn: StatelessTurn | None) -> None:
        self._turn = turn
        if turn is not None:
            turn.record.route = self._route
            if self._passage is not None and turn.passage is None:
                turn.passage = self._passage.of(turn, self._held.reactor)
            turn.cancel = self._cancelled

    def _ask(self) -> None:
        """Answer the HTTP request with what the server wants to know, and wait for the retry."""
        self._stop(self._gathering)
        self._gathering = None
        turn = self._turn
        if turn is None or not self._questions:
            return
        try:
            self._name = self._name or self._held.admit(self)
        except AtCapacity as full:
            self._abandon(full)
            return
        self.number += 1
        self._turn = None
        self._patience = self._held.reactor.call_later(QUESTION_SECONDS, self._unanswered)
        turn.result(self._input_required())

    def _input_required(self) -> bytes:
        requests = {key: _input_request(question) for key, question in self._questions.items()}
        digest = request_state.digest(self._call.method, jsonrpc.decode_object(self._asked))
        state = self._held.state(self._name, self.number, self._principal, digest)
        members = {"resultType": "input_required", "inputRequests": requests, "requestState": state}
        return translate.to_stateless(self._call.method, jsonrpc.encode(members), self._server_info)

    def _reply(self, question: _Question, result: bytes) -> None:
        if self._connection is not None:
            self._connection.answer(question.identifier, result, None)

    def _unanswered(self) -> None:
        self._abandon(Cancelled("the client did not answer what the server asked"))

    def _cancelled(self, params: JsonObject) -> None:
        self._abandon(Cancelled("the client gave up"), params)

    def _abandon(self, why: MetaMCPError, params: Mapping[str, Raw] | None = None) -> None:
        """Tell the server that its call is over; the call then ends with an error, for whoever still listens."""
        if self._connection is None:
            self._close()
            return
        for question in self._questions.values():
            refuse(self._connection, question.identifier, question.method)
        self._questions.clear()
        turn, self._turn = self._turn, None
        self._connection.cancel(self._call, dict(params or {}))
        if turn is not None:
            turn.error(why)
        self._close()

    # --- the end ---------------------------------------------------------------------------------------

    def _done(self, result: bytes | None, error: bytes | MetaMCPError | None) -> None:
        if self._connection is not None:
            self._release(self._connection)
            self._connection = None
        self._stop(self._gathering)
        self._questions.clear()
        if self._turn is not None:
            self._finish(result, error)
        else:
            self._outcome = (result, error)  # it did not wait for the answers; the retry gets it

    def _finish(self, result: bytes | None, error: bytes | MetaMCPError | None) -> None:
        turn, self._turn = self._turn, None
        self._close()
        if turn is None:
            return
        if error is None:
            turn.result(translate.to_stateless(self._call.method, result or b"{}", self._server_info))
        elif isinstance(error, bytes):
            self._refused(turn, error)
        else:
            turn.error(error)

    def _refused(self, turn: StatelessTurn, error: bytes) -> None:
        """A server of 2025-11-25 that wants an address opened first says so with an error (Elicitation, URL mode)."""
        addresses = translate.elicitations_of(error)
        if not addresses or "elicitation" not in self._envelope.capabilities:
            turn.error(translate.error_to_stateless(self._call.method, error, self._uri))
            return
        try:
            asked = [Raw(self._heard("elicitation/create", jsonrpc.encode(params))) for params in addresses]
        except MetaMCPError as refused:
            turn.error(refused)
            return
        requests = {
            f"elicitation-{number}": {"method": "elicitation/create", "params": params}
            for number, params in enumerate(asked, 1)
        }
        members = jsonrpc.encode({"resultType": "input_required", "inputRequests": requests})
        turn.result(translate.to_stateless(self._call.method, members, self._server_info))

    def _close(self) -> None:
        self._stop(self._patience)
        self._stop(self._gathering)
        self._held.leave(self._name)

    def _stop(self, timer: Timer | None) -> None:
        if timer is not None:
            timer.cancel()


def refuse(connection: UpstreamConnection, identifier: bytes, method: str) -> None:
    """Nobody can be asked. An elicitation has an answer for that; the others have only an error."""
    if method == "elicitation/create":
        connection.answer(identifier, b'{"action":"cancel"}', None)
    else:
        connection.refuse(identifier, method)


def _input_request(question: _Question) -> JsonObject:
    params = jsonrpc.decode_object(question.params)
    params.pop("elicitationId", None)  # 2026-07-28 has none
    found = {"method": Raw(jsonrpc.encode(question.method))}
    return found | ({"params": Raw(jsonrpc.encode(params))} if question.params else {})

