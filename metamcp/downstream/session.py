"""One handshake-era MCP client: what it told us, its open streams, and the requests in both directions.

A message that belongs to a call travels with that call's answer. Everything else a server says goes to
exactly one stream of the session (2025-11-25, Transports, Multiple Connections): for HTTP+SSE the stream,
for Streamable HTTP the newest call that is still open, else the newest GET stream, else it waits for one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from metamcp.downstream.streams import Window
from metamcp.errors import MetaMCPError, TooManyRequests
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import Message
from metamcp.protocol.peer import Peer

Transport = Literal["http", "sse"]
Answered = Callable[[bytes | None, bytes | None], None]
"""Called once with the client's ``(result, None)`` or ``(None, error)``, as raw bytes."""

MAX_IN_FLIGHT = 256
"""Requests of one session that have not been answered."""

_MAX_STREAMS = 4  # GET streams of one session; the oldest ends when another one opens
_BACKLOG_MESSAGES, _BACKLOG_BYTES = 200, 1024 * 1024


class Call(Protocol):
    """The stream of a request that is being worked on. ``reachable``: what is said there reaches the client."""

    @property
    def reachable(self) -> bool: ...

    def event(self, data: bytes) -> None: ...


class Sink(Protocol):
    """A standing stream, for what belongs to no request."""

    def event(self, data: bytes) -> None: ...

    def end(self, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Question:
    """A request of a server that the client has to answer before ``deadline`` (monotonic seconds)."""

    on_answer: Answered
    deadline: float


class ClientSession:
    """Owned by the reactor's thread. ``id`` is a secret of its client; show ``short_id`` to others."""

    def __init__(
        self,
        identifier: str,
        endpoint: str,
        principal: str,
        transport: Transport,
        clock: Callable[[], float],
        owner: str = "",
    ) -> None:
        self.id = identifier
        self.endpoint = endpoint
        self.principal = principal
        self.owner = owner or principal
        self.transport = transport
        self.hello = b""
        self.passed: Mapping[str, str] = {}  # headers of the request that opened it, for servers that want them
        self.revision = ""
        self.log_level = ""
        self.since = self.last_used = clock()
        self.closed = ""  # the reason, once closed
        self.streams: list[Sink] = []
        self.calls: dict[Call, None] = {}  # the newest last
        self.window = Window(clock)
        self._peer: Peer[Question, Callable[[jsonrpc.JsonObject], None]] = Peer()
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0

    @property
    def short_id(self) -> str:
        return self.id[:8]

    @property
    def busy(self) -> bool:
        """A stream is open or a call is in flight: not idle, however long ago its last request came."""
        return bool(self.streams or self.in_flight)

    @property
    def in_flight(self) -> int:
        """Requests of the client that have not been answered."""
        return len(self._peer.received)

    # --- from the client -------------------------------------------------------------------------------

    def begin(self, identifier: bytes, cancel: Callable[[jsonrpc.JsonObject], None]) -> None:
        """A request is in flight. Raises InvalidRequest for an id that is in flight already, and TooManyRequests."""
        if self.in_flight >= MAX_IN_FLIGHT:
            text = f"{MAX_IN_FLIGHT} requests of this session wait for their answers"
            raise TooManyRequests(text, limit="in-flight", retryAfterMs=1000)
        self._peer.receive(identifier, cancel)

    def finish(self, identifier: bytes) -> None:
        self._peer.finish(identifier)

    def cancel(self, identifier: bytes, params: jsonrpc.JsonObject) -> None:
        """``notifications/cancelled`` came; an unknown id is ignored (Cancellation, Behavior Requirements)."""
        if cancel := self._peer.finish(identifier):
            cancel(params)

    def answer(self, message: Message) -> None:
        """The client answered a question; one that nobody asked is ignored."""
        question = self._peer.answered(bytes(message.id))
        if question is not None:
            error = message.failure
            question.on_answer(None if error else bytes(message.result), error or None)

    # --- to the client ---------------------------------------------------------------------------------

    def send(self, data: bytes, related: bool = False) -> None:
        """Deliver to one stream, or keep for the next GET stream, the oldest giving way. ``related``: it was
        said while a call of this session is being worked on, by the server that works on it."""
        sink = self._sink(related)
        if sink is not None:
            sink.event(data)
            return
        self._backlog.append(data)
        self._backlog_bytes += len(data)
        while len(self._backlog) > _BACKLOG_MESSAGES or self._backlog_bytes > _BACKLOG_BYTES:
            self._backlog_bytes -= len(self._backlog.popleft())

    def ask(
        self, method: str, params: bytes, on_answer: Answered, deadline: float, stream: Call | None = None
    ) -> int | None:
        """Send a request of a server, on ``stream`` if it is known to belong there; its id, or None when no stream
        can carry it now."""
        sink = stream or self._sink(related=True)
        if sink is None:
            return None
        identifier = self._peer.mint()
        self._peer.send(identifier, Question(on_answer, deadline))
        sink.event(jsonrpc.request(b"%d" % identifier, method, params))
        return identifier

    def withdraw(self, identifier: int) -> None:
        """The server no longer wants the answer (Cancellation)."""
        if self._peer.sent.pop(identifier, None) is not None:
            self.send(jsonrpc.notification("notifications/cancelled", b'{"requestId":%d}' % identifier), related=True)

    def attach(self, stream: Sink) -> None:
        """A stream was opened; what waited goes there."""
        self.streams.append(stream)
        if len(self.streams) > _MAX_STREAMS:
            self.streams.pop(0).end("replaced")
        while self._backlog:
            stream.event(self._backlog.popleft())
        self._backlog_bytes = 0

    def detach(self, stream: Sink) -> None:
        if stream in self.streams:
            self.streams.remove(stream)

    def expire(self, now: float, error: MetaMCPError) -> None:
        """Answer questions that the client left open for too long: a silent client must not hang a server."""
        for identifier, question in tuple(self._peer.sent.items()):
            if now >= question.deadline and self._peer.sent.pop(identifier, None) is not None:
                question.on_answer(None, jsonrpc.encode(error.as_jsonrpc()))

    def close(self, reason: str, error: MetaMCPError) -> None:
        """End the streams, cancel the calls, answer the open questions. Idempotent."""
        if self.closed:
            return
        self.closed = reason
        calls, self._peer.received = list(self._peer.received.values()), {}
        for cancel in calls:
            cancel({})
        self.expire(float("inf"), error)
        streams, self.streams = self.streams, []
        for stream in streams:
            stream.end(reason)

    def _sink(self, related: bool) -> Call | Sink | None:
        if related:
            for call in reversed(self.calls):
                if call.reachable:
                    return call
        return self.streams[-1] if self.streams else None
