"""Endpoints with ``"discovery": "search"``: two tools in place of the list, in both eras."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from fake_upstream import FakeChild, Json, ScriptedServer, tool
from stateless_client import StatelessClient
from wiring import Gateway, Got, stream_name

from metamcp.config.model import EndpointSpec, NamespaceSpec, ServerSpec, ToolOverride
from metamcp.gateway.interface import Client, Post

GIT = ServerSpec("git", era="legacy")
STATUS = tool("status", title="Status", description="Show the working tree", annotations={"readOnlyHint": True})
LISTS: dict[str, list[list[Json]]] = {
    "tools/list": [[STATUS, tool("push", description="Update a remote"), tool("search_tools")]],
    "prompts/list": [[{"name": "review"}]],
    "resources/list": [[{"uri": "file:///a"}]],
    "resources/templates/list": [[]],
}
ENDPOINTS = {"dev": EndpointSpec("dev", "all", discovery="search"), "long": EndpointSpec("long", "all")}


class Gate(Gateway):
    """One namespace, that ``dev`` shows by search and ``long`` as a list."""

    def __init__(self, prefix: bool = True, tools: Mapping[str, ToolOverride] | None = None) -> None:
        self.script = ScriptedServer({name: list(pages) for name, pages in LISTS.items()})
        super().__init__({"git": GIT}, self.script, {"long": ENDPOINTS["long"]}, prefix=prefix)
        self.reload(
            namespaces={"all": NamespaceSpec("all", ("git",), prefix, tools or {})}, endpoints=ENDPOINTS
        )
        self.catalog.refresh_all()
        self.reactor.turn()
        self.child.die(0)

    @property
    def child(self) -> FakeChild:
        return self.supervisor.started[-1]

    def send(self, client: Client, kind: str, method: str, params: Json, identifier: bytes = b"1") -> Got:
        got, payload = Got(), json.dumps(params).encode()
        post = Post(client, "request" if kind == "request" else "notification", method, identifier, payload)
        self.router.open(Post(client, post.kind, method, identifier, payload, stream_name()), got.reply)
        self.reactor.turn()
        return got


class Customer:
    """A client of the handshake era."""

    def __init__(self, gate: Gate, endpoint: str = "dev") -> None:
        self.gate = gate
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        opened = gate.send(Client(endpoint, "anonymous", "http"), "request", "initialize", hello)
        self.capabilities: Json = opened.result["capabilities"]
        self.client = Client(endpoint, "anonymous", "http", opened.session)

    def ask(self, method: str, identifier: int = 1, **params: object) -> Got:
        return self.gate.send(self.client, "request", method, params, b"%d" % identifier)

    def call(self, tool_name: str, identifier: int = 1, /, **arguments: object) -> Got:
        return self.ask("tools/call", identifier, name=tool_name, arguments=arguments)


@pytest.fixture
def gate() -> Gate:
    return Gate()


def names(got: Got) -> list[str]:
    return [item["name"] for item in got.result["tools"]]


def found(got: Got) -> list[Json]:
    """What a search found; its text says the same."""
    result = got.result
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    tools: list[Json] = result["structuredContent"]["tools"]
    return tools


# --- what is listed ----------------------------------------------------------------------------------------


def test_two_tools_are_listed_in_place_of_all_and_everything_else_stays(gate: Gate) -> None:
    customer, other, stateless = Customer(gate), Customer(gate, "long"), StatelessClient(gate)
    assert names(customer.ask("tools/list")) == names(stateless.ask("tools/list")) == ["search_tools", "call_tool"]
    assert names(other.ask("tools/list")) == ["git__status", "git__push", "git__search_tools"]
    assert [item["name"] for item in customer.ask("prompts/list").result["prompts"]] == ["git__review"]
    assert [item["uri"] for item in stateless.ask("resources/list").result["resources"]] == ["file:///a"]


def test_tools_are_declared_whatever_the_servers_have(gate: Gate) -> None:
    gate.reload({"mail": ServerSpec("mail", era="legacy")})
    assert "tools" in Customer(gate).capabilities
    assert "tools" in StatelessClient(gate).ask("server/discover").result["capabilities"]


def test_the_list_changes_with_the_configuration_and_not_with_what_servers_have(gate: Gate) -> None:
    view = gate.namespaces.views()["dev"]
    gate.script.lists["tools/list"] = [[tool("another")]]
    gate.catalog.refresh_all()
    gate.reactor.turn()
    after = gate.namespaces.views()
    assert "git__another" in after["dev"].routes["tools"]
    assert after["dev"].listings == view.listings and after["long"].listings["tools"] != view.listings["tools"]
    gate.reload({"git": GIT, "mail": ServerSpec("mail")})
    assert gate.namespaces.views()["dev"].listings["tools"] != view.listings["tools"]


# --- search ------------------------------------------------------------------------------------------------


def test_a_search_gives_names_titles_descriptions_and_schemas(gate: Gate) -> None:
    (best, *_) = found(Customer(gate).call("search_tools", query="show the working trees"))
    schema = STATUS["inputSchema"]
    assert best == {
        "name": "git__status", "title": "Status", "description": "Show the working tree", "inputSchema": schema
    }
    assert found(StatelessClient(gate).call("search_tools", arguments={"query": "working tree", "limit": 1})) == [best]


def test_a_search_sees_what_the_servers_have_at_that_time(gate: Gate) -> None:
    customer = Customer(gate)
    assert found(customer.call("search_tools", query="bicycle")) == []
    gate.script.lists["tools/list"] = [[tool("ride", description="Rides bicycles")]]
    gate.catalog.refresh_all()
    gate.reactor.turn()
    assert [item["name"] for item in found(customer.call("search_tools", query="bicycle"))] == ["git__ride"]


@pytest.mark.parametrize(
    "arguments", [{}, {"query": ""}, {"query": 1}, {"query": "x" * 1001}, {"query": "x", "limit": 0}]
    + [{"query": "x", "limit": limit} for limit in (21, 1.5, -1, None, "many", [1], 10**20)]
)
def test_a_search_that_says_nothing_usable_is_the_clients_fault(gate: Gate, arguments: Json) -> None:
    error = Customer(gate).call("search_tools", **arguments).error
    assert error["code"] == -32602 and error["message"].startswith("arguments.")


def test_a_limit_may_be_written_as_models_do(gate: Gate) -> None:
    for limit in (1, 1.0, "1"):
        assert len(found(Customer(gate).call("search_tools", query="git", limit=limit))) == 1


def test_a_search_is_audited_under_its_own_name(gate: Gate) -> None:
    Customer(gate).call("search_tools", query="status")
    assert gate.audited[-1]["tool"] == "search_tools" and gate.audited[-1]["result"] == "result"


# --- calls -------------------------------------------------------------------------------------------------


def test_call_tool_is_a_call_of_the_tool_with_progress_and_audit_by_its_name(gate: Gate) -> None:
    customer = Customer(gate)
    got = customer.ask(
        "tools/call", name="call_tool", _meta={"progressToken": "p"},
        arguments={"name": "git__status", "arguments": {"deep": True}},
    )  # fmt: skip
    (message,) = gate.child.sent("tools/call")
    assert message["params"]["name"] == "status" and message["params"]["arguments"] == {"deep": True}
    gate.child.notify("notifications/progress", progressToken=message["params"]["_meta"]["progressToken"], progress=1)
    gate.child.result(message["id"], {"content": [], "structuredContent": {"clean": True}})
    gate.reactor.turn()
    assert got.events[-1]["params"] == {"progressToken": "p", "progress": 1}
    assert got.result["structuredContent"] == {"clean": True}
    assert (gate.audited[-1]["server"], gate.audited[-1]["tool"]) == ("git", "status")


def test_call_tool_can_be_cancelled(gate: Gate) -> None:
    customer = Customer(gate)
    customer.call("call_tool", 7, name="git__status")
    gate.send(customer.client, "notification", "notifications/cancelled", {"requestId": 7})
    assert gate.child.sent("notifications/cancelled")
    assert gate.audited[-1]["result"] == "cancelled" and gate.audited[-1]["tool"] == "status"


def test_a_found_tool_can_be_called_by_its_own_name_too(gate: Gate) -> None:
    Customer(gate).call("git__push")
    assert gate.child.sent("tools/call")[-1]["params"]["name"] == "push"
    StatelessClient(gate).call("git__push")
    assert gate.child.sent("tools/call")[-1]["params"]["name"] == "push"


def test_a_question_of_the_server_comes_back_through_call_tool(gate: Gate) -> None:
    client = StatelessClient(gate, elicitation={})
    arguments = {"name": "git__status", "arguments": {}}
    asked = client.call("call_tool", arguments=arguments)
    gate.child.say({"jsonrpc": "2.0", "id": 9, "method": "elicitation/create", "params": {"message": "sure?"}})
    gate.reactor.advance(1.0)
    (key,) = asked.result["inputRequests"]
    more = {"inputResponses": {key: {"action": "accept"}}, "requestState": asked.result["requestState"]}
    again = client.call("call_tool", arguments=arguments, **more)
    assert gate.child.messages[-1]["result"] == {"action": "accept"}
    gate.child.result(gate.child.sent("tools/call")[-1]["id"], {"content": []})
    gate.reactor.turn()
    assert again.result["resultType"] == "complete"


@pytest.mark.parametrize("name", ["git__unknown", "call_tool", "search_tools"])
def test_call_tool_leads_to_tools_of_servers_only(gate: Gate, name: str) -> None:
    for got in (
        Customer(gate).call("call_tool", name=name),
        StatelessClient(gate).call("call_tool", arguments={"name": name}),
    ):
        assert got.error["code"] == -32602 and f"unknown tool: '{name}'" in got.error["message"]


@pytest.mark.parametrize("arguments", [{}, {"name": 1}, {"name": "git__status", "arguments": []}])
def test_call_tool_says_what_it_wants(gate: Gate, arguments: Json) -> None:
    error = Customer(gate).call("call_tool", **arguments).error
    assert error["code"] == -32602 and error["message"].startswith("arguments.")


def test_a_disabled_tool_is_neither_found_nor_called() -> None:
    gate = Gate(tools={"git__push": ToolOverride(enabled=False)})
    customer = Customer(gate)
    assert found(customer.call("search_tools", query="update a remote, push")) == []
    assert customer.call("call_tool", name="git__push").error["code"] == -32602
    assert customer.call("git__push").error["code"] == -32602


def test_a_tool_with_the_name_of_one_of_the_two_has_its_servers_before_it() -> None:
    gate = Gate(prefix=False)
    view = gate.namespaces.views()["dev"]
    assert "git__search_tools" in view.routes["tools"] and "search_tools" not in view.routes["tools"]
    assert "tools: 'search_tools' of 'git' is shown as 'git__search_tools'" in view.problems
    Customer(gate).call("call_tool", name="git__search_tools")
    assert gate.child.sent("tools/call")[-1]["params"]["name"] == "search_tools"
    renamed = Gate(tools={"git__push": ToolOverride(name="call_tool")}).namespaces.views()["dev"]
    assert "git__push" in renamed.routes["tools"] and len(renamed.problems) == 1


# --- another configuration ---------------------------------------------------------------------------------


def test_another_way_of_discovery_is_taken_over_at_once(gate: Gate) -> None:
    customer = Customer(gate)
    held = gate.namespaces.at("dev")
    gate.reload(endpoints={"dev": EndpointSpec("dev", "all")})
    assert held is not None and held.view.routes["tools"] == {}
    assert len(names(customer.ask("tools/list"))) == 3
    assert customer.call("search_tools", query="x").error["code"] == -32602
    gate.reload(endpoints=ENDPOINTS)
    assert names(customer.ask("tools/list")) == ["search_tools", "call_tool"]
