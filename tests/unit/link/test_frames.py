from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.gateway.interface import Ask, Client, Delete, Is, Listen, OpenSse, Outbound, Post, Stateless
from metamcp.link.frames import Close, Frame, FrameInvalid, FrameReader, Item, Open, encode

clients = st.builds(Client, st.text(), st.text(), st.sampled_from(["http", "sse"]), st.text(), st.text())
kinds = st.sampled_from(["request", "notification", "response"])
requests = st.one_of(
    st.builds(Post, clients, kinds, st.text(), st.binary(), st.binary()),
    st.builds(Listen, clients),
    st.builds(OpenSse, clients),
    st.builds(Delete, clients),
    st.builds(Stateless, clients, st.text(), st.binary(), st.binary(), st.dictionaries(st.text(), st.text())),
    st.builds(Ask, st.sampled_from(["status", "ready", "docker-check"])),
)
numbers = st.integers(0, 2**63 - 1)
outbounds = st.builds(Outbound, st.sampled_from(list(Is)), st.binary(), st.integers(100, 599), st.text())
frames = st.one_of(st.builds(Open, numbers, requests), st.builds(Close, numbers), st.builds(Item, numbers, outbounds))


@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 4000), max_size=8))
def test_any_frames_in_any_chunks_arrive_as_they_were_sent(sent: list[Frame], cuts: list[int]) -> None:
    data = b"".join(map(encode, sent))
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = FrameReader()
    got = [frame for start, end in pairwise(places) for frame in reader.feed(data[start:end])]
    assert got == sent


def test_frame_over_the_limit_is_refused_before_it_has_come() -> None:
    with pytest.raises(FrameInvalid, match="limit"):
        FrameReader(limit=100).feed((101).to_bytes(4, "big"))


NOT_UTF8 = encode(Open(1, Ask("status")))[4:].replace(b"status", b"\xff" * 6)
TOO_DEEP = b"\x93\x02\x05" + b"\x91" * 100_000 + b"\x01"
NEWER = b"\x93\x04\x01\x02"


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x93\x63\x01\x02", b"\x90", NEWER, NOT_UTF8, TOO_DEEP])
def test_what_is_no_frame_is_refused(body: bytes) -> None:
    with pytest.raises(FrameInvalid):
        FrameReader().feed(len(body).to_bytes(4, "big") + body)


def test_frame_of_exactly_the_limit_passes() -> None:
    data = encode(Close(1))
    assert FrameReader(limit=len(data) - 4).feed(data) == [Close(1)]


def test_members_that_a_newer_side_appends_are_ignored() -> None:
    assert FrameReader().feed((5).to_bytes(4, "big") + b"\x94\x02\x07\x01\x02") == [Close(7)]
