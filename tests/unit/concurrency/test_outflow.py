from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

import pytest

from metamcp.concurrency.outflow import Outflow
from metamcp.concurrency.reactor import Reactor

T = TypeVar("T")
BOUND = 5.0
LIMIT = 4 * 1024 * 1024


def in_turn(*calls: Callable[[], object]) -> Callable[[], None]:
    """One callback out of many."""

    def run() -> None:
        for call in calls:
            call()

    return run


class Ends:
    """An outflow on a running reactor, and the socket at which its bytes arrive."""

    def __init__(self, limit: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
        self.reactor = Reactor()
        self.reactor.start()
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, kind)
        self.ours.setblocking(False)
        self.theirs.settimeout(BOUND)
        self.lost: SimpleQueue[str] = SimpleQueue()
        self.fd = self.ours.fileno()
        self.out = Outflow(self.reactor, self.fd, limit, self.lost.put)

    def ask(self, call: Callable[[], T]) -> T:
        answer: Future[T] = Future()
        self.reactor.call_soon(lambda: answer.set_result(call()))
        return answer.result(BOUND)

    def write(self, *chunks: bytes) -> None:
        """All within one turn."""
        self.ask(in_turn(*[partial(self.out.write, chunk) for chunk in chunks]))

    def read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size and (chunk := self.theirs.recv(65536)):
            data += chunk
        return bytes(data)

    def close(self) -> None:
        self.ask(in_turn(self.out.close, partial(self.reactor.forget, self.fd)))
        self.reactor.close()
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def opened() -> Iterator[Callable[..., Ends]]:
    made: list[Ends] = []

    def make(limit: int = LIMIT, kind: socket.SocketKind = socket.SOCK_STREAM) -> Ends:
        made.append(Ends(limit, kind))
        return made[-1]

    yield make
    for ends in made:
        ends.close()


def test_writes_of_one_turn_leave_as_one_system_call(opened: Callable[..., Ends]) -> None:
    ends = opened(kind=socket.SOCK_SEQPACKET)
    ends.write(b"one ", b"two ", b"three")
    assert ends.theirs.recv(100) == b"one two three"


def test_more_chunks_than_one_system_call_takes_keep_their_order(opened: Callable[..., Ends]) -> None:
    ends = opened()
    chunks = [b"%d;" % number for number in range(1000)]
    ends.write(*chunks)
    assert ends.read(len(b"".join(chunks))) == b"".join(chunks)


def test_more_than_the_kernel_takes_leaves_while_the_reader_reads(opened: Callable[..., Ends]) -> None:
    ends = opened()
    data = b"".join(b"%07d\n" % number for number in range(LIMIT // 8))
    ends.write(data[:-3], data[-3:])
    assert ends.ask(lambda: ends.out.pending) > 0
    assert ends.read(len(data)) == data
    assert ends.ask(lambda: ends.out.pending) == 0
    ends.write(b"more")
    assert ends.read(4) == b"more"


def test_reactor_is_told_of_the_descriptor_only_when_that_has_to_wait(opened: Callable[..., Ends]) -> None:
    ends, told = opened(), list[bool]()
    watch = ends.reactor.watch_write

    def noted(fd: int, callback: Callable[[], None] | None) -> None:
        told.append(callback is not None)
        watch(fd, callback)

    ends.reactor.watch_write = noted  # type: ignore[method-assign]
    for _ in range(3):
        ends.write(b"a", b"b")
    assert ends.read(6) == b"ababab" and told == []
    data = b"x" * LIMIT
    ends.write(data)
    assert ends.ask(lambda: ends.out.pending) > 0, "nobody reads yet"
    assert ends.read(len(data)) == data
    ends.write(b"more")
    assert ends.read(4) == b"more"
    assert told == [True, False]


def test_reader_that_does_not_read_is_lost_once_and_nothing_more_is_kept(opened: Callable[..., Ends]) -> None:
    ends = opened(limit=1024 * 1024)
    ends.write(*[b"x" * 100_000] * 40)
    assert "wait for a reader that does not read (limit 1048576)" in ends.lost.get(timeout=BOUND)
    ends.write(b"y" * 5_000_000)
    assert ends.ask(lambda: ends.out.pending) == 0
    assert ends.lost.empty()


def test_burst_over_the_limit_that_the_kernel_takes_is_no_loss(opened: Callable[..., Ends]) -> None:
    ends = opened(limit=10)
    ends.write(b"x" * 1000, b"y" * 1000)
    assert ends.read(2000) == b"x" * 1000 + b"y" * 1000
    assert ends.lost.empty()


@pytest.mark.parametrize("limit", [LIMIT, 1])
def test_reader_that_is_gone_is_reported_once_with_the_reason(opened: Callable[..., Ends], limit: int) -> None:
    ends = opened(limit)
    ends.theirs.close()
    ends.write(b"data", b"more")
    assert ends.lost.get(timeout=BOUND) == "Broken pipe"
    ends.write(b"again")
    assert ends.lost.empty()


def test_reader_that_goes_while_bytes_wait_is_reported_once(opened: Callable[..., Ends]) -> None:
    ends = opened()
    ends.write(b"x" * 1_000_000)
    ends.theirs.close()
    assert ends.lost.get(timeout=BOUND)
    ends.ask(lambda: None)
    assert ends.lost.empty()


def test_empty_write_neither_blocks_the_thread_nor_sends_anything(opened: Callable[..., Ends]) -> None:
    ends = opened()
    ends.write(b"", b"a", b"")
    ends.write(b"b")
    assert ends.read(2) == b"ab"


def test_nothing_leaves_after_close(opened: Callable[..., Ends]) -> None:
    ends = opened()
    write = ends.out.write
    finish = partial(ends.ours.shutdown, socket.SHUT_WR)
    ends.ask(in_turn(partial(write, b"until the turn ends"), ends.out.close, partial(write, b"late"), finish))
    assert ends.read(1) == b""
    assert ends.lost.empty()
