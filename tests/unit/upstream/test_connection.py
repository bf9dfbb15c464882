"""One conversation with one server: every call ends exactly once, whatever the server does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_traces import FakeTraces
from fake_upstream import HELLO, FakeChild, FakeReactor, Hears, Json, Outcome
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config.model import ServerSpec, Timeouts
from metamcp.errors import AtCapacity, Cancelled, DeadlinePassed, InvalidParams, ServerDied, ServerUnavailable
from metamcp.protocol.jsonrpc import Raw, decode_object
from metamcp.runtime.states import ChildState
from metamcp.telemetry.spans import NOWHERE
from metamcp.telemetry.tally import Tally
from metamcp.upstream import connection as connection_module
from metamcp.upstream.connection import UpstreamCall, UpstreamConnection, progress_token
from metamcp.upstream.opening import Opening, handshake, stateless

OPENING = handshake(HELLO)
SPEC = ServerSpec("git", timeouts=Timeouts(start=30, call=60, total=600))


class Talk:
    """A connection to a server that says what the test says."""

    def __init__(self, spec: ServerSpec = SPEC, opening: Opening = OPENING) -> None:
        self.reactor = FakeReactor()
        self.child = FakeChild(self.reactor, spec.name, "", None)
        self.hears = Hears()
        self.closed: list[UpstreamConnection] = []
        self.connection = UpstreamConnection(
            self.reactor, spec, self.child, self.hears, self.closed.append, Tally()  # type: ignore[arg-type]
        )
        self.connection.open(opening)

    def call(self, params: bytes = b"{}", method: str = "tools/call", events: list[bytes] | None = None) -> Outcome:
        outcome = Outcome()
        members = decode_object(params)
        outcome.call = UpstreamCall(  # type: ignore[attr-defined]
            method, members, outcome, None if events is None else events.append, token=progress_token(members)
        )
        self.connection.call(outcome.call)  # type: ignore[attr-defined]
        return outcome

    def cancel(self, outcome: Any, params: bytes = b"{}") -> None:
        self.connection.cancel(outcome.call, decode_object(params))

    @property
    def last(self) -> Json:
        """The last message that the server got."""
        return self.child.messages[-1]


@pytest.fixture
def starting() -> Talk:
    return Talk()


@pytest.fixture
def talk(starting: Talk) -> Talk:
    starting.child.initialized({"tools": {}})
    return starting


# --- handshake ---------------------------------------------------------------------------------------------


def test_initialize_goes_first_with_the_hello_as_it_is(starting: Talk) -> None:
    (line,) = starting.child.written
    assert b'"method":"initialize","params":' + HELLO in line


def test_waiting_calls_follow_initialized_in_their_order(starting: Talk) -> None:
    for number in range(3):
        starting.call(b'{"n":%d}' % number)
    assert len(starting.child.written) == 1
    starting.child.initialized()
    methods = [message["method"] for message in starting.child.messages]
    assert methods == ["initialize", "notifications/initialized", *["tools/call"] * 3]
    assert [message["params"] for message in starting.child.messages[2:]] == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_what_is_sent_as_soon_as_the_server_is_ready_precedes_waiting_calls(starting: Talk) -> None:
    starting.call()
    starting.connection.when_ready(lambda _error: starting.call(method="logging/setLevel") and None)
    starting.child.initialized()
    methods = [message["method"] for message in starting.child.messages]
    assert methods == ["initialize", "notifications/initialized", "logging/setLevel", "tools/call"]


def test_every_request_has_a_fresh_id(starting: Talk) -> None:
    starting.call()
    starting.child.initialized()
    for _ in range(4):
        starting.call()
    ids = [message["id"] for message in starting.child.messages if "id" in message]
    assert len(ids) == len(set(ids)) == 6
    assert all(isinstance(identifier, int) for identifier in ids)


def test_when_ready_tells_before_and_after_the_start(starting: Talk) -> None:
    told: list[Any] = []
    starting.connection.when_ready(told.append)
    assert told == []
    starting.child.initialized()
    starting.connection.when_ready(told.append)
    assert told == [None, None]
    assert starting.child.state is ChildState.READY


@pytest.mark.parametrize("result", [{}, {"capabilities": {}}, [], "text", None])
def test_invalid_initialize_result_ends_the_child_and_the_waiting_calls(starting: Talk, result: object) -> None:
    outcome = starting.call()
    starting.child.result(1, result)
    assert "its answer to initialize is not valid" in starting.child.reason
    assert outcome.ends == []
    starting.child.die(0)
    assert isinstance(outcome.error, ServerUnavailable)
    assert "not valid" in outcome.error.text and outcome.error.data["server"] == "git"


def test_refused_initialize_shows_the_servers_own_words(starting: Talk) -> None:
    starting.child.say({"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "no token given"}})
    assert "no token given" in starting.child.reason


def test_a_server_that_does_not_answer_initialize_in_time_is_ended(starting: Talk) -> None:
    outcome = starting.call()
    starting.reactor.advance(29.9)
    assert starting.connection.alive
    starting.reactor.advance(0.2)
    assert starting.child.reason == "it did not answer initialize within 30 s"
    assert not starting.connection.alive
    starting.child.die(None, "SIGTERM")
    assert "within 30 s" in outcome.error.text


def test_a_started_server_is_not_ended_by_the_start_timeout(talk: Talk) -> None:
    talk.reactor.advance(1000)
    assert talk.connection.alive


def test_notifications_before_initialize_is_answered_are_heard_and_harmless(starting: Talk) -> None:
    starting.child.notify("notifications/tools/list_changed")
    starting.child.initialized()
    assert starting.hears.notifications == [("notifications/tools/list_changed", b"{}")]
    assert starting.connection.started_well


def test_too_many_waiting_calls_are_refused(starting: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MOST_WAITING", 2)
    waiting = [starting.call(), starting.call()]
    with pytest.raises(AtCapacity, match="wait for 'git' to start"):
        starting.call()
    starting.child.initialized()
    assert len(starting.child.sent("tools/call")) == len(waiting)


# --- calls -------------------------------------------------------------------------------------------------


def test_result_comes_back_byte_for_byte(talk: Talk) -> None:
    outcome = talk.call()
    raw = b'{ "big": 123456789012345678901234567890, "e":"\\u00e9/\\/" }'
    talk.child.say(b'{"jsonrpc":"2.0","id":%d,"result":%s}' % (talk.last["id"], raw))
    assert outcome.ends == [(raw, None)]


def test_error_of_the_server_comes_back_byte_for_byte(talk: Talk) -> None:
    outcome = talk.call()
    raw = b'{"code":-32602,"message":"no","data":{"x":[1,2]}}'
    talk.child.say(b'{"jsonrpc":"2.0","id":%d,"error":%s}' % (talk.last["id"], raw))
    assert outcome.ends == [(None, raw)]


def test_params_go_to_the_server_byte_for_byte(talk: Talk) -> None:
    raw = b'{"name":"t","arguments":{"n":1.50,"s":"\\u0041"}}'
    talk.call(raw)
    assert b'"params":' + raw in talk.child.written[-1]


def test_answers_in_any_order_reach_their_own_calls(talk: Talk) -> None:
    outcomes = [talk.call() for _ in range(3)]
    ids = [message["id"] for message in talk.child.sent("tools/call")]
    for position in (2, 0, 1):
        talk.child.result(ids[position], {"n": position})
    assert [json.loads(outcome.result or b"")["n"] for outcome in outcomes] == [0, 1, 2]


def test_duplicate_and_foreign_answers_change_nothing(talk: Talk) -> None:
    first, second = talk.call(), talk.call()
    ids = [message["id"] for message in talk.child.sent("tools/call")]
    talk.child.result(ids[0], {})
    talk.child.result(ids[0], {"again": 1})
    for foreign in ("nobody-asked", 99999, -1, 0, str(ids[1]), None):
        talk.child.result(foreign, {"stray": 1})
    assert first.ends == [(b"{}", None)]
    assert second.ends == []
    assert talk.connection.alive


def test_child_is_busy_while_a_call_is_in_flight(talk: Talk) -> None:
    talk.call()
    talk.call()
    assert (talk.child.state, talk.connection.in_flight) == (ChildState.BUSY, 2)
    for message in talk.child.sent("tools/call"):
        talk.child.result(message["id"], {})
    assert (talk.child.state, talk.connection.in_flight) == (ChildState.READY, 0)


def test_what_is_in_flight_is_counted_down_once_however_a_call_ends(talk: Talk) -> None:
    answered, cancelled, unreadable, *late = [talk.call() for _ in range(6)]
    ids = [message["id"] for message in talk.child.sent("tools/call")]
    listen = UpstreamCall("subscriptions/listen", {}, Outcome(), unwaited=True)
    talk.connection.call(listen)
    counts = [talk.connection.in_flight]
    for _ in range(2):
        talk.child.result(ids[0], {})
        counts.append(talk.connection.in_flight)
        talk.cancel(cancelled)
        counts.append(talk.connection.in_flight)
        talk.child.say(b'{"id":%d,"result":%s%s}' % (ids[2], b"[" * 100_000, b"]" * 100_000))
        counts.append(talk.connection.in_flight)
    assert counts == [6, 5, 4, 3, 3, 3, 3]
    assert answered.ends and unreadable.ends and not any(outcome.ends for outcome in late)
    talk.connection.cancel(listen, {})
    assert talk.connection.in_flight == 3
    talk.connection.expire(talk.reactor.clock() + 61)
    assert talk.connection.in_flight == 0
    talk.call()
    talk.child.die(1)
    assert talk.connection.in_flight == 0


# --- progress ----------------------------------------------------------------------------------------------

TOKENS = [b"7", b'"7"', b"0", b'"abc"', b'""', b"9007199254740993"]


@pytest.mark.parametrize("token", TOKENS)
def test_progress_token_is_ours_towards_the_server_and_the_clients_own_in_value_and_type(
    talk: Talk, token: bytes
) -> None:
    events: list[bytes] = []
    talk.call(b'{"_meta":{"progressToken":%s,"k":1}}' % token, events=events)
    ours = talk.last["params"]["_meta"]
    assert ours == {"progressToken": talk.last["id"], "k": 1}
    talk.child.notify("notifications/progress", progressToken=ours["progressToken"], progress=0.5, message="half")
    (event,) = events
    assert b'"progressToken":%s,' % token in event
    assert json.loads(event)["params"]["message"] == "half"


def test_progress_for_another_calls_token_reaches_only_that_call(talk: Talk) -> None:
    first, second, without = [], [], []  # type: ignore[var-annotated]
    for events, params in ((first, b'{"_meta":{"progressToken":1}}'), (second, b'{"_meta":{"progressToken":1}}'),
                           (without, b"{}")):
        talk.call(params, events=events)
    ids = [message["id"] for message in talk.child.sent("tools/call")]
    for token in (ids[1], ids[2], str(ids[0]), 4711, None, "x"):
        talk.child.notify("notifications/progress", progressToken=token, progress=1)
    assert (len(first), len(second), len(without)) == (0, 1, 0)


def test_a_token_hidden_by_escapes_is_replaced_too(talk: Talk) -> None:
    talk.call(b'{"_meta":{"progress\\u0054oken":1}}', events=[])
    assert talk.last["params"]["_meta"] == {"progressToken": talk.last["id"]}


def test_progress_after_the_answer_is_dropped(talk: Talk) -> None:
    events: list[bytes] = []
    talk.call(b'{"_meta":{"progressToken":1}}', events=events)
    token = talk.last["id"]
    talk.child.result(token, {})
    talk.child.notify("notifications/progress", progressToken=token, progress=1)
    assert events == []


def test_progress_that_is_no_object_is_ignored(talk: Talk) -> None:
    talk.child.say(b'{"jsonrpc":"2.0","method":"notifications/progress"}')
    talk.child.say(b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"\xff":1}}')
    assert talk.connection.alive


@given(st.binary(max_size=30))
def test_progress_token_reads_any_meta_or_refuses_it_as_invalid_params(meta: bytes) -> None:
    try:
        progress_token({"_meta": Raw(meta + b'"progressToken"')})
    except InvalidParams as error:
        assert "_meta" in error.text


# --- deadlines ---------------------------------------------------------------------------------------------


def test_silence_ends_the_call_once_and_tells_the_server(talk: Talk) -> None:
    outcome = talk.call()
    identifier = talk.last["id"]
    talk.connection.expire(talk.reactor.now + 59.9)
    assert outcome.ends == []
    talk.reactor.advance(60)
    for _ in range(2):
        talk.connection.expire(talk.reactor.now)
    assert isinstance(outcome.error, DeadlinePassed)
    assert outcome.error.data == {"server": "git", "seconds": 60.0}
    (told,) = talk.child.sent("notifications/cancelled")
    assert told["params"] == {"reason": "deadline passed", "requestId": identifier}


def test_progress_extends_the_deadline_of_a_call_but_not_its_total(talk: Talk) -> None:
    outcome = talk.call(b'{"_meta":{"progressToken":1}}', events=[])
    token = talk.last["id"]
    for _ in range(11):
        talk.reactor.advance(50)
        talk.child.notify("notifications/progress", progressToken=token, progress=1)
        talk.connection.expire(talk.reactor.now)
        assert outcome.ends == []
    talk.reactor.advance(50)
    talk.connection.expire(talk.reactor.now)
    assert isinstance(outcome.error, DeadlinePassed)
    assert outcome.error.data["seconds"] == 600.0


def test_a_call_that_waits_for_the_start_ends_at_its_deadline_untold(starting: Talk) -> None:
    outcome = starting.call()
    starting.connection.expire(starting.reactor.now + 60)
    starting.child.initialized()
    assert isinstance(outcome.error, DeadlinePassed)
    assert starting.child.sent("tools/call") == starting.child.sent("notifications/cancelled") == []


def test_initialize_itself_never_expires_as_a_call(starting: Talk) -> None:
    starting.connection.expire(starting.reactor.now + 10_000)
    starting.child.initialized()
    assert starting.connection.started_well


# --- cancellation ------------------------------------------------------------------------------------------


def test_cancel_tells_the_server_once_and_ends_the_call_once(talk: Talk) -> None:
    outcome = talk.call()
    identifier = talk.last["id"]
    for _ in range(2):
        talk.cancel(outcome, b'{"reason":"user"}')
    talk.child.result(identifier, {"late": 1})
    (told,) = talk.child.sent("notifications/cancelled")
    assert told["params"] == {"reason": "user", "requestId": identifier}
    assert isinstance(outcome.error, Cancelled)


def test_cancel_after_the_answer_is_nothing(talk: Talk) -> None:
    outcome = talk.call()
    talk.child.result(talk.last["id"], {})
    talk.cancel(outcome)
    assert outcome.ends == [(b"{}", None)]
    assert talk.child.sent("notifications/cancelled") == []


def test_cancel_of_a_waiting_call_never_reaches_the_server(starting: Talk) -> None:
    outcome, other = starting.call(b'{"n":1}'), starting.call(b'{"n":2}')
    starting.cancel(outcome)
    starting.child.initialized()
    assert isinstance(outcome.error, Cancelled)
    assert [message["params"] for message in starting.child.sent("tools/call")] == [{"n": 2}]
    assert other.ends == []
    assert starting.child.sent("notifications/cancelled") == []


# --- death -------------------------------------------------------------------------------------------------


def test_death_fails_every_call_once_with_what_is_known_of_it(talk: Talk) -> None:
    outcomes = [talk.call(), talk.call()]
    talk.child.die(None, "SIGSEGV", ("warming up", "boom"))
    for outcome in outcomes:
        assert isinstance(outcome.error, ServerDied)
        assert outcome.error.data == {"server": "git", "signal": "SIGSEGV", "stderr": "warming up\nboom"}
        assert "boom" in outcome.error.text
    assert talk.closed == [talk.connection]
    assert talk.connection.in_flight == 0


def test_death_by_exit_shows_the_exit_code(talk: Talk) -> None:
    outcome = talk.call()
    talk.child.die(0)
    assert outcome.error.data == {"server": "git", "exitCode": 0}


def test_death_of_memory_says_so_once_for_programs_and_once_for_people(talk: Talk) -> None:
    outcome = talk.call()
    talk.child.reason = "it ran out of memory (limit 512 MiB)"
    talk.child.die(137, "SIGKILL", oom_killed=True)
    assert outcome.error.data == {"server": "git", "exitCode": 137, "signal": "SIGKILL", "oomKilled": True}
    assert "it ran out of memory (limit 512 MiB)" in outcome.error.text


def test_a_start_that_fails_for_want_of_memory_says_so(starting: Talk) -> None:
    outcome = starting.call()
    starting.child.reason = "it ran out of memory (limit 4 MiB)"
    starting.child.die(137, "SIGKILL", oom_killed=True)
    assert isinstance(outcome.error, ServerUnavailable) and outcome.error.data["oomKilled"] is True
    assert "it did not start: it ran out of memory (limit 4 MiB)" in outcome.error.text


def test_death_during_the_start_fails_waiting_calls_and_whoever_waits_for_readiness(starting: Talk) -> None:
    told: list[Any] = []
    starting.connection.when_ready(told.append)
    outcome = starting.call()
    starting.child.die(3, stderr=("no such key",))
    assert isinstance(outcome.error, ServerUnavailable)
    assert told == [outcome.error]
    assert "it exited with code 3" in outcome.error.text and "no such key" in outcome.error.text


def test_a_child_that_could_not_be_started_fails_calls_with_its_own_error(starting: Talk) -> None:
    outcome = starting.call()
    refusal = ServerUnavailable("cannot start 'nope'", server="git")
    starting.child.fail(refusal)
    assert outcome.error is refusal


def test_an_ended_call_is_not_ended_again_by_the_death(talk: Talk) -> None:
    answered, cancelled = talk.call(), talk.call()
    talk.child.result(talk.child.sent("tools/call")[0]["id"], {})
    talk.cancel(cancelled)
    talk.child.die(1)
    assert len(answered.ends) == len(cancelled.ends) == 1


# --- what a server says by itself --------------------------------------------------------------------------


def test_ping_of_the_server_is_answered_with_its_own_id(talk: Talk) -> None:
    for identifier in (b"0", b'"0"', b'"a b"'):
        talk.child.say(b'{"jsonrpc":"2.0","id":%s,"method":"ping"}' % identifier)
        assert talk.child.written[-1] == b'{"jsonrpc":"2.0","id":%s,"result":{}}\n' % identifier
    assert talk.hears.requests == []


def test_other_requests_of_the_server_are_for_the_listener(talk: Talk) -> None:
    talk.child.say(b'{"jsonrpc":"2.0","id":"q","method":"roots/list","params":{}}')
    assert talk.hears.requests == [(b'"q"', "roots/list", b"{}")]


def test_a_refused_request_of_the_server_is_answered_as_unknown_method(talk: Talk) -> None:
    talk.child.say(b'{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage"}')
    talk.connection.refuse(b'"q"', "sampling/createMessage")
    assert (talk.last["id"], talk.last["error"]["code"]) == ("q", -32601)


@pytest.mark.parametrize(
    ("result", "error", "member"),
    [(b'{"roots":[]}', None, b'"result":{"roots":[]}'), (None, b'{"code":-1,"message":"no"}', b'"error":{"code":-1,')],
)
def test_the_clients_answer_goes_back_under_the_servers_id(
    talk: Talk, result: bytes | None, error: bytes | None, member: bytes
) -> None:
    talk.child.say(b'{"jsonrpc":"2.0","id":"q","method":"roots/list"}')
    talk.connection.answer(b'"q"', result, error)
    assert talk.child.written[-1].startswith(b'{"jsonrpc":"2.0","id":"q",' + member)


def test_a_question_is_answered_once(talk: Talk) -> None:
    talk.child.say(b'{"jsonrpc":"2.0","id":1,"method":"roots/list"}')
    talk.connection.answer(b"1", b"{}", None)
    said = len(talk.child.written)
    talk.connection.answer(b"1", b"{}", None)
    assert len(talk.child.written) == said


def test_two_open_questions_with_one_id_are_refused_the_second_time(talk: Talk) -> None:
    talk.child.say(*[b'{"jsonrpc":"2.0","id":1,"method":"roots/list"}'] * 2)
    assert len(talk.hears.requests) == 1
    assert (talk.last["id"], talk.last["error"]["code"]) == (1, -32600)


def test_a_question_that_the_server_takes_back_is_withdrawn_and_not_answered(talk: Talk) -> None:
    talk.child.say(b'{"jsonrpc":"2.0","id":"q","method":"roots/list"}')
    for _ in range(2):
        talk.child.notify("notifications/cancelled", requestId="q")
    assert talk.hears.withdrawn == [b'"q"']
    said = len(talk.child.written)
    talk.connection.answer(b'"q"', b"{}", None)
    assert len(talk.child.written) == said


def test_a_call_does_not_grow_late_while_the_client_is_asked(talk: Talk) -> None:
    outcome = talk.call()
    talk.child.say(b'{"jsonrpc":"2.0","id":"q","method":"elicitation/create"}')
    talk.reactor.advance(500)
    talk.connection.expire(talk.reactor.now)
    assert outcome.ends == []
    talk.connection.answer(b'"q"', b"{}", None)
    talk.reactor.advance(59)
    talk.connection.expire(talk.reactor.now)
    assert outcome.ends == []
    talk.reactor.advance(2)
    talk.connection.expire(talk.reactor.now)
    assert outcome.error.code == -31003


# --- a server of 2026-07-28 --------------------------------------------------------------------------------


def test_a_stateless_server_is_discovered_and_no_initialized_follows() -> None:
    talk = Talk(opening=stateless())
    call = talk.call()
    (opening,) = talk.child.messages
    assert opening["method"] == "server/discover"
    assert opening["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    talk.child.result(opening["id"], {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}})
    assert [message["method"] for message in talk.child.messages] == ["server/discover", "tools/call"]
    assert talk.connection.capability("tools") == {} and talk.connection.capability("prompts") is None
    assert call.ends == []


@pytest.mark.parametrize("result", [{"supportedVersions": ["2025-11-25"]}, {"protocolVersion": "2025-11-25"}, {}])
def test_a_discovery_without_the_revision_is_no_agreement(result: Json) -> None:
    talk = Talk(opening=stateless())
    talk.child.result(talk.child.messages[0]["id"], result)
    assert not talk.connection.started_well and not talk.connection.alive


def test_the_error_that_answers_the_opening_is_kept_and_told_at_once(starting: Talk) -> None:
    told: list[object] = []
    starting.connection.when_ready(told.append)
    starting.child.say(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"too old"}}')
    assert starting.connection.objection == b'{"code":-32022,"message":"too old"}'
    assert len(told) == 1 and "too old" in str(told[0])
    starting.child.die(0)
    assert len(told) == 1


def test_a_subscription_is_no_call_in_flight_and_never_late(talk: Talk) -> None:
    ended = Outcome()
    listen = UpstreamCall("subscriptions/listen", {}, ended, unwaited=True)
    talk.connection.call(listen)
    assert talk.connection.in_flight == 0 and talk.child.state is ChildState.READY
    talk.connection.expire(talk.reactor.now + 1e9)
    assert ended.ends == []
    talk.child.notify("notifications/cancelled", requestId=listen.id)
    assert ended.ends == [(b"{}", None)]


def test_notifications_reach_the_listener_with_their_params(talk: Talk) -> None:
    talk.child.notify("notifications/message", level="info", data="x")
    assert talk.hears.notifications == [("notifications/message", b'{"level": "info", "data": "x"}')]


def test_notifications_for_the_server_are_dropped_before_it_is_initialized(starting: Talk) -> None:
    starting.connection.notify("notifications/roots/list_changed", b"")
    assert len(starting.child.written) == 1
    starting.child.initialized()
    starting.connection.notify("notifications/roots/list_changed", b"")
    assert starting.last == {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}


# --- the stream --------------------------------------------------------------------------------------------

BANNERS: list[Callable[[], bytes]] = [
    lambda: b"Welcome to the server!", lambda: b"{this is not JSON", lambda: b"[1,2]", lambda: b"\xff\xfe",
    lambda: b'{"jsonrpc":"1.0","method":"x"}', lambda: b"null",
]


def test_lines_that_are_no_messages_are_skipped(talk: Talk) -> None:
    outcome = talk.call()
    for banner in BANNERS:
        talk.child.say(banner())
    talk.child.result(talk.last["id"], {})
    assert outcome.ends == [(b"{}", None)]
    assert talk.hears.notifications == talk.hears.requests == []


def test_an_answer_in_pieces_is_one_answer(talk: Talk) -> None:
    outcome = talk.call()
    line = b'{"jsonrpc":"2.0","id":%d,"result":{"t":"na\xc3\xafve"}}\n' % talk.last["id"]
    for position in range(len(line)):
        talk.child.on_data(line[position : position + 1])
    assert outcome.result == b'{"t":"na\xc3\xafve"}'


def test_a_line_over_the_limit_ends_the_child_and_its_calls_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MAX_LINE", 1000)
    talk = Talk()
    talk.child.initialized()
    outcome = talk.call()
    talk.child.on_data(b"x" * 1001)
    talk.child.on_data(b"x" * 1001)
    assert "the limit is 1000" in talk.child.reason
    assert not talk.connection.alive
    talk.child.die(None, "SIGTERM")
    assert "the limit is 1000" in outcome.error.text


def test_closing_a_live_connection_marks_it_as_not_needed(talk: Talk) -> None:
    talk.connection.close("idle")
    assert (talk.connection.unneeded, talk.child.reason) == (True, "idle")


def test_closing_a_connection_that_is_being_ended_for_its_fault_takes_nothing_back(starting: Talk) -> None:
    starting.reactor.advance(31)
    starting.connection.close("its session ended")
    assert not starting.connection.unneeded


# --- traces ------------------------------------------------------------------------------------------------


def test_call_that_is_a_part_of_a_span_is_one_itself_from_its_line_to_its_answer(starting: Talk) -> None:
    traces = FakeTraces()
    cause = traces.begin("supervisor tools/call", "internal", NOWHERE, {})
    outcome = Outcome()
    params = decode_object(b'{"name":"echo","_meta":{"progressToken":7,"x": 1.50}}')
    starting.connection.call(
        UpstreamCall("tools/call", params, outcome, token=progress_token(params), cause=cause)
    )
    assert len(traces.spans) == 1, "it waits for the server's start"
    starting.child.initialized()
    (_, span) = traces.spans
    assert (span.name, span.kind, span.parent) == ("tools/call echo", "client", cause.carrier)
    sent = starting.child.written[-1]
    assert b'"_meta":{"progressToken":%d,"x":1.50,"traceparent":"%s"}' % (
        starting.last["id"], span.carrier[0].encode(),
    ) in sent  # fmt: skip
    assert span.ended is None
    starting.child.result(starting.last["id"], {"isError": True})
    assert span.ended == ("tool_error", "")


def test_call_without_a_span_leaves_the_context_of_its_client_as_it_is(starting: Talk) -> None:
    starting.call(b'{"_meta":{"traceparent":"anything", "tracestate":1}}')
    starting.child.initialized()
    assert b'"_meta":{"traceparent":"anything", "tracestate":1}' in starting.child.written[-1]


def test_span_of_a_call_whose_server_dies_ends_with_it(starting: Talk) -> None:
    traces = FakeTraces()
    starting.child.initialized()
    cause = traces.begin("x", "internal", NOWHERE, {})
    starting.connection.call(UpstreamCall("prompts/get", {}, Outcome(), cause=cause))
    starting.child.die(1)
    span = traces.spans[-1]
    assert span.ended is not None and span.ended[0] == "server-died"
    assert span.attributes["rpc.response.status_code"] == "-31004"
