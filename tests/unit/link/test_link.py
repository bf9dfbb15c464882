"""Both ends of the link over a real Unix socket, with a scripted gateway behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from metamcp.concurrency.reactor import Reactor
from metamcp.gateway.interface import Client, Is, Listen, Outbound, Post, Reply, Request
from metamcp.link.client import LinkClient
from metamcp.link.server import LinkServer

BOUND = 10.0


class Behind:
    """Answers a POST with its own payload; keeps the reply of everything else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: list[Reply] = []
        self.arrived = threading.Event()
        self.closed = threading.Event()
        self.reactor = Reactor()
        self.server = LinkServer(self.reactor, path, self.open)
        self.server.start()
        self.reactor.start()

    def open(self, request: Request, reply: Reply) -> None:
        if isinstance(request, Post):
            reply.answer(request.payload)
        else:
            reply.on_closed = self.closed.set
            self.kept.append(reply)
            self.arrived.set()

    def do(self, call: Callable[[], object]) -> None:
        done = threading.Event()
        self.reactor.call_soon(lambda: call())
        self.reactor.call_soon(done.set)
        assert done.wait(BOUND)

    def close(self) -> None:
        self.do(self.server.close)
        self.reactor.close()


def post(payload: bytes) -> Post:
    return Post(Client("e", "p", "http"), "request", "m", b"1", payload)


LISTEN = Listen(Client("e", "p", "http", "s"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "link.sock"


@pytest.fixture
def client(path: Path) -> Iterator[LinkClient]:
    link = LinkClient(path)
    link.start()
    yield link
    link.close()


@pytest.fixture
def behind(path: Path, client: LinkClient) -> Iterator[Behind]:
    opened = Behind(path)
    assert client.wait_connected(BOUND)
    yield opened
    opened.close()


def test_many_exchanges_at_once_each_get_their_own_answer(behind: Behind, client: LinkClient) -> None:
    def one(number: int) -> bool:
        answer = client.exchange(post(b"%d" % number)).next(BOUND)
        return answer is not None and answer.data == b"%d" % number

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(one, range(400)))


def test_large_payload_passes_both_ways(behind: Behind, client: LinkClient) -> None:
    payload = bytes(range(256)) * 40_960
    answer = client.exchange(post(payload)).next(BOUND)
    assert answer is not None and answer.data == payload


def test_events_come_in_order_and_end_with_a_reason(behind: Behind, client: LinkClient) -> None:
    exchange = client.exchange(LISTEN)
    assert behind.arrived.wait(BOUND)
    reply = behind.kept[0]
    for number in range(100):
        behind.do(lambda number=number: reply.event(b"%d" % number))  # type: ignore[misc]
    behind.do(lambda: reply.end("over"))
    items = [exchange.next(BOUND) for _ in range(101)]
    assert [item.data for item in items if item] == [b"%d" % number for number in range(100)] + [b"over"]
    exchange.close()


def test_exchange_that_the_web_tier_closes_is_closed_behind(behind: Behind, client: LinkClient) -> None:
    exchange = client.exchange(LISTEN)
    assert behind.arrived.wait(BOUND)
    exchange.close()
    assert behind.closed.wait(BOUND)


def test_without_a_supervisor_an_exchange_fails_at_once_with_503(client: LinkClient) -> None:
    answer = client.exchange(post(b"x")).next(0.5)
    assert answer is not None
    assert (answer.kind, answer.status) == (Is.FAILED, 503)
    assert b"supervisor" in answer.data


def test_open_exchange_fails_exactly_once_when_the_supervisor_goes(path: Path, client: LinkClient) -> None:
    behind = Behind(path)
    assert client.wait_connected(BOUND)
    exchange = client.exchange(LISTEN)
    assert behind.arrived.wait(BOUND)
    behind.close()
    first = exchange.next(BOUND)
    assert first is not None and (first.kind, first.status) == (Is.FAILED, 503)
    after = exchange.next(0.1)
    assert after is not None and after.kind == Is.ENDED


def test_link_is_made_again_when_the_supervisor_is_back(path: Path, client: LinkClient) -> None:
    Behind(path).close()
    again = Behind(path)
    try:
        answer: Outbound | None = None
        pause = threading.Event()
        for _ in range(200):
            answer = client.exchange(post(b"back")).next(BOUND)
            if answer is not None and answer.kind == Is.ANSWER:
                break
            pause.wait(0.05)
        assert answer is not None and answer.data == b"back"
    finally:
        again.close()


def test_worker_that_goes_away_has_its_exchanges_closed(path: Path) -> None:
    behind = Behind(path)
    worker = LinkClient(path)
    worker.start()
    assert worker.wait_connected(BOUND)
    worker.exchange(LISTEN)
    assert behind.arrived.wait(BOUND)
    worker.close()
    assert behind.closed.wait(BOUND)
    behind.close()


def test_socket_is_for_its_owner_alone(behind: Behind) -> None:
    assert behind.path.stat().st_mode & 0o777 == 0o600
