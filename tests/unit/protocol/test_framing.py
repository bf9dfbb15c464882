from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.protocol.framing import LineSplitter, LineTooLong

streams = st.lists(st.sampled_from([b"a", b"{}", b"\n", b"\r\n", b"\r", "é\u3000".encode(), b" "]), max_size=30)


def split_at(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


@given(streams, st.lists(st.integers(0, 200), max_size=8))
def test_any_chunking_gives_the_same_lines(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    whole = LineSplitter(1000).feed(data)
    splitter = LineSplitter(1000)
    assert [line for chunk in split_at(data, cuts) for line in splitter.feed(chunk)] == whole
    lines = (line.removesuffix(b"\r") for line in data.split(b"\n")[:-1])
    assert whole == [line for line in lines if line]


@given(st.integers(1, 20), st.integers(1, 40), st.integers(1, 7))
def test_unended_line_is_refused_as_soon_as_it_passes_the_limit(limit: int, length: int, chunk: int) -> None:
    splitter = LineSplitter(limit)
    fed = 0
    with pytest.raises(LineTooLong) as caught:
        while fed <= limit + length:
            fed += chunk
            splitter.feed(b"x" * chunk)
    assert limit < caught.value.size == fed <= limit + chunk


@pytest.mark.parametrize("chunks", [[b"123456\n"], [b"123", b"456\n"], [b"ok\n123456\nok\n"], [b"\n123456"]])
def test_line_over_the_limit_is_refused_wherever_it_stands(chunks: list[bytes]) -> None:
    splitter = LineSplitter(5)
    with pytest.raises(LineTooLong, match="6 bytes"):
        for chunk in chunks:
            splitter.feed(chunk)


def test_line_of_exactly_the_limit_passes() -> None:
    splitter = LineSplitter(5)
    assert [splitter.feed(chunk) for chunk in (b"123", b"45", b"\n", b"12345\n")] == [[], [], [b"12345"], [b"12345"]]


def test_many_short_lines_do_not_add_up_to_the_limit() -> None:
    splitter = LineSplitter(5)
    assert sum(len(splitter.feed(b"1234\n123")) + len(splitter.feed(b"4\n")) for _ in range(50)) == 100
