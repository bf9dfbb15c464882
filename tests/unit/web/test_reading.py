"""Bodies from a socket: whole or refused, in time, and no more of them at once than memory allows."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.errors import AtCapacity, TooManyRequests
from metamcp.web.budget import Budget
from metamcp.web.patience import PatientReader
from metamcp.web.request_body import RequestBody


def body(data: bytes, length: int | None, piece: int = 16) -> RequestBody:
    return RequestBody(io.BufferedReader(io.BytesIO(data), piece), length, lambda: None)  # type: ignore[type-var]


@given(st.lists(st.binary(min_size=1, max_size=50)), st.integers(1, 40))
def test_chunks_are_joined_and_what_follows_is_left(chunks: list[bytes], piece: int) -> None:
    sent = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    source = io.BufferedReader(io.BytesIO(sent + b"NEXT"), 16)  # type: ignore[type-var]
    read = RequestBody(source, None, lambda: None)
    found = b""
    while data := read.read(piece):
        found += data
    assert found == b"".join(chunks)
    assert read.complete and source.read() == b"NEXT"


def test_a_body_of_a_length_ends_there() -> None:
    read = body(b"abcNEXT", 3)
    assert read.read() == b"abc" and read.complete


@pytest.mark.parametrize(
    ("sent", "length"),
    [(b"ab", 3), (b"", None), (b"5\r\nab", None), (b"2\r\nabc\r\n0\r\n\r\n", None), (b"2;x\r\nab\r\n0\r\n\r\n", None),
     (b"2\nab\r\n0\r\n\r\n", None), (b"2\r\nab\r\n0\r\nA: b\r\n\r\n", None), (b"g\r\n", None), (b"\r\n", None)],
)  # fmt: skip
def test_a_body_that_is_cut_off_or_malformed_is_an_error_and_stays_one(sent: bytes, length: int | None) -> None:
    read = body(sent, length)
    for _ in range(2):
        with pytest.raises(OSError, match=r"body|chunk"):
            while read.read(10):
                pass
    assert not read.complete


def test_the_client_is_asked_to_go_on_once_and_only_when_somebody_reads() -> None:
    asked: list[int] = []
    read = RequestBody(io.BufferedReader(io.BytesIO(b"abcd")), 4, lambda: asked.append(1))  # type: ignore[type-var]
    assert asked == []
    assert (read.read(2), read.read(2)) == (b"ab", b"cd")
    assert asked == [1]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


class SocketTimeout:
    """An alarm for a plain socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def set(self, until: float) -> None:
        self._connection.settimeout(until - time.monotonic())

    def clear(self) -> None:
        self._connection.settimeout(None)


def patient(connection: socket.socket) -> PatientReader:
    return PatientReader(connection, SocketTimeout(connection))


def test_a_deadline_ends_all_later_reading(pair: tuple[socket.socket, socket.socket]) -> None:
    reader = patient(pair[0])
    reader.allow(0.05)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            reader.read(1)
        pair[1].sendall(b"late")


def test_bytes_that_come_fast_enough_buy_time(pair: tuple[socket.socket, socket.socket]) -> None:
    reader = patient(pair[0])
    reader.allow(5.0, rate=1)
    pair[1].sendall(b"0123456789")  # ten seconds
    assert reader.read(10) == b"0123456789"
    assert reader.left > 5.0


def test_large_bodies_of_one_client_leave_room_for_others_until_there_is_none() -> None:
    budget = Budget(of_all=10, of_one=6)
    with budget.take("a", 6):
        with pytest.raises(TooManyRequests), budget.take("a", 1):
            pass
        with budget.take("b", 4), pytest.raises(AtCapacity), budget.take("c", 1):
            pass
    with budget.take("a", 6):
        pass
