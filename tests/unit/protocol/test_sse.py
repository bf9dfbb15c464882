from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from metamcp.protocol import sse

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
