"""Clients of 2026-07-28 at servers of the handshake era: what a server asks becomes an input-required result."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_upstream import FakeChild, Json, ScriptedServer, tool
from stateless_client import META, StatelessClient, in_flight
from wiring import Gateway, Got

from metamcp.config.model import EndpointSpec, ServerSpec
from metamcp.gateway import bridged
from metamcp.gateway.bridged import GATHER_SECONDS
from metamcp.gateway.relay import QUESTION_SECONDS

GIT = ServerSpec("git", era="legacy")
ALL = {"sampling": {}, "elicitation": {}, "roots": {}}
ELICIT = {"message": "Your name?", "requestedSchema": {"type": "object", "properties": {}}}


class Gate(Gateway):
    def __init__(self, spec: ServerSpec = GIT) -> None:
        script = ScriptedServer({"tools/list": [[tool("status")]], "resources/list": [[{"uri": "file:///a"}]]})
        script.capabilities["logging"] = {}
        super().__init__({"git": spec}, script, {"dev": EndpointSpec("dev", "all")})
        self.catalog.refresh_all()
        self.reactor.turn()
        if self.child.reason:
            self.child.die(0)

    @property
    def child(self) -> FakeChild:
        return self.supervisor.started[-1]

    def gathered(self) -> None:
        self.reactor.advance(GATHER_SECONDS)

    @property
    def answers(self) -> list[Json]:
        """What the server was answered to its own requests."""
        return [message for message in self.child.messages if "method" not in message]


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def client(gate: Gate) -> StatelessClient:
    return StatelessClient(gate, **ALL)


def asks(child: FakeChild, identifier: object, method: str = "elicitation/create", params: Json | None = None) -> None:
    child.say({"jsonrpc": "2.0", "id": identifier, "method": method, "params": params or ELICIT})


def asked(gate: Gate, client: StatelessClient) -> Got:
    """A call whose server asks one thing, answered as input required."""
    got = client.call()
    asks(gate.child, "q1")
    gate.gathered()
    return got


def retry(client: StatelessClient, result: Json, **responses: Json) -> Got:
    answered = responses or {key: {"action": "accept", "content": {}} for key in result["inputRequests"]}
    return client.call(inputResponses=answered, requestState=result["requestState"], identifier=2)


# --- plain calls -------------------------------------------------------------------------------------------


def test_the_envelope_stays_here_and_other_metadata_goes_on(gate: Gate, client: StatelessClient) -> None:
    got = client.call(meta={"traceparent": "00-1", "progressToken": "p"}, arguments={"a": 1})
    params = in_flight(gate.child)["params"]
    assert params["name"] == "status" and params["arguments"] == {"a": 1}
    assert params["_meta"].keys() == {"traceparent", "progressToken"}
    gate.child.notify("notifications/progress", progressToken=params["_meta"]["progressToken"], progress=1)
    assert got.events[0]["params"] == {"progressToken": "p", "progress": 1}


def test_a_result_gets_what_the_revision_demands(gate: Gate, client: StatelessClient) -> None:
    got = client.call()
    gate.child.result(in_flight(gate.child)["id"], {"content": []})
    assert got.result["resultType"] == "complete" and got.result["content"] == []
    assert got.result["_meta"][f"{META}serverInfo"]["name"] == "metamcp-all"
    read = client.ask("resources/read", uri="file:///a")
    gate.child.result(in_flight(gate.child, "resources/read")["id"], {"contents": []})
    assert (read.result["ttlMs"], read.result["cacheScope"]) == (0, "private")


def test_an_unknown_resource_has_the_code_of_the_revision(gate: Gate, client: StatelessClient) -> None:
    read = client.ask("resources/read", uri="file:///a")
    error = {"code": -32002, "message": "gone"}
    gate.child.say({"jsonrpc": "2.0", "id": in_flight(gate.child, "resources/read")["id"], "error": error})
    assert read.error["code"] == -32602 and read.error["data"] == {"uri": "file:///a"} and read.final.status == 400
    unknown = client.ask("resources/read", uri="file:///nowhere")
    assert unknown.error["code"] == -32602 and unknown.error["data"] == {"uri": "file:///nowhere"}


def test_the_server_is_greeted_with_what_this_client_offers(gate: Gate) -> None:
    StatelessClient(gate, sampling={"tools": {}}, tasks={}).call()
    assert gate.child.sent("initialize")[0]["params"]["capabilities"] == {"sampling": {"tools": {}}}


def test_calls_of_clients_that_offer_nothing_share_an_instance(gate: Gate) -> None:
    client = StatelessClient(gate)
    client.call()
    first = gate.child
    client.call()
    assert gate.child is first and len(first.sent("tools/call")) == 2
    StatelessClient(gate, principal="other").call()
    assert gate.child is not first


def test_calls_in_which_a_server_may_ask_never_share_one(gate: Gate, client: StatelessClient) -> None:
    client.call()
    first = gate.child
    client.call()
    assert gate.child is not first
    gate.child.result(in_flight(gate.child)["id"], {})
    again = gate.child
    client.call()
    assert gate.child is again


def test_a_client_that_hangs_up_cancels_its_call(gate: Gate, client: StatelessClient) -> None:
    for one in (client, StatelessClient(gate)):
        got = one.call()
        got.reply.close()
        told = gate.child.sent("notifications/cancelled")[-1]
        assert told["params"]["requestId"] == in_flight(gate.child)["id"]
        assert got.items == []


# --- questions ---------------------------------------------------------------------------------------------


def test_a_question_becomes_an_input_required_result_and_its_answer_ends_the_call(
    gate: Gate, client: StatelessClient
) -> None:
    result = asked(gate, client).result
    (request,) = result["inputRequests"].values()
    assert request == {"method": "elicitation/create", "params": ELICIT}
    assert result["resultType"] == "input_required" and result["requestState"]
    got = retry(client, result)
    assert gate.answers[-1] == {"jsonrpc": "2.0", "id": "q1", "result": {"action": "accept", "content": {}}}
    assert len(gate.child.sent("tools/call")) == 1 and got.items == []
    gate.child.result(in_flight(gate.child)["id"], {"content": []})
    assert got.answer["id"] == 2 and got.result["resultType"] == "complete"


def test_questions_at_once_share_one_result(gate: Gate, client: StatelessClient) -> None:
    got = client.call()
    asks(gate.child, 1)
    asks(gate.child, 2, "sampling/createMessage", {"messages": [], "maxTokens": 1})
    asks(gate.child, 3, "roots/list", {})
    gate.gathered()
    methods = [request["method"] for request in got.result["inputRequests"].values()]
    assert methods == ["elicitation/create", "sampling/createMessage", "roots/list"]
    retry(client, got.result)
    assert [answer["id"] for answer in gate.answers] == [1, 2, 3]


def test_a_second_round_has_another_state_and_the_first_is_used_up(gate: Gate, client: StatelessClient) -> None:
    first = asked(gate, client).result
    got = retry(client, first)
    asks(gate.child, "q2")
    gate.gathered()
    second = got.result
    assert second["requestState"] != first["requestState"]
    assert second["inputRequests"].keys() != first["inputRequests"].keys()
    assert retry(client, first).error["code"] == -32602
    final = retry(client, second)
    gate.child.result(in_flight(gate.child)["id"], {"content": []})
    assert final.result["resultType"] == "complete"


@pytest.mark.parametrize("answer", [None, "text", [], 5])
def test_what_is_left_out_or_no_answer_is_asked_again(gate: Gate, client: StatelessClient, answer: object) -> None:
    first = asked(gate, client).result
    (key,) = first["inputRequests"]
    responses = {} if answer is None else {key: answer}
    again = client.call(inputResponses=responses, requestState=first["requestState"])
    assert again.result["inputRequests"] == first["inputRequests"] and gate.answers == []


def test_answers_to_nothing_are_ignored(gate: Gate, client: StatelessClient) -> None:
    first = asked(gate, client).result
    (key,) = first["inputRequests"]
    retry(client, first, **{key: {"action": "accept"}, "other": {"action": "accept"}})
    assert [answer["id"] for answer in gate.answers] == ["q1"]


@pytest.mark.parametrize("change", ["tampered", "principal", "arguments", "expired"])
def test_a_state_is_good_for_its_own_request_alone(gate: Gate, client: StatelessClient, change: str) -> None:
    first = asked(gate, client).result
    state, who, more = first["requestState"], client, {}
    if change == "tampered":
        state += "x"
    elif change == "principal":
        who = StatelessClient(gate, principal="other", **ALL)
    elif change == "arguments":
        more = {"arguments": {"other": True}}
    else:
        gate.reactor.now += QUESTION_SECONDS + 1
    got = who.call(requestState=state, inputResponses={}, **more)
    assert got.error["code"] == -32602 and got.final.status == 400
    assert gate.answers == []


def test_an_unanswered_call_is_ended_at_the_server(gate: Gate, client: StatelessClient) -> None:
    first = asked(gate, client).result
    gate.reactor.advance(QUESTION_SECONDS)
    assert gate.answers[-1]["result"] == {"action": "cancel"}
    assert len(gate.child.sent("notifications/cancelled")) == 1
    assert retry(client, first).error["code"] == -32602


def test_a_server_that_does_not_wait_for_the_answers_gives_its_result_to_the_retry(
    gate: Gate, client: StatelessClient
) -> None:
    first = asked(gate, client).result
    gate.child.result(in_flight(gate.child)["id"], {"content": [1]})
    assert retry(client, first).result["content"] == [1]


def test_a_server_that_dies_while_its_client_thinks_fails_the_retry(gate: Gate, client: StatelessClient) -> None:
    first = asked(gate, client).result
    gate.child.die(1)
    assert retry(client, first).error["code"] == -31004


def test_a_question_that_was_taken_back_is_not_asked(gate: Gate, client: StatelessClient) -> None:
    got = client.call()
    asks(gate.child, "q")
    gate.child.notify("notifications/cancelled", requestId="q")
    gate.gathered()
    assert got.items == []


def test_undeclared_capabilities_fail_the_call_with_what_it_needs(gate: Gate) -> None:
    for offered in ({}, {"sampling": {}}):
        got = StatelessClient(gate, **offered).call()
        asks(gate.child, "q", "elicitation/create")
        assert got.error["code"] == -32021 and got.final.status == 400
        assert got.error["data"] == {"requiredCapabilities": {"elicitation": {}}}


def test_a_question_on_an_instance_with_several_calls_fails_none_of_them(gate: Gate) -> None:
    client = StatelessClient(gate)
    first, second = client.call(), client.call()
    asks(gate.child, "q", "sampling/createMessage")
    assert gate.answers[-1]["error"]["code"] == -32601
    assert first.items == second.items == []


def test_an_address_that_has_to_be_opened_first_is_an_input_request_without_state(
    gate: Gate, client: StatelessClient
) -> None:
    got = client.call()
    wanted = {"mode": "url", "url": "https://example.com", "message": "sign in", "elicitationId": "e1"}
    error = {"code": -32042, "message": "first", "data": {"elicitations": [wanted]}}
    gate.child.say({"jsonrpc": "2.0", "id": in_flight(gate.child)["id"], "error": error})
    (request,) = got.result["inputRequests"].values()
    assert request["params"] == {"mode": "url", "url": "https://example.com", "message": "sign in"}
    assert "requestState" not in got.result
    client.call(inputResponses={"elicitation-1": {"action": "accept"}})
    assert in_flight(gate.child)["params"] == {"name": "status"}


def test_held_calls_are_bounded(gate: Gate, client: StatelessClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridged, "MAX_HELD", 1)
    asked(gate, client)
    assert asked(gate, client).error["code"] == -31002


# --- log ---------------------------------------------------------------------------------------------------


def test_the_log_reaches_only_calls_that_want_it_at_their_level(gate: Gate) -> None:
    client = StatelessClient(gate)
    got = client.call(log="warning")
    assert gate.child.sent("logging/setLevel")[0]["params"] == {"level": "warning"}
    for level in ("info", "error"):
        gate.child.notify("notifications/message", level=level, data="x")
    assert [event["params"]["level"] for event in got.events] == ["error"]
    silent = client.call()
    gate.child.notify("notifications/message", level="error", data="x")
    assert silent.events == []


def test_isolation_call_gives_a_bridged_call_an_instance_of_its_own() -> None:
    gate = Gate(replace(GIT, isolation="call"))
    client = StatelessClient(gate, **ALL)
    first = asked(gate, client).result
    child = gate.child
    got = retry(client, first)
    child.result(in_flight(child)["id"], {"content": []})
    assert got.result["resultType"] == "complete" and child.reason == "its call is over"
