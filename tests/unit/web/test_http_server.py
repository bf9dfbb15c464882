"""The HTTP server of a web worker, on gevent in a thread of its own: connections that wait, and who is let in."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

import gevent
import pytest
from gateway_process import eventually
from gevent.pool import Pool

from metamcp.web import http_handler
from metamcp.web.environ import CONNECTION
from metamcp.web.http_handler import Handler
from metamcp.web.http_server import Edge, Server

SECONDS = 10.0
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SMALL = 3  # connections that are served or parked at once


class Quiet(logging.Logger):
    access_log_enabled = False


class Running:
    """A server in its thread. ``do`` runs in it."""

    def __init__(self, most_of_one_address: int | None, idle_seconds: float) -> None:
        self._edge = Edge(SECONDS, idle_seconds, most_of_one_address)
        self._ready = threading.Event()
        self._jobs: list[Callable[[], None]] = []
        self.hung_up = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(SECONDS)

    def _run(self) -> None:
        self._ended = gevent.event.Event()
        self._wake = gevent.get_hub().loop.async_()
        self._wake.start(lambda: gevent.spawn(self._jobs.pop(0)))
        kind = type("Small", (Server,), {"edge": self._edge, "running": []})
        self.server: Server = kind(
            ("127.0.0.1", 0), self._answer, log=Quiet("quiet"), error_log=None, handler_class=Handler,
            spawn=Pool(SMALL), environ={"wsgi.multithread": True},
        )  # fmt: skip
        self.server.start()
        self._ready.set()
        self._ended.wait()
        self.server.stop(timeout=SECONDS)
        self._wake.close()
        gevent.get_hub().destroy(destroy_loop=True)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/watch":
            seen = gevent.event.Event()
            stop = environ[CONNECTION].watch(seen.set)
            start_response("200 OK", [])
            yield b"watching"
            if seen.wait(SECONDS):
                self.hung_up.set()
            stop()
            return
        if environ["PATH_INFO"] == "/broken":
            raise ValueError("the application is broken")
        start_response("200 OK", [] if environ["PATH_INFO"] == "/stream" else [("Content-Length", "2")])
        yield b"ok"

    def do(self, job: Callable[[], None]) -> None:
        self._jobs.append(job)
        self._wake.send()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.server.address, timeout=SECONDS)

    def parked(self, count: int) -> None:
        eventually(lambda: len(self.server.parking) == count, f"{count} parked, not {len(self.server.parking)}")

    def end(self) -> None:
        self.do(self._ended.set)
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Running]]:
    monkeypatch.setattr(http_handler, "_LINGER_SECONDS", 0.02)
    made: list[Running] = []

    def make(most_of_one_address: int | None = None, idle_seconds: float = 60.0) -> Running:
        made.append(Running(most_of_one_address, idle_seconds))
        return made[-1]

    yield make
    for running in made:
        running.end()


def ask(connection: socket.socket) -> bytes:
    connection.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"\r\n\r\nok"):
        piece = connection.recv(1000)
        assert piece, answer
        answer += piece
    return answer


def test_a_connection_that_waits_is_parked_and_answers_again(run: Callable[..., Running]) -> None:
    running = run()
    with closing(running.connect()) as connection:
        for _ in range(3):
            ask(connection)
            running.parked(1)
            assert running.server.pool.free_count() == SMALL
    running.parked(0)


def test_where_many_wait_nobody_lingers(run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_handler, "_LINGER_SECONDS", SECONDS)
    monkeypatch.setattr(http_handler, "_MOST_LINGERING", 1)
    running = run()
    with closing(running.connect()) as first:
        ask(first)
        eventually(lambda: len(running.server.waiting) == 1, "the first one lingers")
        with closing(running.connect()) as second:
            for _ in range(2):
                ask(second)
                running.parked(1)


def test_a_client_that_leaves_while_it_is_parked_leaves_nothing(run: Callable[..., Running]) -> None:
    running = run(most_of_one_address=1)
    with closing(running.connect()) as connection:
        ask(connection)
        running.parked(1)
    eventually(lambda: not running.server.connections, "no connection")
    assert not running.server.addresses
    with closing(running.connect()) as again:
        ask(again)


def test_a_parked_connection_counts_for_its_address(run: Callable[..., Running]) -> None:
    running = run(most_of_one_address=1)
    with closing(running.connect()) as first, closing(running.connect()) as second:
        ask(first)
        running.parked(1)
        second.sendall(REQUEST)
        assert second.recv(1000).startswith(b"HTTP/1.1 429 ")
        ask(first)


def test_one_that_is_silent_for_too_long_is_closed(run: Callable[..., Running]) -> None:
    running = run(idle_seconds=0.05)
    with closing(running.connect()) as connection:
        ask(connection)
        assert connection.recv(1) == b""
    eventually(lambda: not running.server.connections, "no connection")


def test_the_longest_silent_one_makes_room(run: Callable[..., Running]) -> None:
    running = run()
    connections = []
    for number in range(SMALL):
        connections.append(running.connect())
        ask(connections[-1])
        running.parked(number + 1)
    with closing(running.connect()) as one_more:
        ask(one_more)
        assert connections[0].recv(1) == b""
        running.parked(SMALL)
    for connection in connections[1:]:
        ask(connection)
    for connection in connections:
        connection.close()


def test_the_end_of_the_server_closes_what_is_parked_and_parks_nothing_more(run: Callable[..., Running]) -> None:
    running = run()
    with closing(running.connect()) as connection:
        ask(connection)
        running.parked(1)
        running.do(running.server.close)
        assert connection.recv(1) == b""
    eventually(lambda: not running.server.connections, "no connection")


def test_a_watch_tells_that_the_client_hung_up(run: Callable[..., Running]) -> None:
    running = run()
    with closing(running.connect()) as connection:
        connection.sendall(REQUEST.replace(b"/ ", b"/watch "))
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert not running.hung_up.is_set()
    assert running.hung_up.wait(SECONDS)


def test_an_answer_is_one_write_with_its_head(run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    running, written = run(), []
    send_at_once = Handler._send_at_once
    monkeypatch.setattr(
        Handler, "_send_at_once", lambda self, data: written.append(bytes(data)) or send_at_once(self, data)
    )
    with closing(running.connect()) as connection:
        ask(connection)
        assert len(written) == 1 and written[0].endswith(b"\r\n\r\nok")
        connection.sendall(REQUEST.replace(b"/ ", b"/stream "))
        eventually(lambda: len(written) == 3, "head and first chunk, and the end")
        assert written[1].endswith(b"\r\n\r\n2\r\nok\r\n") and written[2] == b"0\r\n\r\n"


def until_closed(connection: socket.socket) -> bytes:
    found = b""
    while piece := connection.recv(1000):
        found += piece
    return found


def test_where_nothing_else_tells_the_end_of_a_body_its_connection_does(run: Callable[..., Running]) -> None:
    with closing(run().connect()) as connection:
        connection.sendall(b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        head, _, body = until_closed(connection).partition(b"\r\n\r\n")
    assert b"\r\nConnection: close" in head and body == b"ok"


def test_an_application_that_fails_before_its_answer_is_a_500(run: Callable[..., Running]) -> None:
    with closing(run().connect()) as connection:
        connection.sendall(REQUEST.replace(b"/ ", b"/broken "))
        assert until_closed(connection).startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\n"], ids=["nothing", "head", "body"]
)
def test_one_that_does_not_go_on_is_not_waited_for(
    run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    running = run()
    monkeypatch.setattr(running.server, "edge", Edge(0.05, 60.0, None))
    monkeypatch.setattr(running.server, "application", _reader)
    with closing(running.connect()) as connection:
        connection.sendall(sent)
        assert until_closed(connection).partition(b"\r\n")[0] in (b"", b"HTTP/1.1 408 Request Timeout")
    eventually(lambda: not running.server.connections, "no connection")


def _reader(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    try:
        environ["wsgi.input"].read(1)
    except TimeoutError:
        start_response("408 Request Timeout", [])
    return [b""]
