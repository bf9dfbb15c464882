"""A client of the handshake era at a server of 2026-07-28: its input-required results become requests to the client.

Each round asks the client everything that the server wants to know, then sends the same request again with the
answers and the server's ``requestState`` as it was (2026-07-28, Multi Round-Trip Requests).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from metamcp.concurrency.reactor import Reactor
from metamcp.errors import InvalidParams, MetaMCPError, ServerMisbehaved
from metamcp.gateway.relay import QUESTION_SECONDS, QUESTIONS
from metamcp.gateway.turn import SessionTurn
from metamcp.protocol import jsonrpc, translate
from metamcp.protocol.jsonrpc import JsonObject, Raw
from metamcp.upstream.connection import UpstreamCall, UpstreamConnection

MAX_ROUNDS = 10
_PAUSE_FIRST, _PAUSE_MOST = 0.05, 0.25  # seconds before a retry for which nobody had to be asked


@dataclass(frozen=True, slots=True)
class _Input:
    """What an input-required result asks for; ``state`` is b"" when there is none."""

    requests: dict[str, tuple[str, bytes]]  # key -> (method, raw params)
    state: bytes


class Rounds:
    """One call of one session. ``params`` carry the envelope already."""

    def __init__(
        self,
        reactor: Reactor,
        turn: SessionTurn,
        connection: UpstreamConnection,
        call: UpstreamCall,
        capabilities: frozenset[str],
        unique: Callable[[], str],
        over: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._turn = turn
        self._connection = connection
        self._first = call
        self._capabilities = capabilities
        self._unique = unique
        self._over = over
        self._rounds = 0
        self._answers: dict[str, Raw] = {}
        self._waiting: set[str] = set()
        self._call = call
        self._cancelled = False
        self._held = False  # between two rounds; the instance must not be ended meanwhile

    def begin(self) -> None:
        """Raises AtCapacity."""
        self._turn.cancel = self._cancel
        self._send({})

    def _send(self, more: JsonObject) -> None:
        first = self._first
        self._call = UpstreamCall(
            first.method, first.params | more, self._done, self._turn.event, token=first.token, cause=first.cause
        )
        self._connection.call(self._call)

    def _hold(self, held: bool) -> None:
        self._connection.held += held - self._held
        self._held = held

    def _cancel(self, params: JsonObject) -> None:
        self._cancelled = True
        self._hold(False)
        self._connection.cancel(self._call, params)

    def _done(self, result: bytes | None, error: bytes | MetaMCPError | None) -> None:
        if error is not None:
            self._fail(error)
            return
        try:
            wanted = _input_of(result or b"{}")
        except InvalidParams as invalid:
            self._fail(self._misbehaved(invalid.text))
            return
        if wanted is None:
            self._over()
            self._turn.result(translate.to_handshake(self._first.method, result or b"{}"))
        else:
            self._next(wanted)

    def _next(self, wanted: _Input) -> None:
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            self._fail(self._misbehaved(f"it asked more than {MAX_ROUNDS} times"))
            return
        self._hold(True)
        if not wanted.requests:
            pause = min(_PAUSE_MOST, _PAUSE_FIRST * 2.0 ** (self._rounds - 1))
            self._reactor.call_later(pause, lambda: self._retry(wanted))
            return
        try:
            asked = {key: (method, self._heard(method, params)) for key, (method, params) in wanted.requests.items()}
        except MetaMCPError as refused:
            # No answer to a question says that it was not asked: the call cannot go on.
            self._fail(refused)
            return
        self._answers, self._waiting = {}, set(asked)
        for key, (method, params) in asked.items():
            if key in self._waiting:  # else another one could not be asked, and the call has failed
                self._ask(key, method, params, wanted)

    def _heard(self, method: str, params: bytes) -> bytes:
        """What middleware leaves of a question. Raises MetaMCPError for one that is not to be asked."""
        passage = self._turn.passage
        return params if passage is None else passage.question(method, params)

    def _ask(self, key: str, method: str, params: bytes, wanted: _Input) -> None:
        def answered(result: bytes | None, error: bytes | None) -> None:
            if key not in self._waiting:
                return  # another question of this round failed already
            if error is not None:
                # There is no answer that says "the client refused": the call cannot go on.
                self._waiting.clear()
                self._fail(error)
                return
            self._waiting.discard(key)
            self._answers[key] = Raw(result or b"{}")
            if not self._waiting:
                self._retry(wanted)

        deadline = self._reactor.clock() + QUESTION_SECONDS
        declared = QUESTIONS.get(method) in self._capabilities
        if not declared or not self._turn.ask(method, self._dressed(method, params), answered, deadline):
            self._waiting.clear()
            self._fail(self._misbehaved(f"it asks for {method}, which this client did not declare or cannot hear"))

    def _dressed(self, method: str, params: bytes) -> bytes:
        """URL mode of 2025-11-25 needs an id, which 2026-07-28 has not (Elicitation)."""
        if method != "elicitation/create" or b'"url"' not in params:
            return params
        members = jsonrpc.decode_object(params)
        if bytes(members.get("mode", b"")) == b'"url"':
            members.setdefault("elicitationId", Raw(jsonrpc.encode(self._unique())))
        return jsonrpc.encode(members)

    def _retry(self, wanted: _Input) -> None:
        if self._cancelled:
            return
        more: JsonObject = {}
        if self._answers:
            more["inputResponses"] = Raw(jsonrpc.encode(self._answers))
        if wanted.state:
            more["requestState"] = Raw(wanted.state)
        self._answers = {}
        self._hold(False)
        try:
            self._send(more)
        except MetaMCPError as refused:
            self._fail(refused)

    def _fail(self, error: bytes | MetaMCPError) -> None:
        self._hold(False)
        self._over()
        self._turn.error(error)

    def _misbehaved(self, text: str) -> ServerMisbehaved:
        name = self._connection.spec.name
        return ServerMisbehaved(f"server {name!r}: {text}", server=name)


def _input_of(result: bytes) -> _Input | None:
    """What ``result`` asks for; None when it is complete. Raises InvalidParams."""
    if b'"input_required"' not in result:
        return None
    members = jsonrpc.decode_object(result, "the result")
    if bytes(members.get("resultType", b"")) != b'"input_required"':
        return None
    requests = {}
    for key, raw in jsonrpc.decode_object(members.get("inputRequests", b""), "inputRequests").items():
        request = jsonrpc.decode_object(raw, f"inputRequests.{key}")
        requests[key] = (jsonrpc.decode_string(request.get("method"), "method"), bytes(request.get("params", b"")))
    return _Input(requests, bytes(members.get("requestState", b"")))
