"""Subscriptions to a resource whose server an endpoint does not show any more: nothing of it is delivered there."""

from __future__ import annotations

import gc
import json
import logging
import weakref
from dataclasses import replace
from typing import Any

import pytest
from fake_upstream import HELLO, FakeChild, Json, ModernServer, ScriptedServer, tool
from stateless_client import StatelessClient
from wiring import Gateway, Got, stream_name

from metamcp.config.model import EndpointSpec, NamespaceSpec, ServerSpec
from metamcp.gateway.interface import Client, Listen, OpenSse, Post

ONE = NamespaceSpec("one", ("git", "time"))
TWO = NamespaceSpec("two", ("git", "time"))
WITHOUT = replace(ONE, servers=("time",))
UPDATED = "notifications/resources/updated"
SUBSCRIBED = ("resources/subscribe", "subscriptions/listen")
CASES = [
    ("session", "legacy", "session"), ("session", "legacy", "shared"), ("session", "modern", "shared"),
    ("listener", "legacy", "shared"), ("listener", "modern", "shared"),
]  # fmt: skip


class House(Gateway):
    """Two endpoints, each with a namespace of its own, which show the same servers."""

    def __init__(self, era: Any, isolation: Any = "shared") -> None:
        made = ScriptedServer if era == "legacy" else ModernServer
        script = made({"tools/list": [[tool("status")]], "resources/list": [[]]})
        script.lists["resources/list"] = [[{"uri": "file:///a", "name": "a"}]]
        script.capabilities["resources"] = {"subscribe": True, "listChanged": True}
        self.git = ServerSpec("git", era=era, isolation=isolation)
        servers = {"git": self.git, "time": ServerSpec("time", era=era, isolation=isolation)}
        self.ends = {"dev": EndpointSpec("dev", "one"), "ops": EndpointSpec("ops", "two")}

        def answering(child: FakeChild, message: Json) -> None:
            script(child, message)
            if message.get("method", "").startswith("resources/") and message["method"].endswith("subscribe"):
                child.result(message["id"], {})

        super().__init__(servers, answering, {})
        self.reload(namespaces={"one": ONE, "two": TWO}, endpoints=self.ends)
        self.catalog.refresh_all()
        self.reactor.advance(1)

    def show(self, one: NamespaceSpec, **more: Any) -> None:
        self.reload(**{"namespaces": {"one": one, "two": TWO}, **more})
        self.reactor.advance(1)

    def told(self, uri: str = "file:///a") -> None:
        """Each server that was asked to tell of changes tells of one."""
        for child in self.subscribed:
            child.notify(UPDATED, uri=uri)
        self.reactor.turn()

    @property
    def subscribed(self) -> list[FakeChild]:
        """Instances that were ever asked to tell of changes."""
        return [it for it in self.supervisor.children if it.server == "git" and any(map(it.sent, SUBSCRIBED))]

    def wanted(self) -> list[str]:
        """The addresses that the servers were asked for, and not since asked to leave alone."""
        found: list[str] = []
        for child in self.subscribed:
            for message in child.messages:
                if message.get("method") == "resources/subscribe":
                    found.append(message["params"]["uri"])
                elif message.get("method") == "resources/unsubscribe":
                    found.remove(message["params"]["uri"])
            if listens := child.sent("subscriptions/listen"):
                found += listens[-1]["params"]["notifications"].get("resourceSubscriptions", [])
        return found


class Subscriber:
    """Of ``file:///a``, at one endpoint: with a session, or by ``subscriptions/listen``."""

    def __init__(self, house: House, kind: str, endpoint: str = "dev") -> None:
        self.house = house
        self.streams: list[Got] = []
        if kind == "listener":
            client = StatelessClient(house)
            client.client = Client(endpoint, "anonymous", "http", "", "2026-07-28")
            wanted = {"resourceSubscriptions": ["file:///a"]}
            self.streams.append(client.ask("subscriptions/listen", notifications=wanted))
            return
        self.client = Client(endpoint, "anonymous", "http")
        self.client = Client(endpoint, "anonymous", "http", self.ask("initialize", json.loads(HELLO)).session)
        standing = Got()
        house.router.open(Listen(self.client, stream_name()), standing.reply)
        self.streams.append(standing)
        self.subscribe()

    def subscribe(self) -> None:
        self.ask("resources/subscribe", {"uri": "file:///a"})

    def ask(self, method: str, params: Json, identifier: bytes = b"1") -> Got:
        got = Got()
        self.streams.append(got)
        payload = json.dumps(params).encode()
        self.house.router.open(Post(self.client, "request", method, identifier, payload, stream_name()), got.reply)
        self.house.reactor.turn()
        return got

    @property
    def updates(self) -> int:
        return sum(event["method"] == UPDATED for got in self.streams for event in got.events)


@pytest.mark.parametrize(("kind", "era", "isolation"), CASES, ids=map("-".join, CASES))
def test_it_ends_with_its_server_in_the_namespace_and_the_server_is_told(kind: str, era: str, isolation: str) -> None:
    house = House(era, isolation)
    subscriber = Subscriber(house, kind)
    house.told()
    assert subscriber.updates == 1 and house.wanted() == ["file:///a"]
    house.show(WITHOUT)
    house.told()
    assert subscriber.updates == 1 and house.wanted() == []
    house.show(ONE)
    assert house.wanted() == [], "it is not begun again by itself"


@pytest.mark.parametrize(("kind", "era", "isolation"), CASES[1:], ids=map("-".join, CASES[1:]))
def test_whoever_else_wants_it_goes_on_hearing_of_it(kind: str, era: str, isolation: str) -> None:
    house = House(era, isolation)
    subscriber, other = Subscriber(house, kind), Subscriber(house, kind, "ops")
    house.show(WITHOUT)
    house.told()
    assert (subscriber.updates, other.updates) == (0, 1) and house.wanted() == ["file:///a"]


def test_reload_that_leaves_its_server_alone_changes_nothing() -> None:
    for kind, era, isolation in CASES:
        house = House(era, isolation)
        subscriber = Subscriber(house, kind)
        house.show(replace(ONE, servers=("git",)))
        house.told()
        assert subscriber.updates == 1


@pytest.mark.parametrize("off", ["removed", "disabled", "another namespace", "no endpoint"])
@pytest.mark.parametrize(("kind", "era", "isolation"), CASES, ids=map("-".join, CASES))
def test_instance_that_still_works_on_a_call_tells_nothing_more(kind: str, era: str, isolation: str, off: str) -> None:
    house = House(era, isolation)
    subscriber = Subscriber(house, kind)
    caller = Subscriber(house, "session", "dev" if isolation == "session" else "ops")
    caller = subscriber if isolation == "session" else caller
    caller.ask("tools/call", {"name": "git__status", "arguments": {}}, b'"long"')
    without = {"one": WITHOUT, "two": replace(TWO, servers=("time",))}
    time = house.live.config.servers["time"]
    if off == "removed":
        house.reload({"time": time}, namespaces=without)
    elif off == "disabled":
        house.reload({"git": replace(house.git, enabled=False), "time": time}, namespaces={"one": ONE, "two": TWO})
    elif off == "no endpoint":
        house.reload(namespaces={"two": TWO}, endpoints={"ops": house.ends["ops"]})
    else:
        ends = house.ends | {"dev": EndpointSpec("dev", "other")}
        house.reload(namespaces=without | {"two": TWO, "other": replace(WITHOUT, name="other")}, endpoints=ends)
    house.told()
    assert subscriber.updates == 0


def test_session_may_subscribe_again_when_its_server_is_back() -> None:
    for kind, era, isolation in CASES[:3]:
        house = House(era, isolation)
        subscriber = Subscriber(house, kind)
        house.show(WITHOUT)
        house.show(ONE)
        subscriber.subscribe()
        house.told()
        assert subscriber.updates == 1 and house.wanted() == ["file:///a"]


def test_what_a_session_unsubscribed_by_itself_is_not_unsubscribed_again() -> None:
    house = House("legacy", "session")
    subscriber = Subscriber(house, "session")
    subscriber.ask("resources/unsubscribe", {"uri": "file:///a"})
    connection = house.pool.find("git", subscriber.client.session)
    assert connection is not None and not connection.watched
    house.show(WITHOUT)
    (child,) = house.subscribed
    assert len(child.sent("resources/unsubscribe")) == 1


def test_own_instance_that_ended_is_neither_kept_nor_asked() -> None:
    house = House("legacy", "session")
    subscriber = Subscriber(house, "session")
    ended = house.pool.find("git", subscriber.client.session)
    assert ended is not None
    left, (child,) = weakref.ref(ended), house.subscribed
    child.die(0)
    house.reactor.advance(1)
    del ended
    child.on_data = child.on_exit = lambda _what: None
    gc.collect()
    assert left() is None
    house.show(WITHOUT)
    assert child.sent("resources/unsubscribe") == []


def test_own_instance_that_is_being_ended_is_not_asked(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("metamcp"), "propagate", True)
    house = House("legacy", "session")
    Subscriber(house, "session")
    (child,) = house.subscribed
    house.pool.stop("git", "by hand")
    house.show(WITHOUT)
    child.die(0)
    assert "subscription-refused" not in [record.getMessage() for record in caplog.records]


def test_own_instance_is_idle_once_nothing_is_subscribed_any_more() -> None:
    house = House("legacy", "session")
    subscriber = Subscriber(house, "session")
    (child,) = house.subscribed
    connection = house.pool.find("git", subscriber.client.session)
    assert connection is not None and connection.watched
    house.show(WITHOUT)
    assert not connection.watched and child.exit is None


def test_session_that_is_not_initialized_cannot_subscribe() -> None:
    for _, era, isolation in CASES[:3]:
        house = House(era, isolation)
        opened = Got()
        house.router.open(OpenSse(Client("dev", "anonymous", "sse")), opened.reply)
        client = Client("dev", "anonymous", "sse", opened.session)
        payload = b'{"uri":"file:///a"}'
        house.router.open(Post(client, "request", "resources/subscribe", b"1", payload, ""), Got().reply)
        assert json.loads(opened.items[-1].data)["error"]["code"] == -32600 and house.wanted() == []
