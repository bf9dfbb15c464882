"""The head of a request: plain HTTP/1.1, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.errors import HeadersTooLarge, InvalidRequest, MetaMCPError, TargetTooLong, TooLarge
from metamcp.protocol.http_head import MAX_BODY, Head, HeadReader, content, lines_of, refusal, too_large

LINE = b"POST /mcp HTTP/1.1"


def read(line: bytes, fields: list[bytes]) -> Head:
    return HeadReader().read(line, fields)


@pytest.mark.parametrize(
    ("fields", "named", "length"),
    [
        ([], {}, 0),
        ([b"Content-Length: 12 "], {"content-length": "12"}, 12),
        ([b"Transfer-Encoding:\tChunked"], {"transfer-encoding": "Chunked"}, None),
        (
            [b"X-Empty:", b"X-Text: a \xc3\xa4 \t b", b"X-Text: again"],
            {"x-empty": "", "x-text": "a \u00c3\u00a4 \t b,again"},
            0,
        ),
    ],
)
def test_what_is_plain_is_read(fields: list[bytes], named: dict[str, str], length: int | None) -> None:
    assert read(LINE, fields) == Head("POST", "/mcp", "HTTP/1.1", named, length)


def test_a_client_may_ask_first_whether_to_send_its_body() -> None:
    assert read(LINE, [b"content-length:12", b"Expect: 100-Continue"]).awaits_continue
    assert not read(LINE, [b"content-length:12"]).awaits_continue


@pytest.mark.parametrize(
    ("version", "connection", "closes"),
    [
        (b"1.1", b"", False),
        (b"1.1", b"keep-alive, Close", True),
        (b"1.1", b"x-close", False),
        (b"1.0", b"", True),
        (b"1.0", b"Keep-Alive", False),
    ],
)
def test_the_last_request_of_a_connection_is_known(version: bytes, connection: bytes, closes: bool) -> None:
    head = read(b"POST /mcp HTTP/" + version, [b"Connection: " + connection] if connection else [])
    assert head.closes is closes


@pytest.mark.parametrize(
    "line",
    [LINE + b"\n", LINE + b"\r", b"POST /mcp", b"POST  /mcp HTTP/1.1", b"POST /\xc3\xa4 HTTP/1.1", b""],
)
def test_what_is_no_request_line_is_refused(line: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read(line, [])


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_whatever_comes_is_read_or_refused(fields: list[bytes]) -> None:
    try:
        found = read(LINE, fields)
    except MetaMCPError as error:
        assert refusal(error).startswith(b"HTTP/1.1 4")
    else:
        assert found.length is None or found.length <= MAX_BODY


@given(st.lists(st.lists(st.sampled_from([
    LINE, b"GET / HTTP/1.0", b"HEAD / HTTP/1.1", b"Host: a", b"Host: b", b"host: a", b"X-Text: a", b"X-Text: b", b"",
    b"Content-Length: 3", b"Content-Length: 0", b"Content-Length: -1", b"Transfer-Encoding: chunked", b" folded",
]), min_size=1, max_size=5), max_size=5))  # fmt: skip
def test_what_was_said_before_on_a_connection_changes_nothing(heads: list[list[bytes]]) -> None:
    def of(reader: HeadReader, lines: list[bytes]) -> Head | str:
        try:
            return reader.read(lines[0], lines[1:])
        except MetaMCPError as error:
            return error.text

    reader = HeadReader()
    for lines in heads:
        assert of(reader, lines) == of(HeadReader(), lines)


def test_a_head_is_cut_at_cr_lf_alone() -> None:
    assert lines_of(b"a\r\nb\nc\rd\r\n") == [b"a", b"b\nc\rd", b""]
    assert content(b"a\r\n") == b"a"
    for line in (b"a\n", b"a", b""):
        with pytest.raises(InvalidRequest):
            content(line)


def test_bounds_show_before_the_end() -> None:
    assert too_large(LINE, [b"A: b\r\n"] * 96, 65536) is None
    assert isinstance(too_large(b"G" * 8001, [], 0), TargetTooLong)
    assert isinstance(too_large(LINE, [b"A: b\r\n"] * 97, 97 * 6), HeadersTooLarge)
    assert isinstance(too_large(LINE, [b"A: b\r\n"], 65537), HeadersTooLarge)
    with pytest.raises(TooLarge):
        read(LINE, [b"Content-Length: %d" % (MAX_BODY + 1)])


def test_a_refusal_is_a_whole_response_that_ends_its_connection() -> None:
    head, _, body = refusal(TooLarge("too much")).partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0].startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in head and b"Content-Length: %d" % len(body) in head
