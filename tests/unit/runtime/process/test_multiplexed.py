"""The frames of an attached container, in whatever pieces they come."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.runtime.process.multiplexed import STDERR, STDOUT, Multiplexed, NotMultiplexedError

FRAMES = st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=50)), max_size=20)


def frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[first:last] for first, last in itertools.pairwise(at)]


@given(FRAMES, st.lists(st.integers(0, 10_000), max_size=30))
def test_each_stream_gets_its_bytes_in_order_however_they_are_cut(
    frames: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    parser, found = Multiplexed(), {STDOUT: b"", STDERR: b""}
    for chunk in pieces(b"".join(frame(*item) for item in frames), cuts):
        for stream, piece in parser.split(chunk):
            assert piece
            found[stream] += piece
    for wanted in (STDOUT, STDERR):
        assert found[wanted] == b"".join(payload for stream, payload in frames if stream == wanted)


def test_a_chunk_within_one_payload_is_passed_on_as_it_is() -> None:
    parser, chunk = Multiplexed(), b"x" * 1000
    assert list(parser.split(frame(STDOUT, b"x" * 5000)[:8])) == []
    ((_, piece),) = parser.split(chunk)
    assert piece is chunk


def test_of_a_line_of_32_mib_nothing_is_kept_and_each_byte_is_passed_on_once() -> None:
    stream, parser, passed = frame(STDOUT, b"x" * 32768) * 1024, Multiplexed(), 0
    for at in range(0, len(stream), 65536):
        pieces_of_chunk = [piece for _, piece in parser.split(stream[at : at + 65536])]
        assert len(pieces_of_chunk) <= 3
        passed += sum(map(len, pieces_of_chunk))
        assert len(parser._header) < 8
    assert passed == 32 << 20


@pytest.mark.parametrize("stream", [0, 3])
def test_what_the_engine_says_itself_goes_to_one_of_the_two(stream: int) -> None:
    ((found, piece),) = Multiplexed().split(frame(stream, b"words"))
    assert (found, piece) == (STDERR if stream else STDOUT, b"words")


@pytest.mark.parametrize("data", [b"a terminal says this", b"\4\0\0\0\0\0\0\1x", b"\1\0\1\0\0\0\0\1x", b"HTTP/1.1 200"])
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(NotMultiplexedError):
        list(Multiplexed().split(data))
