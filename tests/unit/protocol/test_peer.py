from __future__ import annotations

import contextlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.errors import InvalidRequest
from metamcp.protocol.peer import Peer

Conversation = Peer[str, str]
WAYS = [b"1", b'"1"', rb'"\u0031"', b'"a"', rb'"\u0061"', b"-1", b"9" * 400]
steps = st.lists(
    st.tuples(st.sampled_from(["send", "answered"]), st.integers(-1, 6).map(lambda number: b"%d" % number))
    | st.tuples(st.sampled_from(["receive", "finish", "answered"]), st.sampled_from(WAYS)),
    max_size=60,
)


@given(steps)
def test_no_entry_is_handed_out_twice_whatever_the_order(steps: list[tuple[str, bytes]]) -> None:
    peer = Conversation()
    put, given_back = Counter[str](), Counter[str]()
    for turn, (step, identifier) in enumerate(steps):
        entry = f"{step}-{turn}"
        if step == "send":
            peer.send(peer.mint(), entry)
            put[entry] += 1
        elif step == "receive":
            with contextlib.suppress(InvalidRequest):
                peer.receive(identifier, entry)
                put[entry] += 1
        else:
            got = peer.answered(identifier) if step == "answered" else peer.finish(identifier)
            given_back.update([got] if got else [])
    assert given_back <= put
    assert given_back + Counter([*peer.sent.values(), *peer.received.values()]) == put


def test_answers_in_any_order_find_their_own_requests() -> None:
    peer = Conversation()
    numbers = [peer.mint() for _ in range(3)]
    for number in numbers:
        peer.send(number, f"call {number}")
    assert [peer.answered(b"%d" % number) for number in reversed(numbers)] == ["call 3", "call 2", "call 1"]


@pytest.mark.parametrize("identifier", [b"2", b"-1", b'"1"', b"1.0", b"null", b"true", b"9" * 5000, b"", b"[1]"])
def test_answer_to_an_id_that_was_never_sent_is_nobodys(identifier: bytes) -> None:
    peer = Conversation()
    peer.send(peer.mint(), "call")
    assert peer.answered(identifier) is None
    assert peer.answered(b"1") == "call"


@pytest.mark.parametrize(("first", "second"), [(b"1", b"1"), (b'"a"', rb'"\u0061"'), (rb'"\u00e9"', '"é"'.encode())])
def test_id_that_is_in_flight_is_refused_and_the_first_one_stays(first: bytes, second: bytes) -> None:
    peer = Conversation()
    peer.receive(first, "first")
    with pytest.raises(InvalidRequest, match="already in flight"):
        peer.receive(second, "second")
    assert peer.finish(second) == "first"
    peer.receive(second, "third")


def test_number_and_string_are_different_requests() -> None:
    peer = Conversation()
    peer.receive(b"1", "number")
    peer.receive(b'"1"', "string")
    assert (peer.finish(b'"1"'), peer.finish(b"1")) == ("string", "number")


def test_refusal_shows_only_the_beginning_of_a_long_id() -> None:
    peer = Conversation()
    peer.receive(b"9" * 10_000, "first")
    with pytest.raises(InvalidRequest) as caught:
        peer.receive(b"9" * 10_000, "second")
    assert len(caught.value.text) < 200


def test_minted_ids_never_repeat() -> None:
    peer = Conversation()
    assert [peer.mint() for _ in range(100)] == list(range(1, 101))
