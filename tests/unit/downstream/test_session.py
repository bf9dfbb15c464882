from __future__ import annotations

import json

import pytest

from metamcp.downstream.session import ClientSession
from metamcp.errors import InvalidRequest, SessionUnknown
from metamcp.protocol import jsonrpc

GONE = SessionUnknown("gone")


class Sink:
    reachable = True

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.ended = ""

    def event(self, data: bytes) -> None:
        self.events.append(data)

    def end(self, reason: str) -> None:
        self.ended = reason


@pytest.fixture
def session() -> ClientSession:
    return ClientSession("id-of-session", "endpoint", "principal", "http", lambda: 0.0)


def test_message_without_a_stream_waits_for_the_next_one(session: ClientSession) -> None:
    session.send(b"early")
    stream = Sink()
    session.attach(stream)
    session.send(b"late")
    assert stream.events == [b"early", b"late"]


def test_a_related_message_goes_to_the_newest_call_that_can_be_reached(session: ClientSession) -> None:
    old, new, standing = Sink(), Sink(), Sink()
    new.reachable = False
    session.calls |= dict.fromkeys([old, new])
    session.attach(standing)
    session.send(b"1", related=True)
    old.reachable = False
    session.send(b"2", related=True)
    assert (old.events, new.events, standing.events) == ([b"1"], [], [b"2"])


def test_a_withdrawn_question_is_told_to_the_client_and_not_answered(session: ClientSession) -> None:
    stream = Sink()
    session.attach(stream)
    answers: list[object] = []
    asked = session.ask("roots/list", b"", lambda *answer: answers.append(answer), 1.0)
    assert asked is not None
    for _ in range(2):
        session.withdraw(asked)
    assert json.loads(stream.events[-1])["params"] == {"requestId": asked} and len(stream.events) == 2
    session.answer(jsonrpc.parse(b'{"jsonrpc":"2.0","id":%d,"result":{}}' % asked))
    assert answers == []


def test_what_waits_is_bounded_and_the_oldest_gives_way(session: ClientSession) -> None:
    for number in range(1000):
        session.send(b"%d" % number)
    stream = Sink()
    session.attach(stream)
    assert len(stream.events) == 200
    assert stream.events[-1] == b"999"


def test_each_message_goes_to_exactly_one_stream(session: ClientSession) -> None:
    first, second, call = Sink(), Sink(), Sink()
    session.attach(first)
    session.attach(second)
    session.calls[call] = None
    session.send(b"unrelated")
    session.send(b"related", related=True)
    assert (first.events, second.events, call.events) == ([], [b"unrelated"], [b"related"])


def test_fifth_stream_ends_the_oldest(session: ClientSession) -> None:
    streams = [Sink() for _ in range(5)]
    for stream in streams:
        session.attach(stream)
    assert [stream.ended for stream in streams] == ["replaced", "", "", "", ""]


def test_question_is_answered_once_with_what_the_client_said(session: ClientSession) -> None:
    stream, answers = Sink(), []
    session.attach(stream)
    assert session.ask("roots/list", b"{}", lambda result, error: answers.append((result, error)), 10.0)
    asked = json.loads(stream.events[0])
    answer = jsonrpc.parse(b'{"jsonrpc":"2.0","id":%d,"result":{"roots":[]}}' % asked["id"])
    session.answer(answer)
    session.answer(answer)
    assert answers == [(b'{"roots":[]}', None)]


def test_question_that_no_stream_can_carry_is_refused(session: ClientSession) -> None:
    assert not session.ask("roots/list", b"{}", lambda _result, _error: None, 10.0)


def test_question_that_stays_open_is_answered_with_an_error(session: ClientSession) -> None:
    answers: list[bytes | None] = []
    session.attach(Sink())
    session.ask("roots/list", b"{}", lambda _result, error: answers.append(error), 10.0)
    session.expire(9.9, GONE)
    assert answers == []
    session.expire(10.0, GONE)
    session.expire(11.0, GONE)
    assert len(answers) == 1 and answers[0] is not None and b"gone" in answers[0]


def test_id_in_flight_is_refused_and_free_again_after_its_end(session: ClientSession) -> None:
    session.begin(b"1", lambda _params: None)
    session.begin(b'"1"', lambda _params: None)
    with pytest.raises(InvalidRequest):
        session.begin(b"1", lambda _params: None)
    session.finish(b"1")
    session.begin(b"1", lambda _params: None)


def test_close_ends_streams_calls_and_questions_once(session: ClientSession) -> None:
    cancelled: list[jsonrpc.JsonObject] = []
    stream, answers = Sink(), []
    session.attach(stream)
    session.begin(b"1", cancelled.append)
    session.ask("roots/list", b"{}", lambda _result, error: answers.append(error), 10.0)
    session.close("done", GONE)
    session.close("again", GONE)
    assert (stream.ended, len(cancelled), len(answers), session.closed) == ("done", 1, 1, "done")


def test_question_is_answered_with_the_clients_own_error(session: ClientSession) -> None:
    stream, answers = Sink(), []
    session.attach(stream)
    session.ask("roots/list", b"{}", lambda result, error: answers.append((result, error)), 10.0)
    session.answer(jsonrpc.parse(b'{"jsonrpc":"2.0","id":1,"error":{"code":-1, "message":"no"}}'))
    assert answers == [(None, b'{"code":-1, "message":"no"}')]


def test_answer_that_ends_the_session_leaves_no_other_question_answered_twice(session: ClientSession) -> None:
    answers: list[str] = []

    def ends_it(_result: bytes | None, _error: bytes | None) -> None:
        answers.append("first")
        session.close("its server died", GONE)

    session.attach(Sink())
    session.ask("roots/list", b"{}", ends_it, 10.0)
    session.ask("roots/list", b"{}", lambda _result, _error: answers.append("second"), 10.0)
    session.expire(10.0, GONE)
    assert answers == ["first", "second"]


def test_cancelling_reaches_the_call_once_with_what_the_client_said(session: ClientSession) -> None:
    told: list[jsonrpc.JsonObject] = []
    session.begin(b"1", told.append)
    params = jsonrpc.decode_object(b'{"reason":"enough"}')
    for identifier in (b'"1"', b"1", b"1"):
        session.cancel(identifier, params)
    assert told == [params]


def test_what_waits_is_bounded_in_bytes_too(session: ClientSession) -> None:
    for number in range(5):
        session.send(b"%d" % number * 400_000)
    stream = Sink()
    session.attach(stream)
    assert [data[:1] for data in stream.events] == [b"3", b"4"]


def test_related_message_without_a_call_goes_to_the_newest_stream_that_is_left(session: ClientSession) -> None:
    first, second = Sink(), Sink()
    for stream in (first, second):
        session.attach(stream)
    session.detach(second)
    session.detach(second)
    session.send(b"related", related=True)
    assert (first.events, second.events) == ([b"related"], [])


def test_session_is_busy_while_a_stream_or_a_call_is_open(session: ClientSession) -> None:
    stream = Sink()
    seen = [session.busy]
    session.attach(stream)
    session.begin(b"1", lambda _params: None)
    session.detach(stream)
    seen.append(session.busy)
    session.finish(b"1")
    seen.append(session.busy)
    assert seen == [False, True, False]


def test_null_error_beside_a_result_is_no_error(session: ClientSession) -> None:
    answers: list[tuple[bytes | None, bytes | None]] = []
    session.attach(Sink())
    session.ask("roots/list", b"{}", lambda result, error: answers.append((result, error)), 10.0)
    session.answer(jsonrpc.parse(b'{"jsonrpc":"2.0","id":1,"result":{"roots":[]},"error":null}'))
    assert answers == [(b'{"roots":[]}', None)]
