"""Exchanges that end with their client's connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from fake_gateway import answer, event
from watched_connection import WatchedConnection

from metamcp.gateway.interface import Is
from metamcp.gateway.local import QueuedExchange
from metamcp.web.hangup import PATIENCE, Watched

SECONDS = 10.0
Wire = tuple[socket.socket, socket.socket]


class Live:
    """A watched exchange whose items come when the test says so."""

    def __init__(self, connection: socket.socket | None) -> None:
        self.closed = threading.Event()
        self.inner = QueuedExchange(self.closed.set)
        self.watched = Watched(self.inner, connection and WatchedConnection(connection))

    def begin_watching(self) -> None:
        assert self.watched.next(PATIENCE * 2) is None
        assert watchers() == 1


def watchers() -> int:
    return sum(thread.name == "hangup" for thread in threading.enumerate())


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Our end of a connection, and the client's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_hang_up_ends_the_wait_for_the_first_item(wire: Wire) -> None:
    ours, theirs = wire
    live = Live(ours)
    live.begin_watching()
    theirs.close()
    ended = live.watched.next(SECONDS)
    assert ended is not None and ended.kind == Is.ENDED
    assert live.closed.is_set()
    live.watched.close()


def test_a_client_that_is_gone_already_ends_it_too(wire: Wire) -> None:
    ours, theirs = wire
    theirs.close()
    live = Live(ours)
    ended = live.watched.next(SECONDS)
    assert ended is not None and ended.kind == Is.ENDED
    live.watched.close()


def test_a_hang_up_between_two_items_ends_it(wire: Wire) -> None:
    ours, theirs = wire
    live = Live(ours)
    live.begin_watching()
    live.inner.put(event(b"{}"))
    assert live.watched.next(SECONDS) == event(b"{}")
    theirs.close()
    assert live.closed.wait(SECONDS)
    live.watched.close()


def test_an_answer_that_comes_soon_is_awaited_without_a_watch(wire: Wire) -> None:
    live = Live(wire[0])
    live.inner.put(answer())
    assert live.watched.next(SECONDS) == answer()
    assert watchers() == 0
    live.watched.close()


def test_the_shortest_silence_begins_the_watch(wire: Wire) -> None:
    ours, theirs = wire
    live = Live(ours)
    assert live.watched.next(PATIENCE / 5) is None
    assert watchers() == 1 and not live.closed.is_set()
    theirs.close()
    assert live.closed.wait(SECONDS)
    live.watched.close()


def test_without_a_connection_items_come_all_the_same() -> None:
    live = Live(None)
    live.inner.put(event(b"{}"))
    assert live.watched.next(SECONDS) == event(b"{}")
    assert live.watched.next(PATIENCE * 2) is None
    assert watchers() == 0
    live.watched.close()
    assert live.closed.is_set()


def test_closing_ends_the_watch_before_it_returns_and_leaves_the_connection_usable(wire: Wire) -> None:
    ours, theirs = wire
    live = Live(ours)
    live.begin_watching()
    live.watched.close()
    assert watchers() == 0 and live.closed.is_set()
    theirs.sendall(b"the next request")
    assert ours.recv(99) == b"the next request"


def test_a_next_request_is_no_hang_up_and_is_not_eaten(wire: Wire) -> None:
    ours, theirs = wire
    live = Live(ours)
    theirs.sendall(b"GET")
    assert live.watched.next(PATIENCE * 4) is None
    assert not live.closed.is_set()
    live.inner.put(answer())
    assert live.watched.next(SECONDS) == answer()
    live.watched.close()
    assert ours.recv(99) == b"GET"


def test_a_socket_that_is_closed_under_us_ends_the_exchange(wire: Wire) -> None:
    wire[0].close()
    live = Live(wire[0])
    ended = live.watched.next(SECONDS)
    assert ended is not None and ended.kind == Is.ENDED
    live.watched.close()


def test_closing_twice_and_asking_afterwards_is_harmless(wire: Wire) -> None:
    live = Live(wire[0])
    live.begin_watching()
    live.watched.close()
    live.watched.close()
    ended = live.watched.next(SECONDS)
    assert ended is not None and ended.kind == Is.ENDED
    assert watchers() == 0


def test_a_close_from_another_thread_wakes_the_one_that_waits(wire: Wire) -> None:
    live = Live(wire[0])
    live.begin_watching()
    ended = []
    reader = threading.Thread(target=lambda: ended.append(live.watched.next(SECONDS)))
    reader.start()
    live.watched.close()
    reader.join(SECONDS)
    assert [item and item.kind for item in ended] == [Is.ENDED]
