"""Batches of 2025-03-26: parts handled as if alone, responses together; every other revision refuses them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_upstream import FakeChild, ScriptedServer, tool
from stateless_client import in_flight
from wiring import Gateway, Got, stream_name

from metamcp.config.model import EndpointSpec, ServerSpec
from metamcp.gateway.batch import MAX_MESSAGES
from metamcp.gateway.interface import Batch, Client, Listen, OpenSse, Post

CALL = ("request", "tools/call", {"name": "git__status"})
PING = ("request", "ping", {})
INITIALIZED = ("notification", "notifications/initialized", {})
REFUSED = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}'


class House(Gateway):
    def __init__(self, revision: str = "2025-03-26", transport: Any = "http") -> None:
        script = ScriptedServer({"tools/list": [[tool("status")]]})
        super().__init__({"git": ServerSpec("git", era="legacy")}, script, {"dev": EndpointSpec("dev", "all")})
        self.catalog.refresh_all()
        self.reactor.turn()
        self.supervisor.started[-1].die(0)
        self.stream = Got()
        self.client = Client("dev", "anonymous", transport)
        if transport == "sse":
            self.router.open(OpenSse(self.client), self.stream.reply)
            self.client = Client("dev", "anonymous", "sse", self.stream.session)
        hello = {"protocolVersion": revision, "capabilities": {"roots": {}}}
        opened = Got()
        self.router.open(Post(self.client, "request", "initialize", b"0", json.dumps(hello).encode()), opened.reply)
        if transport == "http":
            self.client = Client("dev", "anonymous", "http", opened.session)
        self.stream.items.clear()

    @property
    def child(self) -> FakeChild:
        return self.supervisor.started[-1]

    def batch(self, *parts: Any, refused: list[bytes] | None = None, ids: list[int] | None = None) -> Got:
        self.name = name = stream_name() if self.client.transport == "http" else ""
        posts = [
            Post(self.client, kind, method, b"%d" % identifier, json.dumps(params).encode(), name)
            for identifier, (kind, method, params) in zip(ids or range(1, len(parts) + 1), parts, strict=True)
        ]
        got = Got()
        self.router.open(Batch(self.client, posts, refused or [], name), got.reply)
        self.reactor.turn()
        return got


@pytest.fixture
def house() -> House:
    return House()


def answered(got: Got) -> dict[Any, Any]:
    found = json.loads(got.final.data)
    assert isinstance(found, list)
    return {response["id"]: response for response in found}


def test_responses_leave_together_when_the_last_is_there(house: House) -> None:
    got = house.batch(PING, CALL, INITIALIZED)
    assert got.items == []
    house.child.result(in_flight(house.child)["id"], {"content": []})
    assert answered(got).keys() == {1, 2} and answered(got)[2]["result"] == {"content": []}


def test_events_leave_at_once(house: House) -> None:
    got = house.batch(("request", "tools/call", CALL[2] | {"_meta": {"progressToken": 7}}), PING)
    token = in_flight(house.child)["params"]["_meta"]["progressToken"]
    house.child.notify("notifications/progress", progressToken=token, progress=1)
    house.child.say({"jsonrpc": "2.0", "id": 9, "method": "roots/list"})
    assert [event["method"] for event in got.events] == ["notifications/progress", "roots/list"]


def test_without_a_request_the_batch_is_accepted(house: House) -> None:
    assert house.batch(INITIALIZED, INITIALIZED).final.status == 202


def test_a_part_that_is_no_message_is_refused_inside_the_array(house: House) -> None:
    assert answered(house.batch(PING, refused=[REFUSED]))[None]["error"]["code"] == -32600
    assert answered(house.batch(INITIALIZED, refused=[REFUSED])).keys() == {None}


def test_an_id_that_is_used_twice_is_refused_the_second_time(house: House) -> None:
    got = house.batch(CALL, PING, ids=[1, 1])
    house.child.result(in_flight(house.child)["id"], {})
    assert sorted("error" in response for response in json.loads(got.final.data)) == [False, True]


def test_a_lost_batch_is_resumed_like_any_stream(house: House) -> None:
    got = house.batch(("request", "tools/call", CALL[2] | {"_meta": {"progressToken": 7}}), PING)
    token = in_flight(house.child)["params"]["_meta"]["progressToken"]
    house.child.notify("notifications/progress", progressToken=token, progress=1)
    got.reply.close()
    house.child.result(in_flight(house.child)["id"], {"content": []})
    again = Got()
    house.router.open(Listen(house.client, "new", f"{house.name}:1"), again.reply)
    assert answered(again).keys() == {1, 2}


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-06-18", "2025-11-25"])
def test_other_revisions_have_no_batches(revision: str) -> None:
    got = House(revision).batch(PING)
    assert (got.error["code"], got.final.status) == (-32600, 400)


@pytest.mark.parametrize("parts", [[("request", "initialize", {})], [PING] * (MAX_MESSAGES + 1)])
def test_initialize_and_too_many_parts_are_refused(house: House, parts: list[Any]) -> None:
    assert house.batch(*parts).error["code"] == -32600


def test_on_http_sse_every_response_leaves_by_itself() -> None:
    house = House(transport="sse")
    got = house.batch(PING, CALL, refused=[REFUSED])
    assert got.final.status == 202
    house.child.result(in_flight(house.child)["id"], {"content": []})
    assert [message["id"] for message in house.stream.events] == [None, 1, 2]
