"""The head of a request: plain HTTP/1.1, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.errors import HeadersTooLarge, InvalidRequest, MetaMCPError, TargetTooLong, TooLarge
from metamcp.protocol.http_head import MAX_BODY, Head, read, refusal, too_large

LINE = b"POST /mcp HTTP/1.1\r\n"


@pytest.mark.parametrize(
    ("fields", "head"),
    [
        ([], Head("POST", 0, False)),
        ([b"Content-Length: 12 \r\n"], Head("POST", 12, False)),
        ([b"content-length:12\r\n", b"Expect: 100-Continue\r\n"], Head("POST", 12, True)),
        ([b"Transfer-Encoding:\tChunked\r\n"], Head("POST", None, False)),
        ([b"X-Empty:\r\n", b"X-Text: a \xc3\xa4 \t b\r\n", b"X-Text: again\r\n"], Head("POST", 0, False)),
    ],
)
def test_what_is_plain_is_read(fields: list[bytes], head: Head) -> None:
    assert read(LINE, fields) == head


@pytest.mark.parametrize(
    "line",
    [b"POST /mcp HTTP/1.1\n", b"POST /mcp\r\n", b"POST  /mcp HTTP/1.1\r\n", b"POST /\xc3\xa4 HTTP/1.1\r\n", b"\r\n"],
)
def test_what_is_no_request_line_is_refused(line: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read(line, [])


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_whatever_comes_is_read_or_refused(fields: list[bytes]) -> None:
    try:
        found = read(LINE, [field + b"\r\n" for field in fields])
    except MetaMCPError as error:
        assert refusal(error).startswith(b"HTTP/1.1 4")
    else:
        assert found.length is None or found.length <= MAX_BODY


def test_bounds_show_before_the_end() -> None:
    assert too_large(LINE, [b"A: b\r\n"] * 96) is None
    assert isinstance(too_large(b"G" * 8001, []), TargetTooLong)
    assert isinstance(too_large(LINE, [b"A: b\r\n"] * 97), HeadersTooLarge)
    assert isinstance(too_large(LINE, [b"A: " + b"b" * 65536]), HeadersTooLarge)
    with pytest.raises(TooLarge):
        read(LINE, [b"Content-Length: %d\r\n" % (MAX_BODY + 1)])


def test_a_refusal_is_a_whole_response_that_ends_its_connection() -> None:
    head, _, body = refusal(TooLarge("too much")).partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0].startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in head and b"Content-Length: %d" % len(body) in head
