from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

import pytest

from metamcp.concurrency.reactor import Reactor

T = TypeVar("T")
BOUND = 5.0


class Clock:
    """Stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    """On a thread of its own."""
    made = Reactor()
    made.start()
    yield made
    made.close()


@pytest.fixture
def still() -> Iterator[tuple[Reactor, Clock]]:
    """Not started, with a clock of the test; the test calls ``run`` itself."""
    clock = Clock()
    made = Reactor(clock)
    yield made, clock
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.settimeout(BOUND)
        yield ours, theirs


def ask(reactor: Reactor, call: Callable[[], T]) -> T:
    """What ``call`` gives on the reactor's thread."""
    answer: Future[T] = Future()
    reactor.call_soon(lambda: answer.set_result(call()))
    return answer.result(BOUND)


class Records(logging.Handler):
    """Keeps what one logger says."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.kept: list[logging.LogRecord] = []
        self._log = logging.getLogger(name)

    def __enter__(self) -> list[logging.LogRecord]:
        self._log.addHandler(self)
        return self.kept

    def __exit__(self, *_: object) -> None:
        self._log.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record)


def in_turn(*calls: Callable[[], object]) -> Callable[[], None]:
    """One callback out of many."""

    def run() -> None:
        for call in calls:
            call()

    return run


def test_calls_from_any_thread_run_on_one_thread_in_each_callers_order(reactor: Reactor) -> None:
    seen: list[tuple[int, int, int]] = []

    def note(number: int, turn: int) -> None:
        seen.append((number, turn, threading.get_ident()))

    def caller(number: int) -> None:
        for turn in range(200):
            reactor.call_soon(partial(note, number, turn))

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND)
    own = ask(reactor, threading.get_ident)
    assert {ident for _, _, ident in seen} == {own}
    assert all([turn for n, turn, _ in seen if n == number] == list(range(200)) for number in range(8))


def test_call_made_by_a_callback_runs_in_the_next_turn(still: tuple[Reactor, Clock]) -> None:
    reactor, _ = still
    seen: list[str] = []
    reactor.call_soon(in_turn(partial(seen.append, "first"), lambda: reactor.call_soon(lambda: seen.append("inner"))))
    reactor.call_soon(lambda: reactor.at_turn_end(lambda: seen.append("turn end")))
    reactor.call_soon(lambda: reactor.call_soon(reactor.stop))
    reactor.run()
    assert seen == ["first", "turn end", "inner"]


def test_broken_callback_is_logged_and_ends_nothing_else(reactor: Reactor) -> None:
    with Records("metamcp.concurrency.reactor") as records:
        reactor.call_soon(in_turn(lambda: 1 // 0))
        assert ask(reactor, lambda: "alive") == "alive"
    assert [record.getMessage() for record in records] == ["callback-failed"]
    assert records[0].exc_info is not None


def test_timers_fire_in_the_order_of_their_times(still: tuple[Reactor, Clock]) -> None:
    reactor, clock = still
    seen: list[float] = []
    for seconds in (3.0, 1.0, 2.0):
        reactor.call_later(seconds, partial(seen.append, seconds))
    reactor.call_later(3.0, reactor.stop)
    reactor.call_soon(lambda: clock.pass_by(3.0))
    reactor.run()
    assert seen == [1.0, 2.0, 3.0]


def test_timer_does_not_fire_before_its_time(still: tuple[Reactor, Clock]) -> None:
    reactor, clock = still
    seen: list[str] = []
    reactor.call_later(1.5, lambda: seen.append("late"))
    reactor.call_later(1.0, in_turn(lambda: seen.append("early"), reactor.stop))
    reactor.call_soon(lambda: clock.pass_by(1.0))
    reactor.run()
    assert seen == ["early"]


def test_cancelled_timer_never_fires_even_when_due_in_the_same_turn(still: tuple[Reactor, Clock]) -> None:
    reactor, clock = still
    seen: list[str] = []
    doomed = reactor.call_later(2.0, lambda: seen.append("doomed"))
    reactor.call_later(1.0, in_turn(doomed.cancel, doomed.cancel))
    reactor.call_later(3.0, reactor.stop)
    reactor.call_soon(lambda: clock.pass_by(3.0))
    reactor.run()
    assert seen == []


def test_repeated_callback_goes_on_after_it_breaks_once(still: tuple[Reactor, Clock]) -> None:
    reactor, clock = still
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(clock.now)
        clock.pass_by(10.0 if len(ticks) < 3 else 0.0)
        if len(ticks) == 3:
            reactor.stop()
        assert len(ticks) != 1, "broken once"

    reactor.call_every(10.0, tick)
    clock.pass_by(10.0)
    reactor.run()
    assert ticks == [110.0, 120.0, 130.0]


def test_real_timer_ends_the_wait_for_events(reactor: Reactor) -> None:
    fired = threading.Event()
    ask(reactor, lambda: reactor.call_later(0.01, fired.set))
    assert fired.wait(BOUND)


def test_what_comes_at_a_watched_descriptor_is_reported(
    reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    got: Future[bytes] = Future()
    ask(reactor, lambda: reactor.watch_read(ours.fileno(), lambda: got.set_result(ours.recv(10))))
    theirs.send(b"hello")
    assert got.result(BOUND) == b"hello"
    ask(reactor, lambda: reactor.forget(ours.fileno()))


def test_end_of_the_other_side_is_reported_as_readable(
    reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    got: Future[bytes] = Future()

    def readable() -> None:
        reactor.forget(ours.fileno())
        got.set_result(ours.recv(10))

    ask(reactor, lambda: reactor.watch_read(ours.fileno(), readable))
    theirs.close()
    assert got.result(BOUND) == b""


def test_writer_is_called_until_it_is_taken_back(reactor: Reactor, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    calls: list[int] = []
    enough = threading.Event()

    def writable() -> None:
        calls.append(1)
        if len(calls) == 3:
            reactor.watch_write(ours.fileno(), None)
            enough.set()

    ask(reactor, lambda: reactor.watch_write(ours.fileno(), writable))
    assert enough.wait(BOUND)
    ask(reactor, lambda: None)
    assert ask(reactor, lambda: len(calls)) == 3


def test_writer_of_a_pipe_hears_that_its_reader_is_gone(reactor: Reactor) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.write(writing, b"x" * 1_000_000)  # full: only the reader's end can wake the writer
    gone = threading.Event()

    def writable() -> None:
        reactor.forget(writing)
        gone.set()

    ask(reactor, lambda: reactor.watch_write(writing, writable))
    os.close(reading)
    assert gone.wait(BOUND)
    os.close(writing)


def test_descriptor_that_is_taken_back_within_the_turn_is_silent(still: tuple[Reactor, Clock]) -> None:
    reactor, _ = still
    seen: list[int] = []
    pairs = [socket.socketpair() for _ in range(2)]

    def readable(own: int, other: int) -> None:
        seen.append(own)
        reactor.forget(pairs[other][0].fileno())
        reactor.stop()

    for own, other in ((0, 1), (1, 0)):
        pairs[own][1].send(b"x")
        reactor.watch_read(pairs[own][0].fileno(), partial(readable, own, other))
    reactor.run()
    assert len(seen) == 1
    for one, another in pairs:
        one.close()
        another.close()


def test_forgetting_what_was_never_watched_changes_nothing(reactor: Reactor, pair: tuple[socket.socket, ...]) -> None:
    ask(reactor, lambda: reactor.forget(pair[0].fileno()))
    ask(reactor, lambda: reactor.watch_write(pair[0].fileno(), None))


def test_ends_of_a_turn_come_after_all_its_events_and_may_add_more(still: tuple[Reactor, Clock]) -> None:
    reactor, _ = still
    seen: list[str] = []

    def event(name: str) -> None:
        seen.append(name)
        reactor.at_turn_end(in_turn(lambda: seen.append(f"end of {name}"), lambda: reactor.at_turn_end(reactor.stop)))

    reactor.call_soon(lambda: event("a"))
    reactor.call_soon(lambda: event("b"))
    reactor.run()
    assert seen == ["a", "b", "end of a", "end of b"]


def test_stop_from_another_thread_ends_a_long_wait() -> None:
    reactor = Reactor()
    thread = threading.Thread(target=reactor.run)
    thread.start()
    reactor.stop()
    thread.join(BOUND)
    assert not thread.is_alive()
    reactor.close()
