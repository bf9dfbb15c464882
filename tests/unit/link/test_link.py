"""Both ends of the link over a real Unix socket, with a scripted gateway behind it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import pytest
from gateway_process import eventually

from metamcp.concurrency.reactor import Reactor
from metamcp.gateway import local
from metamcp.gateway.interface import Batch, Client, Delete, Is, Listen, Outbound, Post, Reply, Request, Stateless
from metamcp.gateway.local import QueuedExchange
from metamcp.link import client as client_module
from metamcp.link import server
from metamcp.link.client import LinkClient
from metamcp.link.frames import Frame, Open, encode
from metamcp.link.server import LinkServer
from metamcp.telemetry import metrics
from metamcp.telemetry.edge import EDGE

BOUND = 10.0


class Behind:
    """Answers a POST with its own payload and FLOOD with a lot; keeps the reply of everything else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: list[Reply] = []
        self.arrived = threading.Event()
        self.closed = threading.Event()
        self.later: SimpleQueue[tuple[Request, Reply]] | None = None
        self.reactor = Reactor()
        self.server = LinkServer(self.reactor, path, self.open)
        self.server.start()
        self.reactor.start()

    def answer_later(self, asked: SimpleQueue[tuple[Request, Reply]]) -> None:
        """From now on the test answers."""
        self.later = asked

    def open(self, request: Request, reply: Reply) -> None:
        if self.later is not None:
            self.later.put((request, reply))
        elif isinstance(request, Post):
            reply.answer(request.payload)
        elif isinstance(request, Delete):
            for _ in range(20):
                reply.event(b"x" * 100_000)
        else:
            reply.on_closed = self.closed.set
            self.kept.append(reply)
            self.arrived.set()

    def do(self, call: Callable[[], None]) -> None:
        done = threading.Event()
        self.reactor.call_soon(call)
        self.reactor.call_soon(done.set)
        assert done.wait(BOUND)

    def close(self) -> None:
        self.do(self.server.close)
        self.reactor.close()


def post(payload: bytes) -> Post:
    return Post(Client("e", "p", "http"), "request", "m", b"1", payload)


CLIENT = Client("e", "p", "http", "s")
LISTEN = Listen(CLIENT)
FLOOD = Delete(Client("e", "p", "http", "s"))


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


def test_what_several_requests_say_meanwhile_is_one_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    send = LinkClient._send
    monkeypatch.setattr(LinkClient, "_send", lambda link, batch: (writes.append(len(batch)), send(link, batch)))
    behind, link = Behind(path), LinkClient(path)
    link._reading.start()
    assert link.wait_connected(BOUND)
    exchanges = [link.exchange(post(b"%d" % number)) for number in range(5)]
    large = link.exchange(post(b"x" * 100_000))
    last = link.exchange(post(b"last"))
    link._sending.start()
    answers = [exchange.next(BOUND) for exchange in (*exchanges, large, last)]
    assert [len(answer.data) for answer in answers if answer] == [1] * 5 + [100_000, 4]
    assert writes == [6, 1], "a large one is not held back, and ends a write"
    link.close()
    behind.close()


def test_a_supervisor_that_takes_nothing_is_not_asked_without_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MOST_WAITING", 1000)
    behind, link = Behind(path), LinkClient(path)
    link._reading.start()
    assert link.wait_connected(BOUND)
    first, second = (link.exchange(post(b"x" * 800)) for _ in range(2))
    refused = second.next(BOUND)
    assert refused is not None and (refused.kind, refused.status) == (Is.FAILED, 503)
    assert first.next(0.0) is None
    link._sending.start()
    answer = first.next(BOUND)
    assert answer is not None and answer.kind == Is.ANSWER
    eventually(lambda: link._waiting == 0, "nothing waits")
    answer = link.exchange(post(b"y" * 2000)).next(BOUND)
    assert answer is not None and answer.kind == Is.ANSWER, "one alone may be as large as it is"
    link.close()
    behind.close()


def test_what_was_said_is_sent_before_the_end_although_nobody_waits_for_it(behind: Behind) -> None:
    worker = LinkClient(behind.path)
    worker.start()
    assert worker.wait_connected(BOUND)
    for _ in range(50):
        worker.exchange(LISTEN).close()
    worker.close()
    eventually(lambda: len(behind.kept) == 50 and all(reply.done for reply in behind.kept), "fifty begun and ended")


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


@pytest.mark.parametrize(
    ("request_", "ids"),
    [
        (Post(CLIENT, "request", "tools/call", b'"seven"', b"{}"), "seven"),
        (Post(CLIENT, "notification", "notifications/x", b"", b"{}"), None),
        (Post(CLIENT, "response", "", b"7", b"{}"), None),
        (Stateless(CLIENT, "tools/call", b"7", b"{}", {}), 7),
        (Batch(CLIENT, [Post(CLIENT, "request", "ping", b"%d" % n, b"{}") for n in (1, 2)], []), [1, 2]),
        (LISTEN, None),
    ],
    ids=["request", "notification", "response", "stateless", "batch", "stream"],
)
def test_whoever_asked_knows_by_the_id_which_call_the_supervisor_took_with_it(
    path: Path, client: LinkClient, request_: Request, ids: object
) -> None:
    behind = Behind(path)
    asked: SimpleQueue[tuple[Request, Reply]] = SimpleQueue()
    behind.answer_later(asked)
    assert client.wait_connected(BOUND)
    exchange = client.exchange(request_)
    asked.get(timeout=BOUND)
    behind.close()
    failed = exchange.next(BOUND)
    assert failed is not None and failed.kind == Is.FAILED
    body = json.loads(failed.data)
    assert ([part["id"] for part in body] if isinstance(body, list) else body["id"]) == ids


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


def test_who_only_looks_whether_somebody_listens_is_no_news(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "metamcp.link.server")
    behind = Behind(path)
    with socket.socket(socket.AF_UNIX) as looking:
        looking.connect(str(path))
        looking.shutdown(socket.SHUT_WR)
        assert looking.recv(1) == b"", "the server is done with it"
    assert caplog.messages == []
    worker = LinkClient(path)
    worker.start()
    assert worker.wait_connected(BOUND)
    assert worker.exchange(post(b"{}")).next(BOUND) is not None
    assert caplog.messages == ["link-opened"]
    worker.close()
    behind.close()
    assert "link-closed" in caplog.messages


def test_socket_is_for_its_owner_alone(behind: Behind) -> None:
    assert behind.path.stat().st_mode & 0o777 == 0o600


def test_two_hundred_open_exchanges_are_answered_in_any_order(behind: Behind, client: LinkClient) -> None:
    def ten(number: int) -> list[tuple[str, QueuedExchange]]:
        names = [f"{number}-{turn}" for turn in range(10)]
        return [(name, client.exchange(Listen(Client(name, "p", "http")))) for name in names]

    asked: SimpleQueue[tuple[Request, Reply]] = SimpleQueue()
    behind.answer_later(asked)
    with ThreadPoolExecutor(20) as pool:
        opened = [pair for pairs in pool.map(ten, range(20)) for pair in pairs]
        waiting = [asked.get(timeout=BOUND) for _ in opened]
        for request, reply in reversed(waiting):
            assert isinstance(request, Listen)
            behind.do(partial(reply.answer, request.client.endpoint.encode()))
        answers = list(pool.map(lambda pair: pair[1].next(BOUND), opened))
    assert [item.data for item in answers if item] == [name.encode() for name, _ in opened]


def test_slow_reader_is_cut_and_the_others_go_on(
    behind: Behind, client: LinkClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "QUEUE_BYTES", 1_000_000)
    slow = client.exchange(LISTEN)
    assert behind.arrived.wait(BOUND)
    for _ in range(10):
        behind.do(partial(behind.kept[0].event, b"x" * 200_000))
    assert behind.closed.wait(BOUND)
    answer = client.exchange(post(b"quick")).next(BOUND)
    assert answer is not None and answer.data == b"quick"
    kinds = [item.kind for item in (slow.next(BOUND) for _ in range(5)) if item]
    assert kinds == [Is.EVENT] * 4 + [Is.ENDED]


def test_worker_that_does_not_read_is_cut_and_nothing_more_of_it_begins(
    behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_OUT_LIMIT", 1_000_000)
    with socket.socket(socket.AF_UNIX) as worker:
        worker.connect(str(behind.path))
        worker.sendall(encode(Open(1, LISTEN)) + encode(Open(2, FLOOD)) + encode(Open(3, LISTEN)))
        assert behind.closed.wait(BOUND)
    assert [reply.done for reply in behind.kept] == [True]


def test_workers_that_have_spoken_and_what_waits_for_them_are_told(behind: Behind, client: LinkClient) -> None:
    told: list[tuple[int, int]] = []

    def look() -> None:
        told.append((behind.server.connections, behind.server.waiting))

    behind.do(look)
    with socket.socket(socket.AF_UNIX) as worker:
        worker.connect(str(behind.path))
        worker.sendall(encode(Open(1, FLOOD)) + encode(Open(2, LISTEN)))
        assert behind.arrived.wait(BOUND)
        behind.do(look)
    assert told[0] == (0, 0), "who only connected has said nothing"
    assert told[1][0] == 1 and 0 < told[1][1] <= behind.server.limit


def test_a_supervisor_that_is_lost_is_counted_and_one_that_is_left_is_not(path: Path) -> None:
    def losses() -> object:
        return EDGE.samples()[metrics.LINK_LOSSES.name][0][1]

    def connected() -> tuple[Behind, LinkClient]:
        behind, link = Behind(path), LinkClient(path)
        link.start()
        assert link.wait_connected(BOUND)
        return behind, link

    before = losses()
    behind, link = connected()
    exchange = link.exchange(LISTEN)
    assert behind.arrived.wait(BOUND)
    behind.close()
    assert exchange.next(BOUND) is not None
    link.close()
    assert losses() == before + 1  # type: ignore[operator]
    behind, link = connected()
    link.close()
    behind.close()
    assert losses() == before + 1  # type: ignore[operator]


def test_worker_that_speaks_another_protocol_is_cut_and_the_others_go_on(behind: Behind, client: LinkClient) -> None:
    with socket.socket(socket.AF_UNIX) as worker:
        worker.settimeout(BOUND)
        worker.connect(str(behind.path))
        worker.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert worker.recv(1) == b""
    answer = client.exchange(post(b"still here")).next(BOUND)
    assert answer is not None and answer.data == b"still here"


def test_supervisor_that_speaks_another_protocol_fails_the_exchange_and_is_called_anew(
    path: Path, client: LinkClient
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(BOUND)
        listener.bind(str(path))
        listener.listen()
        first, _ = listener.accept()
        with first:
            assert client.wait_connected(BOUND)
            exchange = client.exchange(LISTEN)
            first.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            failed = exchange.next(BOUND)
            assert failed is not None and failed.kind == Is.FAILED
        listener.accept()[0].close()
        client.close()


def test_exchange_that_failed_with_the_old_link_does_not_begin_on_the_new_one(
    path: Path, client: LinkClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    generations = [Behind(path)]
    assert client.wait_connected(BOUND)
    opened = client.exchange(LISTEN)

    def encode_during_a_restart(frame: Frame) -> bytes:
        generations.pop().close()
        assert opened.next(BOUND)  # FAILED: the old link is gone
        generations.append(Behind(path))
        assert client.wait_connected(BOUND)
        return encode(frame)

    assert generations[0].arrived.wait(BOUND)
    with monkeypatch.context() as patched:
        patched.setattr(client_module, "encode", encode_during_a_restart)
        failed = client.exchange(LISTEN).next(BOUND)
    answer = client.exchange(post(b"next")).next(BOUND)
    generations[0].close()
    assert failed is not None and (failed.kind, failed.status) == (Is.FAILED, 503)
    assert answer is not None and answer.data == b"next"
    assert generations[0].kept == []


def test_exchange_closed_while_its_answer_comes_leaves_the_link_usable(behind: Behind, client: LinkClient) -> None:
    def hasty(_number: int) -> None:
        client.exchange(post(b"unread")).close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hasty, range(400)))
    answer = client.exchange(post(b"read")).next(BOUND)
    assert answer is not None and answer.data == b"read"


def test_closing_the_client_fails_what_is_open_and_what_comes_later(behind: Behind, client: LinkClient) -> None:
    opened = client.exchange(LISTEN)
    client.close()
    for item in (opened.next(BOUND), client.exchange(LISTEN).next(BOUND)):
        assert item is not None and (item.kind, item.status) == (Is.FAILED, 503)


def test_socket_of_a_dead_supervisor_is_replaced_and_ours_is_removed(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    behind = Behind(path)
    behind.close()
    assert not path.exists()
