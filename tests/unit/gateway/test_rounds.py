"""Sessions of the handshake era at servers of 2026-07-28: input-required results become questions to the client."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from fake_upstream import FakeChild, Json, ModernServer, tool
from stateless_client import META, in_flight
from wiring import Gateway, Got, stream_name

from metamcp.config.model import EndpointSpec, ServerSpec
from metamcp.gateway.interface import Client, Listen, OpenSse, Post
from metamcp.gateway.relay import QUESTION_SECONDS
from metamcp.gateway.rounds import MAX_ROUNDS

GIT = ServerSpec("git", era="modern")
ELICIT = {"method": "elicitation/create", "params": {"message": "?", "requestedSchema": {"type": "object"}}}
SAMPLE = {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}}


class House(Gateway):
    """A session over one transport, and its server."""

    def __init__(self, transport: Any = "http", spec: ServerSpec = GIT, **capabilities: Any) -> None:
        script = ModernServer({"tools/list": [[tool("status")]], "resources/list": [[{"uri": "file:///a"}]]})
        script.capabilities["resources"] = {"subscribe": True}
        super().__init__({"git": spec}, script, {"dev": EndpointSpec("dev", "all")})
        self.catalog.refresh_all()
        self.reactor.turn()
        hello = {
            "protocolVersion": "2025-11-25",
            "capabilities": capabilities or {"elicitation": {}, "sampling": {}, "tasks": {}},
            "clientInfo": {"name": "t", "version": "1"},
        }
        self.stream = Got()
        self.client = Client("dev", "anonymous", transport)
        if transport == "sse":
            self.router.open(OpenSse(self.client), self.stream.reply)
            self.client = Client("dev", "anonymous", "sse", self.stream.session)
        opened = self.post("request", "initialize", hello)
        if transport == "http":
            self.client = Client("dev", "anonymous", "http", opened.session)
        self.stream.items.clear()

    @property
    def child(self) -> FakeChild:
        return self.supervisor.started[-1]

    def post(self, kind: Any, method: str, params: Any, identifier: bytes = b"7") -> Got:
        got = Got()
        payload = json.dumps(params).encode()
        self.router.open(Post(self.client, kind, method, identifier, payload, stream_name()), got.reply)
        self.reactor.turn()
        return got

    def call(self, **more: Any) -> Got:
        return self.post("request", "tools/call", {"name": "git__status", **more})

    def requires(self, *requests: Json, state: str = "") -> None:
        """The server's answer to the request in flight."""
        result: Json = {"resultType": "input_required"}
        if requests:
            result["inputRequests"] = {f"k{number}": request for number, request in enumerate(requests)}
        self.child.result(in_flight(self.child)["id"], result | ({"requestState": state} if state else {}))

    def answers(self, question: Json, **message: Any) -> None:
        self.post("response", "", {"jsonrpc": "2.0", "id": question["id"], **message})


@pytest.fixture
def house() -> House:
    return House()


def test_a_call_carries_the_sessions_envelope_without_tasks(house: House) -> None:
    house.call(_meta={"vendor": 1})
    meta = in_flight(house.child)["params"]["_meta"]
    assert meta[f"{META}protocolVersion"] == "2026-07-28" and meta["vendor"] == 1
    assert meta[f"{META}clientCapabilities"] == {"elicitation": {}, "sampling": {}}
    assert meta[f"{META}clientInfo"] == {"name": "t", "version": "1"} and f"{META}logLevel" not in meta


@pytest.mark.parametrize("transport", ["http", "sse"])
def test_what_is_required_is_asked_and_the_call_sent_again_with_the_answers(transport: str) -> None:
    house = House(transport)
    got = house.call(arguments={"a": 1})
    heard = got if transport == "http" else house.stream
    house.requires(ELICIT, SAMPLE, state="s1")
    questions = heard.events
    assert [question["method"] for question in questions] == ["elicitation/create", "sampling/createMessage"]
    house.answers(questions[1], result={"role": "assistant"})
    assert len(house.child.sent("tools/call")) == 1
    house.answers(questions[0], result={"action": "accept"})
    again = in_flight(house.child)["params"]
    assert again["inputResponses"] == {"k0": {"action": "accept"}, "k1": {"role": "assistant"}}
    assert again["requestState"] == "s1" and again["arguments"] == {"a": 1}
    house.child.result(in_flight(house.child)["id"], {"resultType": "complete", "content": []})
    assert json.loads(heard.items[-1].data)["result"]["content"] == []


def test_instance_is_not_idle_between_two_rounds_also_when_its_configuration_is_gone(house: House) -> None:
    got, child = house.call(), house.child
    house.requires(ELICIT)
    house.reload({"git": replace(GIT, args=("new",))})
    house.pool.sweep()
    assert not child.reason
    house.answers(got.events[0], result={"action": "accept"})
    child.result(in_flight(child)["id"], {"resultType": "complete", "content": []})
    assert got.result["content"] == []
    house.pool.sweep()
    assert child.reason


@pytest.mark.parametrize("refusal", [True, False], ids=["refused", "cancelled"])
def test_call_that_ends_between_two_rounds_holds_its_instance_no_longer(house: House, refusal: bool) -> None:
    got = house.call()
    house.requires(ELICIT)
    (connection,) = (house.pool.find("git", "*modern"),)
    assert connection is not None and connection.in_flight == 1
    if refusal:
        house.answers(got.events[0], error={"code": -1, "message": "no"})
    else:
        house.post("notification", "notifications/cancelled", {"requestId": 7})
    assert connection.in_flight == 0


def test_every_round_has_its_own_answers_and_state(house: House) -> None:
    got = house.call()
    house.requires(ELICIT, state="s1")
    house.answers(got.events[0], result={"n": 1})
    house.requires(ELICIT)
    house.answers(got.events[1], result={"n": 2})
    again = in_flight(house.child)["params"]
    assert again["inputResponses"] == {"k0": {"n": 2}} and "requestState" not in again


def test_a_state_alone_is_sent_back_after_a_pause(house: House) -> None:
    house.call()
    house.requires(state="later")
    assert len(house.child.sent("tools/call")) == 1
    house.reactor.advance(0.05)
    again = in_flight(house.child)["params"]
    assert again["requestState"] == "later" and "inputResponses" not in again


def test_an_error_of_the_client_fails_the_call_once(house: House) -> None:
    got = house.call()
    house.requires(ELICIT, SAMPLE)
    for question in got.events:
        house.answers(question, error={"code": -1, "message": "no"})
    assert got.error == {"code": -1, "message": "no"}
    assert len(house.child.sent("tools/call")) == 1


def test_a_client_that_never_answers_fails_the_call(house: House) -> None:
    got = house.call()
    house.requires(ELICIT)
    house.reactor.now += QUESTION_SECONDS
    house.registry.sweep()
    assert got.error["code"] == -32001


def test_what_the_client_did_not_declare_is_not_asked() -> None:
    house = House(elicitation={})
    got = house.call()
    house.requires(SAMPLE)
    assert got.events == [] and got.error["data"] == {"server": "git"}


def test_a_server_that_never_stops_asking_is_stopped(house: House) -> None:
    got = house.call()
    for _ in range(MAX_ROUNDS + 1):
        house.requires(state="again")
        house.reactor.advance(1)
    assert "more than" in got.error["message"]


@pytest.mark.parametrize("broken", [{"inputRequests": []}, {"inputRequests": {"k": 1}}, {"inputRequests": {"k": {}}}])
def test_what_cannot_be_read_fails_the_call(house: House, broken: Json) -> None:
    got = house.call()
    house.child.result(in_flight(house.child)["id"], {"resultType": "input_required"} | broken)
    assert got.error["code"] == -31001


def test_cancellation_reaches_the_attempt_in_flight_and_no_other_follows(house: House) -> None:
    house.call()
    house.requires(state="again")
    house.post("notification", "notifications/cancelled", {"requestId": 7}, b"")
    house.reactor.advance(1)
    assert len(house.child.sent("tools/call")) == 1
    got = house.call()
    house.post("notification", "notifications/cancelled", {"requestId": 7}, b"")
    told = house.child.sent("notifications/cancelled")[-1]
    assert told["params"]["requestId"] == in_flight(house.child)["id"] and got.final


def test_url_mode_gets_the_id_that_older_clients_need(house: House) -> None:
    got = house.call()
    house.requires({"method": "elicitation/create", "params": {"mode": "url", "url": "https://example.com"}})
    assert got.events[0]["params"]["elicitationId"]


def test_structured_content_that_older_clients_refuse_is_left_out(house: House) -> None:
    got = house.call()
    house.child.result(in_flight(house.child)["id"], {"content": [], "structuredContent": [1]})
    assert got.result == {"content": []}


def test_the_log_of_a_session_comes_from_an_instance_that_works_for_it_alone(house: House) -> None:
    common = house.child
    house.post("request", "logging/setLevel", {"level": "error"})
    got = house.call()
    assert house.child is not common
    assert in_flight(house.child)["params"]["_meta"][f"{META}logLevel"] == "error"
    for level in ("info", "error"):
        house.child.notify("notifications/message", level=level, data="x")
    assert [event["params"]["level"] for event in got.events] == ["error"]


def test_sessions_subscribe_through_one_listener(house: House) -> None:
    heard, other = Got(), Got()
    house.router.open(Listen(house.client), heard.reply)
    assert house.post("request", "resources/subscribe", {"uri": "file:///a"}).result == {}
    wanted = in_flight(house.child, "subscriptions/listen")["params"]["notifications"]
    assert wanted["resourceSubscriptions"] == ["file:///a"]
    stranger = house.post("request", "initialize", {"protocolVersion": "2025-11-25", "capabilities": {}}).session
    house.router.open(Listen(Client("dev", "anonymous", "http", stranger)), other.reply)
    house.child.notify("notifications/resources/updated", uri="file:///a")
    assert [event["method"] for event in heard.events] == ["notifications/resources/updated"]
    assert house.post("request", "resources/unsubscribe", {"uri": "file:///a"}).result == {}
    assert "resourceSubscriptions" not in in_flight(house.child, "subscriptions/listen")["params"]["notifications"]
    house.child.notify("notifications/resources/updated", uri="file:///a")
    assert len(heard.events) == 1 and other.events == []


def test_a_session_with_an_instance_of_its_own_keeps_it(house: House) -> None:
    own = House(spec=replace(GIT, isolation="session"))
    own.call()
    first = own.child
    own.call()
    assert own.child is first and first.session == own.client.session


def test_call_that_failed_with_its_first_question_fails_once_and_asks_nothing_else() -> None:
    house = House("sse")
    house.call()
    house.requires({"method": "roots/list"}, ELICIT, {"method": "roots/list"})
    (told,) = house.stream.events
    assert told["id"] == 7 and "roots/list" in told["error"]["message"]
