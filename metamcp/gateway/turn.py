"""One request of a client on its way: where its events and its answer go, under the client's own id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from metamcp.downstream.session import Answered, ClientSession
from metamcp.errors import Cancelled, MetaMCPError
from metamcp.gateway.audit import Record
from metamcp.gateway.interface import Reply, Stateless
from metamcp.gateway.middleware.passage import Passage
from metamcp.gateway.namespace import Namespace
from metamcp.protocol import jsonrpc, translate
from metamcp.protocol.envelope import Envelope
from metamcp.protocol.jsonrpc import JsonObject
from metamcp.protocol.ladder import http_status

GIVEN_UP = Cancelled("the client gave up")


class Turn(Protocol):
    """``cancel`` is set once a server works on it, and called when the client gives up. ``passage``: what its events
    and its answer go through, where its namespace has middleware."""

    namespace: Namespace
    passage: Passage | None
    record: Record
    cancel: Callable[[JsonObject], None] | None

    def event(self, data: bytes) -> None:
        """A message that belongs to this request, before its answer."""

    def result(self, result: bytes) -> None: ...

    def error(self, error: bytes | MetaMCPError) -> None: ...


class Way(Protocol):
    """How a request of Streamable HTTP is answered: a ``Stream``, or a part of a batch's."""

    @property
    def reachable(self) -> bool:
        """What is no answer reaches the client, too."""

    def event(self, data: bytes) -> None: ...

    def answer(self, data: bytes, session: str = "") -> None: ...


class SessionTurn:
    """A request within a session of the handshake era. ``way`` is None for HTTP+SSE, where everything leaves on the
    session's one stream."""

    __slots__ = ("cancel", "id", "namespace", "passage", "record", "session", "way")

    def __init__(
        self, session: ClientSession, namespace: Namespace, identifier: bytes, way: Way | None, record: Record
    ) -> None:
        self.session = session
        self.namespace = namespace
        self.id = identifier
        self.way = way
        self.record = record
        self.passage: Passage | None = None
        self.cancel: Callable[[JsonObject], None] | None = None

    def begin(self) -> None:
        """Raises InvalidRequest when the client's id is in flight already."""
        self.session.begin(self.id, self.cancelled)
        if self.way is not None:
            self.session.calls[self.way] = None
        self.record.begin()

    def cancelled(self, params: JsonObject) -> None:
        if self.cancel is not None:
            self.cancel(params)
        self.record.end(GIVEN_UP)

    def event(self, data: bytes) -> None:
        if self.passage is not None and not (data := self.passage.event(data)):
            return
        if self.way is not None:
            self.way.event(data)
        else:
            self.session.send(data)

    def ask(self, method: str, params: bytes, on_answer: Answered, deadline: float) -> bool:
        """Ask the client on this request's own stream; False when that cannot be."""
        stream = self.way if self.way is not None and self.way.reachable else None
        return self.session.ask(method, params, on_answer, deadline, stream) is not None

    def result(self, result: bytes, opened: str = "") -> None:
        """``opened``: the id of the session that this answer opens."""
        if self.passage is not None:
            passed = _passed(self, self.passage, result)
            if passed is None:
                return
            result = passed
        self.record.end()
        self._finish(jsonrpc.result_response(self.id, result), opened)

    def error(self, error: bytes | MetaMCPError) -> None:
        body = b""
        if self.passage is not None:
            if self.passage.over:
                return
            error, body = self.passage.error(error)
        self.record.end(error)
        if isinstance(error, Cancelled) and self.way is None:
            # Nobody waits, and no POST stream has to be ended (Cancellation: no response is sent).
            self.session.finish(self.id)
            return
        self._finish(jsonrpc.error_response(self.id, body or _error_body(error)))

    def _finish(self, response: bytes, opened: str = "") -> None:
        self.session.finish(self.id)
        if self.way is None:
            self.session.send(response)
            return
        self.session.calls.pop(self.way, None)
        self.way.answer(response, opened)


class StatelessTurn:
    """A request of 2026-07-28, a client for itself. That its client hangs up is its cancellation (Cancellation)."""

    def __init__(
        self, request: Stateless, envelope: Envelope, namespace: Namespace, reply: Reply, record: Record
    ) -> None:
        self.client = request.client
        self.method = request.method
        self.id = request.id
        self.envelope = envelope
        self.namespace = namespace
        self.reply = reply
        self.record = record
        self.passage: Passage | None = None
        self.cancel: Callable[[JsonObject], None] | None = None
        reply.on_closed = self._hung_up
        record.begin()

    def event(self, data: bytes) -> None:
        if self.passage is None or (data := self.passage.event(data)):
            self.reply.event(data)

    def result(self, result: bytes) -> None:
        if self.passage is not None:
            passed = _passed(self, self.passage, result)
            if passed is None:
                return
            result = passed
        self.record.end()
        self.reply.answer(jsonrpc.result_response(self.id, result))

    def error(self, error: bytes | MetaMCPError) -> None:
        body = b""
        if self.passage is not None:
            if self.passage.over:
                return
            error, body = self.passage.error(error)
        self.record.end(error)
        body = translate.error_to_stateless(self.method, body or _error_body(error))
        self.reply.answer(jsonrpc.error_response(self.id, body), status=http_status(jsonrpc.error_code(body)))

    def _hung_up(self) -> None:
        if self.cancel is not None:
            self.cancel({})
        self.record.end(GIVEN_UP)


def _passed(turn: Turn, passage: Passage, result: bytes) -> bytes | None:
    """What middleware leaves of ``result``; None when the turn has been ended without."""
    if passage.over:
        return None
    try:
        return passage.result(result)
    except MetaMCPError as error:
        turn.error(error)
        return None


def _error_body(error: bytes | MetaMCPError) -> bytes:
    return jsonrpc.encode(error.as_jsonrpc()) if isinstance(error, MetaMCPError) else error
