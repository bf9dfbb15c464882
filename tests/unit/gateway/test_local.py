from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue

import pytest

from metamcp.concurrency.reactor import Reactor
from metamcp.gateway import local
from metamcp.gateway.interface import Ask, Is, Outbound, Reply, Request
from metamcp.gateway.local import LocalGateway, QueuedExchange

BOUND = 5.0
STATUS = Ask("status")


class Behind:
    """Hands every reply to the test."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.reactor.start("owner")
        self.replies: SimpleQueue[Reply] = SimpleQueue()
        self.threads: list[str] = []
        self.gateway = LocalGateway(self.reactor, self.open)

    def open(self, _request: Request, reply: Reply) -> None:
        self.threads.append(threading.current_thread().name)
        self.replies.put(reply)

    def do(self, *calls: Callable[[], None]) -> None:
        done = threading.Event()
        for call in (*calls, done.set):
            self.reactor.call_soon(call)
        assert done.wait(BOUND)


@pytest.fixture
def behind() -> Iterator[Behind]:
    made = Behind()
    yield made
    made.reactor.close()


def test_request_is_opened_on_the_reactors_thread_and_its_items_come_back(behind: Behind) -> None:
    exchange = behind.gateway.exchange(STATUS)
    reply = behind.replies.get(timeout=BOUND)
    behind.do(partial(reply.event, b"one"), partial(reply.answer, b"two"))
    items = [exchange.next(BOUND) for _ in range(2)]
    assert items == [Outbound(Is.EVENT, b"one"), Outbound(Is.ANSWER, b"two")]
    assert behind.threads == ["owner"]


def test_after_the_final_item_the_exchange_is_ended_for_good(behind: Behind) -> None:
    exchange = behind.gateway.exchange(STATUS)
    behind.do(behind.replies.get(timeout=BOUND).accepted)
    kinds = [item.kind for item in (exchange.next(BOUND) for _ in range(3)) if item]
    assert kinds == [Is.ACCEPTED, Is.ENDED, Is.ENDED]


def test_silence_is_none_and_the_exchange_goes_on(behind: Behind) -> None:
    exchange = behind.gateway.exchange(STATUS)
    assert exchange.next(0.001) is None
    behind.do(partial(behind.replies.get(timeout=BOUND).answer, b"late"))
    assert exchange.next(BOUND) == Outbound(Is.ANSWER, b"late")


def test_client_that_goes_away_closes_the_reply_once(behind: Behind) -> None:
    closed: list[str] = []
    exchange = behind.gateway.exchange(STATUS)
    reply = behind.replies.get(timeout=BOUND)
    reply.on_closed = lambda: closed.append(threading.current_thread().name)
    exchange.close()
    exchange.close()
    behind.do(partial(reply.event, b"late"))
    assert closed == ["owner"]
    assert exchange.next(BOUND) == Outbound(Is.ENDED, b"closed by the web tier")


def test_close_after_the_answer_tells_nobody() -> None:
    closed: list[str] = []
    exchange = QueuedExchange(lambda: closed.append("closed"))
    exchange.put(Outbound(Is.ANSWER, b"{}"))
    exchange.close()
    assert closed == []


def test_close_from_another_thread_wakes_the_reader() -> None:
    exchange = QueuedExchange(lambda: None)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(exchange.next, BOUND)
        exchange.close()
        item = waiting.result(BOUND)
    assert item is not None and item.kind == Is.ENDED


def test_slow_reader_gets_what_was_taken_then_the_reason_and_its_reply_is_closed(
    behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "QUEUE_BYTES", 1000)
    closed: list[str] = []
    exchange = behind.gateway.exchange(STATUS)
    reply = behind.replies.get(timeout=BOUND)
    reply.on_closed = lambda: closed.append("closed")
    behind.do(*[partial(reply.event, b"x" * 300)] * 5)
    behind.do()  # one more turn: the reply is closed by a call of its own
    items = [exchange.next(BOUND) for _ in range(3)]
    assert items == [Outbound(Is.EVENT, b"x" * 300)] * 2 + [Outbound(Is.ENDED, b"slow-consumer")]
    assert (closed, reply.done) == (["closed"], True)


def test_answers_of_many_threads_do_not_mix(behind: Behind) -> None:
    def one(number: int) -> bool:
        exchange = behind.gateway.exchange(STATUS)
        exchange.put(Outbound(Is.EVENT, b"%d" % number))
        item = exchange.next(BOUND)
        exchange.close()
        return item is not None and item.data == b"%d" % number

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(one, range(200)))


def test_the_gateway_is_told_before_whoever_waits_learns_of_the_end() -> None:
    ended: list[str | None] = []
    exchange = QueuedExchange(lambda: ended.append(exchange.outbox.closed))
    exchange.close()
    assert ended == [None]
    last = exchange.next(0)
    assert last is not None and last.kind == Is.ENDED
