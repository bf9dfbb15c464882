from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.protocol import sse
from metamcp.protocol.sse import EventReader, EventTooLong, ServerEvent

Event = tuple[str, str, str]  # type, data, last event id


def parsed(stream: bytes) -> list[Event]:
    """WHATWG HTML, section 9.2.6: interpreting an event stream."""
    events: list[Event] = []
    kind, last_id, data = "", "", ""
    for line in stream.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append((kind or "message", data.removesuffix("\n"), last_id))
            kind, data = "", ""
        elif name == "event":
            kind = value
        elif name == "data":
            data += value + "\n"
        elif name == "id" and "\0" not in value:
            last_id = value
    return events


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(json_values, max_size=4), st.sampled_from([None, 0, 2]), st.booleans())
def test_each_event_parses_back_to_its_json(items: list[object], indent: int | None, ascii_only: bool) -> None:
    texts = [json.dumps(item, indent=indent, ensure_ascii=ascii_only) for item in items]
    stream = b"".join(sse.event(text.encode()) for text in texts)
    assert [(kind, json.loads(data)) for kind, data, _ in parsed(stream)] == [("message", item) for item in items]


@given(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1))
def test_data_without_line_ends_parses_back_unchanged(text: str) -> None:
    assert parsed(sse.event(text.encode(), "endpoint", "7", 3000)) == [("endpoint", text, "7")]


@given(st.binary(max_size=40))
def test_an_event_has_exactly_one_data_line(data: bytes) -> None:
    lines = sse.event(data).split(b"\n")
    assert len(lines) == 4
    assert (lines[0], lines[1][:6], lines[2:]) == (b"event: message", b"data: ", [b"", b""])
    assert b"\r" not in lines[1]


def test_retry_and_id_stand_before_the_data() -> None:
    assert sse.event(b"", "message", "a/1", 0) == b"event: message\nid: a/1\nretry: 0\ndata: \n\n"


def test_heartbeat_is_no_event() -> None:
    assert parsed(sse.HEARTBEAT + sse.event(b"{}") + sse.HEARTBEAT) == [("message", "{}", "")]


# --- the reader --------------------------------------------------------------------------------------------

fields = st.sampled_from(["data", "event", "id", "retry", "", "datax", "other"])
values = st.text(st.sampled_from("a1:  \0ü😀{}\u2028\x0b\x85"), max_size=6)
lines = st.one_of(
    st.just(""),
    st.builds(lambda name, colon, value: name + colon + value, fields, st.sampled_from(["", ":", ": "]), values),
)
streams = st.tuples(
    st.sampled_from(["", "\ufeff"]), st.lists(st.tuples(lines, st.sampled_from(["\n", "\r", "\r\n"])), max_size=20)
).map(lambda drawn: (drawn[0] + "".join(line + end for line, end in drawn[1])).encode())


def read(*chunks: bytes, limit: int = 10_000) -> list[ServerEvent]:
    reader = EventReader(limit)
    return [event for chunk in chunks for event in reader.feed(chunk)]


def as_standard(stream: bytes) -> list[Event]:
    """The model of ``parsed``, which knows no byte order mark, and leaves out comments by their empty name."""
    return parsed(stream.removeprefix("\ufeff".encode()))


@given(streams)
def test_reader_finds_what_the_standard_finds(stream: bytes) -> None:
    assert [(e.name, e.data.decode(), e.id) for e in read(stream)] == as_standard(stream)


@given(streams, st.lists(st.integers(0, 200), max_size=12))
def test_chunks_may_be_split_anywhere(stream: bytes, cuts: list[int]) -> None:
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    chunks = [stream[begin:end] for begin, end in itertools.pairwise(places)]
    assert read(*chunks) == read(stream) == read(*(stream[at : at + 1] for at in range(len(stream))))


@given(st.binary(max_size=200))
def test_reader_survives_any_bytes(stream: bytes) -> None:
    read(stream)


@given(st.lists(st.tuples(st.binary(max_size=20), st.text(st.characters(codec="ascii", categories=["L"]))), max_size=5))
def test_reader_reads_what_the_writer_wrote(items: list[tuple[bytes, str]]) -> None:
    stream = b"".join(sse.event(data, "message", event_id) + sse.HEARTBEAT for data, event_id in items)
    assert [event.data for event in read(stream)] == [
        data.replace(b"\r", b" ").replace(b"\n", b" ") for data, _ in items
    ]


def test_event_without_data_sets_id_and_retry_and_is_no_event() -> None:
    reader = EventReader(100)
    assert reader.feed(b"id: s/1\nretry: 250\n\n") == []
    assert (reader.last_id, reader.retry_ms) == ("s/1", 250)


def test_id_counts_once_its_event_has_ended() -> None:
    reader = EventReader(100, "old")
    reader.feed(b"id: new\ndata: x\n")
    assert reader.last_id == "old"
    assert reader.feed(b"\n") == [ServerEvent("message", b"x", "new")]
    assert reader.last_id == "new"


@pytest.mark.parametrize("line", [b"id: a\0b", b"retry: soon", b"retry: -1", b"retry: 1.5", b"retry:", b"retry: \xb2"])
def test_malformed_id_or_retry_is_ignored(line: bytes) -> None:
    reader = EventReader(100, "old")
    reader.feed(line + b"\n\n")
    assert (reader.last_id, reader.retry_ms) == ("old", None)


def test_retry_of_absurd_length_is_bounded() -> None:
    reader = EventReader(10_000)
    reader.feed(b"retry: " + b"9" * 5000 + b"\n\n")
    assert reader.retry_ms == 10**9


def test_event_beyond_the_limit_is_told_before_it_ends() -> None:
    with pytest.raises(EventTooLong):
        read(b"data: " + b"x" * 60, b"x" * 60, limit=100)
    with pytest.raises(EventTooLong):
        read(b"data: xxxxxxxxx\n" * 12, limit=100)
    with pytest.raises(EventTooLong):
        read(b"data\n" * 200, limit=100)


def test_limit_is_of_one_event_and_comments_do_not_count() -> None:
    stream = (b": " + b"c" * 50 + b"\n") * 5 + (b"data: " + b"x" * 60 + b"\n\n") * 5
    assert len(read(stream, limit=100)) == 5
