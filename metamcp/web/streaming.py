"""Exchanges as HTTP responses: one JSON body, or server-sent events with heartbeats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from metamcp.errors import SupervisorAway
from metamcp.gateway.interface import Exchange, Is, Outbound
from metamcp.protocol import sse
from metamcp.protocol.http_rules import JSON, SSE, Accepts
from metamcp.web.hangup import Watched
from metamcp.web.incoming import Incoming
from metamcp.web.outgoing import Outgoing
from metamcp.web.state import OpenStreams

SESSION_HEADER = "Mcp-Session-Id"


def json_answer(outbound: Outbound) -> Outgoing:
    """A final item as the whole body, with its own status."""
    outgoing = Outgoing(outbound.status, outbound.data, JSON)
    if outbound.session:
        outgoing.add(SESSION_HEADER, outbound.session)
    if outbound.retry_after:
        outgoing.add("Retry-After", str(outbound.retry_after))
    return outgoing


@dataclass(frozen=True, slots=True)
class Resumable:
    """What a stream of Streamable HTTP is called, and whether its client knows the priming event."""

    name: str = ""
    primes: bool = False

    def encode(self, item: Outbound) -> bytes:
        return sse.event(item.data, event_id=f"{self.name}:{item.number}" if item.number else "")

    @property
    def opening(self) -> bytes:
        return sse.priming(f"{self.name}:0") if self.primes else b""


def answer(
    exchange: Exchange, accepts: Accepts, heartbeat: float, resumable: Resumable = Resumable()
) -> Outgoing:
    """The response to a POST. One JSON body when the answer comes first; server-sent events when a notification
    comes first, or nothing for one heartbeat. A client that takes only JSON waits for the final item."""
    first = exchange.next(heartbeat)
    while not accepts.sse and not (first is not None and first.final):
        first = exchange.next(heartbeat)
    if first is not None and first.final and (accepts.json or first.kind != Is.ANSWER):
        exchange.close()
        return Outgoing(202) if first.kind == Is.ACCEPTED else json_answer(first)
    outgoing = events(Stream(exchange, first, heartbeat, resumable.encode, resumable.opening))
    if first is not None and first.session:
        outgoing.add(SESSION_HEADER, first.session)
    return outgoing


def head() -> Outgoing:
    """The response to HEAD of a stream. werkzeug sends HEAD to the view of GET and drops the body that it gets
    without closing it: an exchange would stay open for ever."""
    return events(b"")


def stream(incoming: Incoming, exchange: Exchange, greeting: Callable[[Outbound], bytes]) -> Outgoing:
    """The response to a GET: a stream for as long as both sides want it; ``greeting`` comes first."""
    state = incoming.state
    exchange = Watched(exchange, incoming.connection)
    first = exchange.next(state.heartbeat)
    if first is None or first.kind != Is.OPENED:
        exchange.close()
        if first is None or first.kind != Is.FAILED:
            raise SupervisorAway("the stream could not be opened; try again")
        return json_answer(first)
    resumable = Resumable(first.data.decode())
    body = Stream(exchange, None, state.heartbeat, resumable.encode, greeting(first), streams=state.streams)
    return events(body)


def events(body: bytes | Iterable[bytes]) -> Outgoing:
    """A stream as a response of server-sent events that no proxy may hold back."""
    outgoing = Outgoing(200, body, f"{SSE}; charset=utf-8")
    outgoing.add("Cache-Control", "no-cache, no-transform")
    outgoing.add("X-Accel-Buffering", "no")
    return outgoing


class Stream:
    """A response body: iterated by the WSGI server, closed by it when the client is gone. ``opening`` goes out at once,
    then ``first`` and what follows it; None for ``first`` is the silence that made it a stream, unless there is an
    opening."""

    def __init__(
        self,
        exchange: Exchange,
        first: Outbound | None,
        heartbeat: float,
        encode: Callable[[Outbound], bytes],
        opening: bytes = b"",
        streams: OpenStreams | None = None,
    ) -> None:
        self._exchange = exchange
        self._first = first
        self._heartbeat = heartbeat
        self._encode = encode
        self._opening = opening
        self._streams = streams
        if streams is not None:
            streams.add(exchange)

    def __iter__(self) -> Iterator[bytes]:
        item = self._first
        if self._opening:
            yield self._opening
            item = item or self._exchange.next(self._heartbeat)
        while True:
            if item is None:
                yield sse.HEARTBEAT
            elif item.kind in (Is.EVENT, Is.ANSWER, Is.FAILED):
                yield self._encode(item)
            if item is not None and item.final:
                return
            item = self._exchange.next(self._heartbeat)

    def close(self) -> None:
        """PEP 3333: called by the server at the end of the response, however it ended."""
        self._exchange.close()
        if self._streams is not None:
            self._streams.remove(self._exchange)
