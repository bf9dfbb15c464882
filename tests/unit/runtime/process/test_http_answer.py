"""Answers of the engine, in whatever pieces they come."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.runtime.process.http_answer import MOST, Answer, BadAnswerError

WHOLE = {
    "with a length": (b"HTTP/1.1 201 Created\r\nContent-Length: 11\r\n\r\n{\"Id\": \"a\"}", 201, b'{"Id": "a"}'),
    "in chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: x\r\n\r\n",
        200, b"hello world",
    ),
    "without a body": (b"HTTP/1.1 204 No Content\r\nApi-Version: 1.41\r\n\r\n", 204, b""),
    "of nothing": (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, b""),
}  # fmt: skip


@given(st.sampled_from(sorted(WHOLE)), st.lists(st.integers(0, 200), max_size=20))
def test_an_answer_is_complete_with_its_last_byte_however_it_is_cut(kind: str, cuts: list[int]) -> None:
    data, status, body = WHOLE[kind]
    answer = Answer()
    at = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    for first, last in itertools.pairwise(at):
        assert not answer.complete
        answer.feed(data[first:last])
    assert (answer.complete, answer.status, answer.body) == (True, status, body)


def test_what_follows_the_head_of_an_upgraded_connection_is_kept() -> None:
    answer = Answer(upgraded=True)
    answer.feed(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\n\r\n\1\0\0")
    assert (answer.complete, answer.status, answer.rest) == (True, 101, b"\1\0\0")
    answer.feed(b"\0")
    assert answer.rest == b"\1\0\0\0"


def test_an_upgrade_that_is_refused_has_a_body() -> None:
    answer = Answer(upgraded=True)
    answer.feed(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n")
    assert (answer.has_head, answer.complete) == (True, False)
    answer.feed(b"no")
    assert (answer.complete, answer.body) == (True, b"no")


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    answer = Answer()
    answer.feed(b"HTTP/1.0 500 Oops\r\n\r\nall ")
    answer.feed(b"of it")
    assert not answer.complete
    answer.end()
    assert (answer.complete, answer.body) == (True, b"all of it")


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"])
def test_an_end_before_the_end_is_told(said: bytes) -> None:
    answer = Answer()
    answer.feed(said)
    with pytest.raises(BadAnswerError, match="unexpected EOF"):
        answer.end()


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MOST + 1),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MOST + 1),
        b"x" * (MOST + 1),
    ],
    ids=lambda said: said[:24].decode(),
)
def test_what_is_no_answer_or_too_large_is_refused(said: bytes) -> None:
    with pytest.raises(BadAnswerError):
        Answer().feed(said)
