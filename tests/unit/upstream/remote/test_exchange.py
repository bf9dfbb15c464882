"""Requests over real connections: each can be ended from outside, and what is read is bounded."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from loopback import SECONDS, Line, loopback

from metamcp.concurrency.reactor import Reactor
from metamcp.protocol.sse import ServerEvent
from metamcp.upstream.remote import exchange
from metamcp.upstream.remote.exchange import Ask, Exchange, Exchanges, Head, Lane, Over

LIMIT = 1000


class Ear:
    """Hears, and remembers on which thread."""

    def __init__(self) -> None:
        self.told: queue.Queue[Any] = queue.Queue()
        self.threads: set[int] = set()

    def _note(self, what: object) -> None:
        self.threads.add(threading.get_ident())
        self.told.put(what)

    def opened(self, head: Head) -> None:
        self._note(head)

    def event(self, event: ServerEvent) -> None:
        self._note(event)

    def over(self, over: Over) -> None:
        self._note(over)

    def next(self) -> Any:
        return self.told.get(timeout=SECONDS)


class House:
    def __init__(self) -> None:
        self.reactor = Reactor()
        self.idle = threading.Semaphore(0)
        self.exchanges = Exchanges(self.reactor, "far", LIMIT, self.idle.release)
        self.reactor.start()

    def do(self, call: Any) -> Any:
        done: queue.Queue[Any] = queue.Queue()
        self.reactor.call_soon(lambda: done.put(call()))
        return done.get(timeout=SECONDS)

    def ask(self, url: str, verb: str = "POST", lane: Lane = "calls", **more: Any) -> tuple[Ear, Exchange]:
        ear = Ear()
        asked = Ask(verb, url, more.pop("headers", {}), more.pop("silence", SECONDS), **more)
        return ear, self.do(lambda: self.exchanges.begin(asked, ear, lane))

    def wait_idle(self) -> None:
        while self.exchanges.busy:
            assert self.idle.acquire(timeout=SECONDS)

    def close(self) -> None:
        self.do(self.exchanges.abort_all)
        self.wait_idle()
        self.do(self.exchanges.close)
        self.reactor.close()


@pytest.fixture
def house() -> Iterator[House]:
    built = House()
    yield built
    built.close()


def test_body_and_head_are_told_on_the_reactors_thread(house: House) -> None:
    kind = "Content-Type: Application/JSON; charset=utf-8"
    with loopback(lambda line: line.answer("200 OK", b"{}", kind, "Mcp-Session-Id: s")) as server:
        ear, _ = house.ask(server.url, body=b"hello", headers={"X-A": "ä".encode()})
        assert ear.next() == Over(Head(200, "application/json", "s"), b"{}")
        assert "POST /mcp" in server.next().head
        assert ear.threads == {house.do(threading.get_ident)}


def test_events_are_told_as_they_come(house: House) -> None:
    go_on = threading.Event()

    def handle(line: Line) -> None:
        line.stream(b"id: 1\nda")
        line.say(b"ta: one\n\n")
        assert go_on.wait(SECONDS)
        line.say(b"retry: 5\ndata: two\n\n")

    with loopback(handle) as server:
        ear, _ = house.ask(server.url, "GET", "streams")
        assert ear.next().streams
        assert ear.next() == ServerEvent("message", b"one", "1")
        go_on.set()
        assert ear.next() == ServerEvent("message", b"two", "1")
        assert ear.next() == Over(Head(200, "text/event-stream"), last_id="1", retry_ms=5)


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n"])
def test_abort_ends_a_wait_at_once_and_nothing_more_is_told(house: House, begun: bytes) -> None:
    hung_up: queue.Queue[bool] = queue.Queue()

    def handle(line: Line) -> None:
        line.say(begun)
        hung_up.put(line.closed())

    with loopback(handle) as server:
        ear, exchange = house.ask(server.url, "GET", "streams")
        server.next()
        if begun:
            assert ear.next().streams and ear.next().data == b"x"
        house.do(lambda: house.exchanges.abort(exchange))
        assert hung_up.get(timeout=SECONDS)
        house.wait_idle()
        assert ear.told.empty()


def test_abort_all_ends_what_runs_and_what_waits(house: House) -> None:
    with loopback(lambda line: line.closed() and None) as server:
        ears = [house.ask(server.url, lane="words")[0] for _ in range(3)]
        server.next()
        house.do(house.exchanges.abort_all)
        house.wait_idle()
        assert all(ear.told.empty() for ear in ears)
        assert server.lines.empty()


def test_silence_beyond_its_deadline_is_told(house: House) -> None:
    with loopback(lambda line: line.closed() and None) as server:
        ear, _ = house.ask(server.url, silence=0.05)
        assert ear.next() == Over(trouble="silent", detail="nothing came for 0.05 s")


def test_stream_that_falls_silent_is_told_with_its_last_id(house: House) -> None:
    def handle(line: Line) -> None:
        line.stream(b"id: 9\n\n")
        line.closed()

    with loopback(handle) as server:
        ear, _ = house.ask(server.url, silence=0.5)
        ear.next()
        over = ear.next()
        assert (over.trouble, over.last_id) == ("silent", "9")


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_what_is_longer_than_the_limit_is_not_read_to_its_end(house: House, kind: str) -> None:
    def handle(line: Line) -> None:
        line.say(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\ndata: ".encode())
        while True:
            line.say(b"x" * 4096)

    with loopback(handle) as server:
        ear, _ = house.ask(server.url)
        told = ear.next()
        over = told if isinstance(told, Over) else ear.next()
        assert over.trouble == "too-large"


def test_body_that_is_cut_off_is_broken(house: House) -> None:
    def handle(line: Line) -> None:
        line.say(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{"a"')

    with loopback(handle) as server:
        assert house.ask(server.url)[0].next().trouble == "broken"


def test_nobody_there_is_unreachable_with_the_systems_words(house: House) -> None:
    with loopback(lambda line: None) as server:
        url = server.url
    assert house.ask(url)[0].next() == Over(trouble="unreachable", detail="Connection refused")


def test_name_that_does_not_exist_is_unreachable(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    over = house.ask("http://no-such-host.invalid/mcp")[0].next()
    assert over == Over(trouble="unreachable", detail="Name or service not known")


@pytest.mark.parametrize("headers", [{"X-A": "a\nb"}, {"X-A": " a"}])
def test_header_that_cannot_be_sent_is_told(house: House, headers: dict[str, str]) -> None:
    assert house.ask("http://127.0.0.1:9/mcp", headers=headers)[0].next().trouble == "address"


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "308 Permanent Redirect", "301 Moved Permanently"])
def test_redirect_within_the_origin_is_followed_with_the_same_request(house: House, status: str) -> None:
    def handle(line: Line) -> None:
        if "/mcp/ " in line.head:
            line.answer("200 OK", line.body.encode(), "Content-Type: application/json")
        else:
            line.answer(status, b"", "Location: /mcp/")

    with loopback(handle) as server:
        ear, _ = house.ask(server.url, body=b'"same"', headers={"Authorization": "key"})
        assert ear.next().body == b'"same"'
        assert all("Authorization: key" in server.next().head for _ in range(2))


def test_redirect_to_another_origin_is_not_followed(house: House) -> None:
    with loopback(lambda line: line.answer("200 OK")) as other:

        def handle(line: Line) -> None:
            line.answer("307 Temporary Redirect", b"", f"Location: {other.url}")

        with loopback(handle) as server:
            over = house.ask(server.url)[0].next()
        assert (over.status, over.head.location) == (307, other.url)
        assert other.lines.empty()


def test_redirects_without_end_are_ended(house: House) -> None:
    def handle(line: Line) -> None:
        line.answer("307 Temporary Redirect", b"", f"Location: {line.head.split()[1]}x")

    with loopback(handle) as server:
        assert house.ask(server.url)[0].next().trouble == "address"


def test_netrc_of_the_machine_is_not_used_and_credentials_of_the_url_are(
    house: House, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b")
    monkeypatch.setenv("NETRC", str(netrc))
    with loopback(lambda line: line.answer("202 Accepted")) as server:
        house.ask(server.url, headers={"Authorization": "Bearer ours"})[0].next()
        assert "Authorization: Bearer ours" in server.next().head
        house.ask(server.url.replace("//", "//user:word@"))[0].next()
        assert "Authorization: Basic dXNlcjp3b3Jk" in server.next().head


def test_more_than_may_wait_is_refused_and_room_comes_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "WAITING_LIMIT", 100)
    release = threading.Event()

    def handle(line: Line) -> None:
        assert release.wait(SECONDS)
        line.answer("202 Accepted")

    with loopback(handle) as server:
        first, _ = house.ask(server.url, body=b"x" * 80)
        assert house.ask(server.url, body=b"x" * 80)[0].next().trouble == "busy"
        release.set()
        assert first.next().status == 202
        assert house.ask(server.url, body=b"x" * 200)[0].next().status == 202


def test_connection_is_kept_for_the_next_request(house: House) -> None:
    def handle(line: Line) -> None:
        whole = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        line.say(whole)
        line.socket.recv(65536)
        line.say(whole)

    with loopback(handle) as server:
        for _ in range(2):
            assert house.ask(server.url, "GET")[0].next().body == b"{}"
        server.next()
        assert server.lines.empty()
