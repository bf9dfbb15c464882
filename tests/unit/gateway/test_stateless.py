"""The methods of 2026-07-28 at a gateway: discovery, listings, subscriptions, and calls that pass as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from fake_upstream import FakeChild, Json, ModernServer, ScriptedServer, tool
from stateless_client import META, StatelessClient, in_flight
from wiring import Gateway, Got

from metamcp.config.model import EndpointSpec, ServerSpec
from metamcp.errors import AtCapacity
from metamcp.gateway.interface import Client, Stateless

GIT = ServerSpec("git", era="modern")
LISTS: dict[str, list[list[Json]]] = {
    "tools/list": [[tool("status"), tool("log")]],
    "resources/list": [[{"uri": "file:///a"}]],
    "resources/templates/list": [[]],
}
ACK = "notifications/subscriptions/acknowledged"


class Gate(Gateway):
    def __init__(self, spec: ServerSpec = GIT, script: ScriptedServer | None = None) -> None:
        self.script = script or ModernServer(dict(LISTS))
        self.script.capabilities["resources"] = {"subscribe": True, "listChanged": True}
        super().__init__({"git": spec}, self.script, {"dev": EndpointSpec("dev", "all")})
        self.catalog.refresh_all()
        self.reactor.turn()
        if self.child.reason:
            self.child.die(0)

    @property
    def child(self) -> FakeChild:
        return self.supervisor.started[-1]


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def client(gate: Gate) -> StatelessClient:
    return StatelessClient(gate)


# --- discovery and listings --------------------------------------------------------------------------------


def test_discovery_tells_versions_capabilities_and_who_we_are(gate: Gate, client: StatelessClient) -> None:
    result = client.ask("server/discover").result
    assert result["supportedVersions"] == ["2026-07-28"] and result["resultType"] == "complete"
    assert result["capabilities"].keys() == {"tools", "resources"}
    assert isinstance(result["ttlMs"], int) and result["cacheScope"] == "private"
    assert result["_meta"][f"{META}serverInfo"]["name"] == "metamcp-all"


def test_no_answer_opens_a_session(gate: Gate, client: StatelessClient) -> None:
    assert all(item.session == "" for item in client.ask("server/discover").items)
    assert len(gate.registry) == 0


def test_a_listing_is_complete_and_may_be_cached(gate: Gate, client: StatelessClient) -> None:
    result = client.ask("tools/list").result
    assert [found["name"] for found in result["tools"]] == ["git__status", "git__log"]
    assert (result["resultType"], result["cacheScope"]) == ("complete", "private") and result["ttlMs"] >= 0
    assert client.ask("tools/list", cursor="1").error["code"] == -32602


@pytest.mark.parametrize(
    "method", ["prompts/list", "prompts/get", "completion/complete", "ping", "resources/subscribe", "initialize"]
)
def test_what_no_server_has_is_no_method(gate: Gate, client: StatelessClient, method: str) -> None:
    got = client.ask(method, name="x")
    assert got.error["code"] == -32601 and got.final.status == 404


def test_an_unknown_tool_is_invalid_params(client: StatelessClient) -> None:
    got = client.call("git__nothing")
    assert got.error["code"] == -32602 and got.final.status == 400


def test_a_request_without_an_envelope_is_refused_with_its_id(gate: Gate) -> None:
    got = Got()
    client = Client("dev", "anonymous", "http", "", "2026-07-28")
    gate.router.open(Stateless(client, "tools/list", b'"x"', b"{}", {}), got.reply)
    assert (got.answer["id"], got.error["code"], got.final.status) == ("x", -32602, 400)


# --- calls to a server of the same revision ----------------------------------------------------------------


def test_a_call_passes_with_its_envelope_and_its_result_as_it_is(gate: Gate) -> None:
    client = StatelessClient(gate, elicitation={})
    got = client.call(arguments={"a": 1}, meta={"progressToken": 0})
    params = in_flight(gate.child)["params"]
    assert params["name"] == "status" and params["arguments"] == {"a": 1}
    assert params["_meta"][f"{META}clientCapabilities"] == {"elicitation": {}}
    gate.child.notify("notifications/progress", progressToken=params["_meta"]["progressToken"], progress=1)
    assert got.events[0]["params"]["progressToken"] == 0
    gate.child.result(in_flight(gate.child)["id"], {"resultType": "input_required", "requestState": "theirs"})
    assert got.result == {"resultType": "input_required", "requestState": "theirs"}


def test_a_state_of_the_server_goes_back_to_it(gate: Gate, client: StatelessClient) -> None:
    client.call(requestState="theirs", inputResponses={"k": {}})
    params = in_flight(gate.child)["params"]
    assert (params["requestState"], params["inputResponses"]) == ("theirs", {"k": {}})


def test_all_clients_share_one_instance_unless_configured(gate: Gate) -> None:
    for principal in ("a", "b"):
        StatelessClient(gate, principal).call()
    assert len(gate.supervisor.started) == 1
    own = Gate(replace(GIT, isolation="session"))
    children = set()
    for principal in ("a", "b", "a"):
        StatelessClient(own, principal).call()
        children.add(own.child)
    assert len(children) == 2


def test_hanging_up_is_told_to_the_server_once(gate: Gate, client: StatelessClient) -> None:
    got = client.call()
    for _ in range(2):
        got.reply.close()
    assert len(gate.child.sent("notifications/cancelled")) == 1 and got.items == []


def test_a_log_is_attributed_by_an_instance_of_its_own(gate: Gate, client: StatelessClient) -> None:
    quiet = client.call()
    common = gate.child
    got = client.call(log="info")
    assert gate.child is not common
    gate.child.notify("notifications/message", level="info", data="x")
    common.notify("notifications/message", level="info", data="y")
    assert [event["params"]["data"] for event in got.events] == ["x"] and quiet.events == []


def test_headers_that_repeat_arguments_are_checked_against_the_tools_schema() -> None:
    properties = {"region": {"type": "string", "x-mcp-header": "Region"}}
    script = ModernServer({"tools/list": [[tool("status", inputSchema={"type": "object", "properties": properties})]]})
    client = StatelessClient(Gate(script=script))
    wrong = client.call(arguments={"region": "eu"}, headers={"region": "us"})
    assert wrong.error["code"] == -32020 and wrong.final.status == 400
    assert client.call(arguments={"region": "eu"}).error["code"] == -32020
    assert client.call(arguments={"region": "eu"}, headers={"region": "eu"}).items == []
    assert client.call(arguments={}).items == []
    client.client = msgspec.structs.replace(client.client, transport="rest")  # has no headers for that
    assert client.call(arguments={"region": "eu"}).items == []


# --- subscriptions -----------------------------------------------------------------------------------------


def listen(client: StatelessClient, identifier: object = "sub", **wanted: Any) -> Got:
    return client.ask("subscriptions/listen", identifier, notifications=wanted)


def test_the_first_word_is_what_was_understood(client: StatelessClient) -> None:
    got = listen(client, toolsListChanged=True, promptsListChanged=True, resourcesListChanged=False, other=True)
    (ack,) = got.events
    assert ack["method"] == ACK and ack["params"]["notifications"] == {"toolsListChanged": True}
    assert ack["params"]["_meta"] == {f"{META}subscriptionId": "sub"}


def test_a_change_of_the_merged_listing_is_told_to_who_asked(gate: Gate, client: StatelessClient) -> None:
    tools, resources = listen(client, 0, toolsListChanged=True), listen(client, resourcesListChanged=True)
    gate.script.lists["tools/list"] = [[tool("status")]]
    gate.child.notify("notifications/tools/list_changed")
    gate.reactor.advance(1)
    assert [event["method"] for event in tools.events] == [ACK, "notifications/tools/list_changed"]
    assert tools.events[-1]["params"]["_meta"] == {f"{META}subscriptionId": 0}
    assert len(resources.events) == 1
    assert [found["name"] for found in client.ask("tools/list").result["tools"]] == ["git__status"]


def test_an_update_reaches_who_subscribed_its_address(gate: Gate, client: StatelessClient) -> None:
    got, other = listen(client, resourceSubscriptions=["file:///a"]), listen(client, toolsListChanged=True)
    assert got.events[0]["params"]["notifications"] == {"resourceSubscriptions": ["file:///a"]}
    wanted = in_flight(gate.child, "subscriptions/listen")
    assert wanted["params"]["notifications"]["resourceSubscriptions"] == ["file:///a"]
    meta = {f"{META}subscriptionId": wanted["id"]}
    gate.child.notify("notifications/resources/updated", uri="file:///a/part", _meta=meta)
    gate.child.notify("notifications/resources/updated", uri="file:///b", _meta=meta)
    assert [event["params"] for event in got.events[1:]] == [
        {"uri": "file:///a/part", "_meta": {f"{META}subscriptionId": "sub"}}
    ]
    assert len(other.events) == 1


def test_hanging_up_ends_the_subscription_also_at_the_server(gate: Gate, client: StatelessClient) -> None:
    got = listen(client, resourceSubscriptions=["file:///a"])
    before = in_flight(gate.child, "subscriptions/listen")
    got.reply.close()
    after = in_flight(gate.child, "subscriptions/listen")
    assert "resourceSubscriptions" not in after["params"]["notifications"]
    assert gate.child.sent("notifications/cancelled")[-1]["params"]["requestId"] == before["id"]
    assert not gate.pool.find("git", "*modern").watched  # type: ignore[union-attr]


def test_an_address_that_nobody_has_is_not_honoured(client: StatelessClient) -> None:
    got = listen(client, resourceSubscriptions=["file:///nowhere"])
    assert got.events[0]["params"]["notifications"] == {"resourceSubscriptions": []}


@pytest.mark.parametrize("wanted", [{"resourceSubscriptions": "x"}, {"resourceSubscriptions": [1]}])
def test_wishes_that_are_none_are_refused(client: StatelessClient, wanted: Any) -> None:
    assert listen(client, **wanted).error["code"] == -32602


def test_a_gateway_that_ends_says_so_on_every_subscription(gate: Gate, client: StatelessClient) -> None:
    got = listen(client, toolsListChanged=True)
    gate.router.drain()
    assert got.result == {"resultType": "complete", "_meta": {f"{META}subscriptionId": "sub"}}


def test_a_server_of_the_handshake_era_is_subscribed_once_for_all() -> None:
    gate = Gate(replace(GIT, era="legacy"), ScriptedServer(dict(LISTS)))
    client = StatelessClient(gate)
    first, second = (listen(client, uri, resourceSubscriptions=["file:///a"]) for uri in ("x", "y"))
    gate.reactor.turn()
    assert [message["params"] for message in gate.child.sent("resources/subscribe")] == [{"uri": "file:///a"}]
    gate.child.notify("notifications/resources/updated", uri="file:///a")
    assert len(first.events) == len(second.events) == 2
    first.reply.close()
    assert gate.child.sent("resources/unsubscribe") == []
    second.reply.close()
    assert len(gate.child.sent("resources/unsubscribe")) == 1


def test_a_new_instance_takes_the_place_of_one_that_ended_and_is_told_the_wishes(
    gate: Gate, client: StatelessClient
) -> None:
    got = listen(client, resourceSubscriptions=["file:///a"])
    first = gate.child
    first.die(0)
    gate.reactor.turn()
    assert gate.child is not first
    wanted = in_flight(gate.child, "subscriptions/listen")
    assert wanted["params"]["notifications"]["resourceSubscriptions"] == ["file:///a"]
    gate.child.notify("notifications/resources/updated", uri="file:///a")
    assert len(got.events) == 2
    got.reply.close()
    last = gate.child
    last.die(0)
    gate.reactor.advance(100)
    assert gate.child is last


def test_an_instance_that_cannot_be_had_is_asked_for_again(gate: Gate, client: StatelessClient) -> None:
    listen(client, resourceSubscriptions=["file:///a"])
    first = gate.child
    gate.supervisor.refusal = AtCapacity("too many servers are starting")
    first.die(0)
    gate.reactor.advance(1)
    gate.supervisor.refusal = None
    gate.reactor.advance(5)
    assert gate.child is not first and gate.child.sent("subscriptions/listen")
