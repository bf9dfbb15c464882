"""HTTP+SSE: the stream names the place for messages and brings all answers; its end is the end of the child."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fake_remote import HELLO, INITIALIZED, SPEC, Far, Json, answer, running
from loopback import SECONDS, Line, Loopback, loopback

from metamcp.errors import RemoteRefused, ServerDied
from metamcp.protocol import sse
from metamcp.runtime.child import Exit

NOTE = {"jsonrpc": "2.0", "method": "notifications/message", "params": {}}


class Server:
    """Keeps the stream open, and takes what is posted; ``refuse`` has a status line in place of 202."""

    def __init__(self) -> None:
        self.streams: queue.Queue[Line] = queue.Queue()
        self.posts: queue.Queue[tuple[str, Json]] = queue.Queue()
        self.refuse: dict[str, str] = {}
        self.hung_up: queue.Queue[bool] = queue.Queue()

    def __call__(self, line: Line) -> None:
        if line.head.startswith("GET"):
            line.stream()
            self.streams.put(line)
            self.hung_up.put(line.closed())
        else:
            message = json.loads(line.body)
            self.posts.put((line.head, message))
            line.answer(self.refuse.get(message.get("method", ""), "202 Accepted"), b"Accepted")


class Talk:
    """A child whose stream is open; ``say`` is what the server says on it."""

    def __init__(self, server: Server, site: Loopback, far: Far) -> None:
        self.server, self.site, self.far = server, site, far
        far.write(HELLO)  # nothing is opened before there is something to say
        self.stream = server.streams.get(timeout=SECONDS)

    def say(self, message: object, name: str = "message") -> None:
        data = message if isinstance(message, str) else json.dumps(message)
        self.stream.say(sse.event(data.encode(), name))

    def post(self) -> tuple[str, Json]:
        return self.server.posts.get(timeout=SECONDS)

    def handshake(self) -> None:
        self.say("/messages?session=1", "endpoint")
        self.post()
        self.say(answer(1, {"protocolVersion": "2024-11-05"}))
        assert self.far.hear()["id"] == 1
        self.far.write(INITIALIZED)
        assert self.post()[1] == INITIALIZED


@pytest.fixture
def talk() -> Iterator[Talk]:
    server = Server()
    with loopback(server) as site, running(replace(SPEC, transport="sse", url=site.url)) as far:
        yield Talk(server, site, far)


def test_messages_wait_for_the_endpoint_and_go_there_with_the_configured_headers(talk: Talk) -> None:
    assert talk.server.posts.empty()
    talk.say("/messages?session=1", "endpoint")
    head, message = talk.post()
    assert head.startswith("POST /messages?session=1 HTTP/1.1") and "Authorization: Bearer sesame" in head
    assert message == HELLO
    assert "Authorization: Bearer sesame" in talk.stream.head


def test_answers_and_everything_else_come_on_the_stream(talk: Talk) -> None:
    talk.handshake()
    talk.far.call(2)
    assert talk.post()[1]["id"] == 2
    talk.say(NOTE)
    talk.say(answer(2))
    assert [talk.far.hear(), talk.far.hear()] == [NOTE, answer(2)]


def test_requests_follow_initialized(talk: Talk) -> None:
    talk.say("m", "endpoint")
    talk.far.write(INITIALIZED)
    talk.far.call(2)
    talk.far.call(3)
    assert {talk.post()[1]["method"], talk.post()[1]["method"]} == {"initialize", "notifications/initialized"}
    assert {talk.post()[1]["id"], talk.post()[1]["id"]} == {2, 3}


@pytest.mark.parametrize("written", ["http://other.example/m", "//other.example/m", ""])
def test_endpoint_elsewhere_is_refused_and_gets_nothing(talk: Talk, written: str) -> None:
    talk.say(written, "endpoint")
    assert "another address than its own" in talk.far.hear().reason
    assert isinstance(talk.far.child.error, RemoteRefused)
    assert talk.server.posts.empty()


@pytest.mark.parametrize("status", ["401 Unauthorized", "500 No", "302 Found"])
def test_refused_request_is_an_error_for_that_request_alone(talk: Talk, status: str) -> None:
    talk.handshake()
    talk.server.refuse["tools/call"] = status
    talk.far.call(2)
    told = talk.far.hear()
    assert told["id"] == 2 and f"HTTP {status[:3]}" in told["error"]["message"]
    talk.far.call(3, "tools/list")
    talk.say(answer(3))
    assert talk.far.hear()["id"] == 3


def test_refused_initialize_ends_the_child(talk: Talk) -> None:
    talk.server.refuse["initialize"] = "500 No"
    talk.say("/m", "endpoint")
    assert "HTTP 500" in talk.far.hear().reason


def test_end_of_the_stream_is_the_end_of_the_child(talk: Talk) -> None:
    talk.handshake()
    talk.far.call(2)
    talk.post()
    talk.stream.socket.shutdown(2)
    ended = talk.far.hear()
    assert isinstance(ended, Exit) and "its event stream" in ended.reason
    assert isinstance(talk.far.child.error, ServerDied)


def test_stop_hangs_up(talk: Talk) -> None:
    talk.handshake()
    talk.far.call(2)
    talk.post()
    assert talk.far.stop().reason == "enough"
    assert talk.server.hung_up.get(timeout=SECONDS)


@pytest.mark.parametrize("status", ["404 Not Found", "405 Method Not Allowed"])
def test_no_stream_at_all_names_url_and_transport(status: str) -> None:
    def handle(line: Line) -> None:
        line.answer(status)

    with loopback(handle) as site, running(replace(SPEC, transport="sse", url=site.url)) as far:
        far.write(HELLO)
        ended: Any = far.hear()
        assert "check its path and transport" in ended.reason
        assert far.child.error is not None and far.child.error.fault == "operator"


def test_stateless_request_is_answered_without_asking_the_server() -> None:
    server = Server()
    with loopback(server) as site, running(replace(SPEC, transport="sse", url=site.url)) as far:
        far.call(1, "server/discover", _meta={"io.modelcontextprotocol/protocolVersion": "2026-07-28"})
        told = far.hear()
        assert (told["id"], told["error"]["code"]) == (1, -32601)
        assert site.lines.empty()
