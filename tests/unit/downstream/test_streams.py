"""Streams that outlive their connections: every event arrives once and in order, as far as the window reaches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.downstream import streams
from metamcp.downstream.streams import KEPT_SECONDS, UNSEEN_SECONDS, Stream, Window, parse_event_id


class Carrier:
    """A response: what it carried, as (number, data)."""

    def __init__(self) -> None:
        self.events: list[tuple[int, bytes]] = []
        self.answers: list[tuple[int, bytes, str]] = []
        self.ends: list[str] = []

    def event(self, data: bytes, number: int = 0) -> None:
        assert not self.answers and not self.ends
        self.events.append((number, data))

    def answer(self, data: bytes, session: str = "", status: int = 200, number: int = 0) -> None:
        assert not self.answers and not self.ends
        self.answers.append((number, data, session))

    def end(self, reason: str) -> None:
        assert not self.answers and not self.ends
        self.ends.append(reason)


class Hall:
    """A window on a clock that stands still."""

    def __init__(self) -> None:
        self.now = 100.0
        self.window = Window(lambda: self.now)
        self.carrier = Carrier()

    def stream(self, name: str = "a", resumable: bool = True, takes_events: bool = True) -> Stream:
        self.carrier = Carrier()
        return Stream(name, self.carrier, self.window, resumable=resumable, takes_events=takes_events)

    def resume(self, name: str = "a", seen: int = 0) -> Carrier:
        carrier = Carrier()
        found = self.window.find(name)
        assert found is not None
        found.resume(carrier, seen)
        return carrier


@pytest.fixture
def hall() -> Hall:
    return Hall()


# --- a connection that holds -------------------------------------------------------------------------------


def test_an_answer_that_comes_first_and_soon_is_not_kept(hall: Hall) -> None:
    hall.stream().answer(b"r", "s1")
    assert hall.carrier.answers == [(0, b"r", "s1")]
    assert len(hall.window) == 0 and hall.window.find("a") is None


def test_events_are_numbered_and_the_answer_is_the_last_of_them(hall: Hall) -> None:
    stream = hall.stream()
    stream.event(b"1")
    stream.event(b"2")
    stream.answer(b"r")
    assert hall.carrier.events == [(1, b"1"), (2, b"2")] and hall.carrier.answers == [(3, b"r", "")]


def test_an_answer_after_a_silence_can_be_resumed(hall: Hall) -> None:
    stream = hall.stream()
    hall.now += UNSEEN_SECONDS
    stream.answer(b"r")
    assert hall.carrier.answers == [(1, b"r", "")]
    assert hall.resume().answers == [(1, b"r", "")]


def test_a_client_that_takes_json_alone_gets_nothing_but_the_answer(hall: Hall) -> None:
    stream = hall.stream(takes_events=False)
    stream.event(b"1")
    hall.now += 100
    stream.answer(b"r")
    assert not stream.reachable and hall.carrier.events == [] and hall.carrier.answers == [(0, b"r", "")]
    assert len(hall.window) == 0


# --- a connection that is lost -----------------------------------------------------------------------------


def test_what_is_said_while_nobody_listens_comes_later(hall: Hall) -> None:
    stream = hall.stream()
    stream.event(b"1")
    stream.lost(hall.carrier)
    stream.event(b"2")
    stream.answer(b"r")
    assert hall.carrier.events == [(1, b"1")] and hall.carrier.answers == []
    again = hall.resume(seen=1)
    assert again.events == [(2, b"2")] and again.answers == [(3, b"r", "")]


def test_a_primed_stream_that_said_nothing_can_be_resumed(hall: Hall) -> None:
    stream = hall.stream()
    stream.lost(hall.carrier)
    again = hall.resume()
    stream.answer(b"r")
    assert again.answers[0][1] == b"r"


def test_a_stream_whose_name_nobody_learned_cannot(hall: Hall) -> None:
    stream = hall.stream(resumable=False)
    stream.lost(hall.carrier)
    assert not stream.reachable
    stream.answer(b"r")
    assert hall.window.find("a") is None and len(hall.window) == 0


def test_a_second_carrier_takes_over_from_the_first(hall: Hall) -> None:
    stream = hall.stream()
    stream.event(b"1")
    again = hall.resume(seen=1)
    stream.lost(hall.carrier)
    stream.event(b"2")
    assert hall.carrier.ends == ["resumed elsewhere"] and again.events == [(2, b"2")] and stream.carried


def test_who_has_seen_everything_of_an_ended_stream_is_told_so(hall: Hall) -> None:
    stream = hall.stream()
    stream.event(b"1")
    stream.answer(b"r")
    assert hall.resume(seen=2).ends == ["complete"]
    stream.end("twice")
    assert len(hall.carrier.answers) == 1


def test_streams_of_one_session_do_not_mix(hall: Hall) -> None:
    one, other = hall.stream("a"), hall.stream("b")
    for stream, data in ((one, b"1"), (other, b"2"), (one, b"3")):
        stream.event(data)
    assert hall.resume("a").events == [(1, b"1"), (2, b"3")]
    assert hall.resume("b").events == [(1, b"2")]


# --- bounds ------------------------------------------------------------------------------------------------


def test_the_oldest_events_give_way_and_the_gap_is_logged(hall: Hall, caplog: pytest.LogCaptureFixture) -> None:
    stream = hall.stream()
    for _ in range(streams.MAX_EVENTS + 3):
        stream.event(b"x")
    found = hall.resume()
    assert len(found.events) == streams.MAX_EVENTS and found.events[0][0] == 4
    assert "events-lost" in caplog.text


def test_bytes_are_bounded_but_the_newest_event_stays(hall: Hall) -> None:
    stream = hall.stream()
    stream.event(b"small")
    stream.event(b"x" * (streams.MAX_BYTES + 1))
    assert [number for number, _ in hall.resume().events] == [2]


def test_what_ended_long_ago_is_forgotten_and_what_lives_is_not(hall: Hall) -> None:
    stream, living = hall.stream("a"), hall.stream("b")
    stream.event(b"1")
    living.event(b"2")
    stream.answer(b"r")
    hall.now += KEPT_SECONDS
    hall.window.sweep()
    assert hall.window.find("a") is None and hall.window.find("b") is living and len(hall.window) == 1


# --- ids ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [("a-1:0", ("a-1", 0)), ("a:b:12", ("a:b", 12)), ("", None), ("a", None), (":1", None), ("a:", None),
     ("a:-1", None), ("a:x", None), ("a:٣", None), ("a:" + "9" * 400, None)],
)  # fmt: skip
def test_event_ids_are_read_as_they_were_written(text: str, found: tuple[str, int] | None) -> None:
    assert parse_event_id(text) == found


# --- any order of things -----------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["event", "lost", "resume", "late"]), max_size=60))
def test_every_event_arrives_once_and_in_order_whatever_happens_to_connections(steps: list[str]) -> None:
    hall = Hall()
    stream = hall.stream()
    received: list[bytes] = []
    said = 0

    def drain() -> None:
        """The client reads what its connection carried."""
        received.extend(data for _, data in hall.carrier.events)
        hall.carrier.events.clear()

    for step in [*steps, "resume"]:
        if step == "event":
            said += 1
            stream.event(b"%d" % said)
        elif step == "lost":
            drain()
            stream.lost(hall.carrier)
        elif step == "late":  # the client has not read all that was sent when its connection breaks
            hall.carrier.events.clear()
            stream.lost(hall.carrier)
        else:
            drain()
            if hall.window.find("a") is None:
                continue
            hall.carrier = hall.resume(seen=len(received))
    drain()
    stream.answer(b"r")
    assert received == [b"%d" % number for number in range(1, said + 1)]
    assert [data for _, data, _ in hall.carrier.answers] == [b"r"]
