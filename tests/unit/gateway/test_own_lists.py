"""A server that lists something else on one session's instance: that session sees it, others do not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_upstream import FakeChild, Json, ScriptedServer, tool
from wiring import Gateway, Got, stream_name

from metamcp.config.model import EndpointSpec, ServerSpec
from metamcp.gateway.interface import Client, Delete, Listen, Post

SPECS = {name: ServerSpec(name, era="legacy") for name in ("git", "time")}


class Growing(ScriptedServer):
    """``base`` is what every instance lists, ``extra`` what one of them lists besides."""

    def __init__(self) -> None:
        super().__init__({"tools/list": [[]]})
        self.base, self.extra = "login", dict[FakeChild, str]()

    def __call__(self, child: FakeChild, message: Json) -> None:
        more = [tool(self.extra[child])] if child in self.extra else []
        self.lists["tools/list"] = [[tool(self.base), *more]]
        super().__call__(child, message)


class House(Gateway):
    def __init__(self) -> None:
        self.script = Growing()
        super().__init__(SPECS, self.script, {"dev": EndpointSpec("dev", "all")})
        self.catalog.refresh_all()
        self.settle()

    def settle(self) -> None:
        self.reactor.advance(1)
        for child in self.supervisor.children:
            if child.reason and child.exit is None:
                child.die(0)

    def grow(self, child: FakeChild, name: str = "secret") -> None:
        self.script.extra[child] = name
        child.notify("notifications/tools/list_changed")
        self.settle()


class Session:
    def __init__(self, house: House) -> None:
        self.house = house
        self.client = Client("dev", "anonymous", "http")
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}}
        self.client = Client("dev", "anonymous", "http", self.ask("initialize", hello).session)
        self.stream = Got()
        house.router.open(Listen(self.client, stream_name()), self.stream.reply)

    def ask(self, method: str, params: Any) -> Got:
        got = Got()
        payload = json.dumps(params).encode()
        self.house.router.open(Post(self.client, "request", method, b"1", payload, stream_name()), got.reply)
        self.house.reactor.turn()
        return got

    def start(self) -> FakeChild:
        """Its own instance of ``git``, by a call that is answered."""
        self.ask("tools/call", {"name": "git__login"})
        child = [child for child in self.house.supervisor.started if child.session == self.client.session][-1]
        child.result(child.sent("tools/call")[-1]["id"], {"content": []})
        return child

    def tools(self) -> list[str]:
        return [found["name"] for found in self.ask("tools/list", {}).result["tools"]]

    @property
    def told(self) -> int:
        return len([event for event in self.stream.events if event["method"].endswith("/list_changed")])


FRESH = ["git__login", "time__login"]


@pytest.fixture
def house() -> House:
    return House()


def test_what_an_instance_adds_is_seen_and_called_by_its_own_session_alone(house: House) -> None:
    one, other = Session(house), Session(house)
    child = one.start()
    house.grow(child)
    assert one.tools() == ["git__login", "git__secret", "time__login"] and one.told == 1
    assert other.tools() == FRESH and other.told == 0
    one.ask("tools/call", {"name": "git__secret"})
    assert child.sent("tools/call")[-1]["params"]["name"] == "secret"
    assert other.ask("tools/call", {"name": "git__secret"}).error["code"] == -32602


def test_with_its_instance_goes_what_it_had_added(house: House) -> None:
    one = Session(house)
    child = one.start()
    house.grow(child)
    child.die(0)
    assert one.tools() == FRESH and one.told == 2


def test_a_change_of_the_catalog_reaches_sessions_with_lists_of_their_own(house: House) -> None:
    one, other = Session(house), Session(house)
    house.grow(one.start())
    house.script.base = "renamed"
    house.catalog.refresh("time")
    house.settle()
    assert one.tools() == ["git__login", "git__secret", "time__renamed"]
    assert (one.told, other.told) == (2, 1)


def test_a_server_that_says_changed_at_every_list_is_read_ever_less_often(house: House) -> None:
    one = Session(house)
    child = one.start()
    house.script.on_list = lambda asked: asked.notify("notifications/tools/list_changed")
    child.notify("notifications/tools/list_changed")
    house.reactor.advance(120)
    assert 3 <= len(child.sent("tools/list")) <= 12 and one.told == 0


def test_nothing_is_kept_of_a_session_that_ended(house: House) -> None:
    one = Session(house)
    child = one.start()
    house.grow(child)
    house.router.open(Delete(one.client), Got().reply)
    child.notify("notifications/tools/list_changed")
    house.reactor.advance(60)
    assert house.router._own_lists._own == {}
