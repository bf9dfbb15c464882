"""Heads of responses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.protocol.http_response import ending, response_head

DATE = b"Thu, 26 Nov 2026 22:00:00 GMT"
LINES = st.text(st.characters(codec="latin-1"), max_size=10)


def whole(
    status: str, headers: list[tuple[str, str]], length: int | None, version: str = "HTTP/1.1", closes: bool = False
) -> tuple[list[bytes], bool, bool]:
    head = response_head(status, headers)
    rest, chunked, last = ending(head, DATE, length, version, closes)
    lines = (head.lines + rest).split(b"\r\n")
    assert lines[-2:] == [b"", b""]
    return lines[:-2], chunked, last


def test_the_server_adds_what_the_application_did_not_say() -> None:
    lines, chunked, closes = whole("200 OK", [("X-A", "b\u00e4")], 3)
    assert lines == [b"HTTP/1.1 200 OK", b"X-A: b\xe4", b"Date: " + DATE, b"Content-Length: 3"]
    assert not chunked and not closes
    said = [("content-length", "3"), ("DATE", "today"), ("Connection", "Close")]
    lines, chunked, closes = whole("200 OK", said, None)
    assert len(lines) == 4 and not chunked and closes


@pytest.mark.parametrize(
    ("status", "version", "length", "client_closes", "added", "chunked", "closes"),
    [
        ("200 OK", "HTTP/1.1", None, False, [b"Transfer-Encoding: chunked"], True, False),
        ("204 No Content", "HTTP/1.1", None, False, [], False, False),
        ("304 Not Modified", "HTTP/1.1", 0, True, [], False, True),
        ("200 OK", "HTTP/1.0", None, False, [b"Connection: close"], False, True),
        ("200 OK", "HTTP/1.0", 1, False, [b"Content-Length: 1", b"Connection: keep-alive"], False, False),
        ("200 OK", "HTTP/1.0", 1, True, [b"Content-Length: 1", b"Connection: close"], False, True),
    ],
)
def test_the_end_of_the_body_is_told(
    status: str, version: str, length: int | None, client_closes: bool, added: list[bytes], chunked: bool, closes: bool
) -> None:
    lines, in_chunks, last = whole(status, [], length, version, client_closes)
    assert (lines[2:], in_chunks, last) == (added, chunked, closes)


@given(LINES, st.lists(st.tuples(LINES, LINES), max_size=4))
def test_nobody_writes_a_line_of_their_own(reason: str, headers: list[tuple[str, str]]) -> None:
    try:
        head = response_head(f"200 {reason}", headers)
    except ValueError:
        assert any(char in text for text in (reason, *map("".join, headers)) for char in "\r\n")
    else:
        assert head.lines.count(b"\n") == head.lines.count(b"\r") == len(headers) + 1


def test_what_is_not_latin_1_is_refused() -> None:
    with pytest.raises(ValueError, match="latin-1"):
        response_head("200 OK", [("X", "\u20ac")])
