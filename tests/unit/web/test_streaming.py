"""Streams as they live: heartbeats in time, hang-ups, and the end of a worker."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator

import pytest
from fake_gateway import HEARTBEAT, OPENED, FakeGateway, ScriptedExchange, answer, application, chunks, event
from flask import Flask
from watched_connection import WatchedConnection
from werkzeug.test import TestResponse

from metamcp.gateway.interface import Is, Outbound
from metamcp.gateway.local import QueuedExchange
from metamcp.protocol import sse
from metamcp.web.environ import CONNECTION
from metamcp.web.state import OpenStreams, web_state
from metamcp.web.streaming import Stream

SECONDS = 10.0
JSON_POST = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Mcp-Session-Id": "s"}
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


class Live:
    """An exchange whose items come when the test says so."""

    def __init__(self, *items: Outbound) -> None:
        self.closed = threading.Event()
        self.exchange = QueuedExchange(self.closed.set)
        for item in items:
            self.exchange.put(item)


class Site:
    def __init__(self) -> None:
        self.gateway = FakeGateway()
        self.app: Flask = application(self.gateway)
        self._open: list[TestResponse] = []

    def get(self, live: Live, **environ: object) -> TestResponse:
        self.gateway.make = lambda: live.exchange
        return self._kept(self.app.test_client().get("/sse", environ_overrides=environ))

    def post(self, live: Live) -> TestResponse:
        self.gateway.make = lambda: live.exchange
        return self._kept(self.app.test_client().post("/mcp", data=PING, headers=JSON_POST))

    def _kept(self, response: TestResponse) -> TestResponse:
        self._open.append(response)
        return response

    def close(self) -> None:
        for response in self._open:
            response.close()


@pytest.fixture
def site() -> Iterator[Site]:
    built = Site()
    yield built
    built.close()


@pytest.fixture
def wire() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end of a connection, and the client's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


# --- heartbeats --------------------------------------------------------------------------------------------


def test_a_silent_stream_beats_and_still_delivers(site: Site) -> None:
    live = Live(OPENED)
    pieces = chunks(site.get(live))
    assert next(pieces).startswith(b"event: endpoint\n")
    assert [next(pieces) for _ in range(3)] == [sse.HEARTBEAT] * 3
    live.exchange.put(event(b'{"n":1}'))
    assert next(pieces) == b'event: message\ndata: {"n":1}\n\n'


def test_a_slow_answer_is_awaited_with_heartbeats_and_ends_the_stream(site: Site) -> None:
    live = Live()
    pieces = chunks(site.post(live))
    assert next(pieces) == sse.HEARTBEAT
    live.exchange.put(answer(b"{}"))
    assert [piece for piece in pieces if piece != sse.HEARTBEAT] == [b"event: message\ndata: {}\n\n"]


def test_the_gateways_end_of_a_stream_ends_the_response(site: Site) -> None:
    live = Live(OPENED, event(b"{}"), Outbound(Is.ENDED, b"replaced"))
    assert len(list(chunks(site.get(live)))) == 2


def test_a_line_end_within_a_message_never_splits_its_event(site: Site) -> None:
    live = Live(OPENED, event(b'{\r\n"n":\n1}'), Outbound(Is.ENDED))
    assert list(chunks(site.get(live)))[1] == b'event: message\ndata: {  "n": 1}\n\n'


# --- hang-ups ----------------------------------------------------------------------------------------------


def test_a_client_that_stays_keeps_its_exchange(site: Site, wire: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = wire
    live = Live(OPENED)
    pieces = chunks(site.get(live, **{CONNECTION: WatchedConnection(ours)}))
    assert [next(pieces) for _ in range(4)][1:] == [sse.HEARTBEAT] * 3
    assert not live.closed.is_set()


def test_a_socket_that_is_closed_already_ends_the_exchange(site: Site) -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    theirs.close()
    live = Live(OPENED)
    assert len(list(chunks(site.get(live, **{CONNECTION: WatchedConnection(ours)})))) < SECONDS / HEARTBEAT
    assert live.closed.is_set()


def test_a_hang_up_wakes_the_stream_that_waits(site: Site, wire: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = wire
    live = Live(OPENED)
    ended: queue.Queue[list[bytes]] = queue.Queue()
    response = site.get(live, **{CONNECTION: WatchedConnection(ours)})
    reader = threading.Thread(target=lambda: ended.put(list(chunks(response))))
    reader.start()
    theirs.close()
    assert ended.get(timeout=SECONDS)[0].startswith(b"event: endpoint\n")
    reader.join(SECONDS)


def test_nobody_watches_the_socket_of_a_stream_that_was_closed(
    site: Site, wire: tuple[socket.socket, socket.socket]
) -> None:
    response = site.get(Live(OPENED), **{CONNECTION: WatchedConnection(wire[0])})
    response.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "hangup"]


# --- the end of a worker -----------------------------------------------------------------------------------


def test_drain_ends_long_lived_streams_but_not_answers_to_posts(site: Site) -> None:
    stream, post = Live(OPENED), Live(event(b'{"n":1}'))
    streamed, answered = chunks(site.get(stream)), chunks(site.post(post))
    assert next(streamed).startswith(b"event: endpoint\n")
    web_state(site.app).streams.drain()
    assert [piece for piece in streamed if piece != sse.HEARTBEAT] == []
    assert stream.closed.is_set() and not post.closed.is_set()
    post.exchange.put(answer(b"{}"))
    assert [piece for piece in answered if piece != sse.HEARTBEAT][-1] == b"event: message\ndata: {}\n\n"


def test_a_stream_that_opens_while_draining_ends_at_once(site: Site) -> None:
    web_state(site.app).streams.drain()
    live = Live(OPENED)
    assert len(list(chunks(site.get(live)))) == 1
    assert live.closed.is_set()


def test_a_stream_that_is_over_is_forgotten() -> None:
    streams, exchange = OpenStreams(), ScriptedExchange(())
    body = Stream(exchange, OPENED, HEARTBEAT, sse.event, streams=streams)
    body.close()
    exchange.closed = False
    streams.drain()
    assert not exchange.closed


def test_closing_a_response_twice_is_harmless() -> None:
    exchange = ScriptedExchange(())
    body = Stream(exchange, None, HEARTBEAT, sse.event, streams=OpenStreams())
    body.close()
    body.close()
    assert exchange.closed
