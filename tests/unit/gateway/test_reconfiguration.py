"""Another configuration in one turn: what sessions, listeners and calls in flight see of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from fake_upstream import HELLO, FakeChild, Json, ScriptedServer, tool
from stateless_client import StatelessClient
from wiring import Gateway, Got, stream_name

from metamcp.config.model import EndpointSpec, MiddlewareSpec, NamespaceSpec, ServerSpec, ToolOverride
from metamcp.gateway.interface import Client, Is, Listen, OpenSse, Post
from metamcp.runtime.states import ChildState

GIT, TIME = ServerSpec("git", era="legacy"), ServerSpec("time", era="legacy")
DEV, OPS = EndpointSpec("dev", "all"), EndpointSpec("ops", "all")


class Script(ScriptedServer):
    """``tools``: what an instance of a server lists that starts from now on."""

    def __init__(self) -> None:
        super().__init__({"tools/list": [[]], "resources/list": [[{"uri": "file:///a"}]]})
        self.capabilities["resources"]["subscribe"] = True
        self.tools = {"git": "log", "time": "now", "web": "get"}
        self.silent: set[str] = set()
        self.of: dict[FakeChild, str] = {}

    def __call__(self, child: FakeChild, message: Json) -> None:
        if child.server in self.silent:
            return
        self.lists["tools/list"] = [[tool(self.of.setdefault(child, self.tools[child.server]))]]
        super().__call__(child, message)
        if message.get("method") == "resources/subscribe":
            child.result(message["id"], {})


class House(Gateway):
    def __init__(self, *specs: ServerSpec) -> None:
        self.script = Script()
        super().__init__({spec.name: spec for spec in specs}, self.script, {"dev": DEV, "ops": OPS})
        self.catalog.refresh_all()
        self.settle()

    def settle(self, seconds: float = 1) -> None:
        """Let everybody speak; what was told to end ends."""
        self.reactor.advance(seconds)
        for child in self.supervisor.children:
            if child.reason and child.exit is None:
                child.die(0)
        self.reactor.turn()

    def now_with(self, *specs: ServerSpec, **more: Mapping[str, EndpointSpec]) -> None:
        self.reload({spec.name: spec for spec in specs}, **more)  # type: ignore[arg-type]

    def catalog_children(self, server: str) -> list[FakeChild]:
        return [it for it in self.supervisor.children if it.server == server and not it.session]


class Session:
    def __init__(self, house: House, endpoint: str = "dev") -> None:
        self.house = house
        self.client = Client(endpoint, "anonymous", "http")
        opened = self.ask("initialize", json.loads(HELLO))
        self.client = Client(endpoint, "anonymous", "http", opened.session)
        self.stream = Got()
        house.router.open(Listen(self.client, stream_name()), self.stream.reply)

    def ask(self, method: str, params: Json, identifier: bytes = b"1") -> Got:
        got = Got()
        payload = json.dumps(params).encode()
        self.house.router.open(Post(self.client, "request", method, identifier, payload, stream_name()), got.reply)
        self.house.reactor.turn()
        return got

    def begin(self, name: str) -> tuple[Got, FakeChild]:
        """A call in flight, and the instance that works on it."""
        got = self.ask("tools/call", {"name": name}, b'"long"')
        mine = [child for child in self.house.supervisor.started if child.session == self.client.session]
        return got, mine[-1]

    def tools(self) -> list[str]:
        return [found["name"] for found in self.ask("tools/list", {}).result["tools"]]

    @property
    def told(self) -> list[str]:
        events = self.stream.events
        return [event["method"].split("/")[1] for event in events if event["method"].endswith("/list_changed")]


def answer(child: FakeChild, text: str = "done") -> None:
    child.result(child.sent("tools/call")[-1]["id"], {"content": [text]})


@pytest.fixture
def house() -> House:
    return House(GIT, TIME)


CHANGED = replace(GIT, args=("new",))
OFF = replace(GIT, enabled=False)


def test_same_configuration_changes_nothing(house: House) -> None:
    session = Session(house)
    got, child = session.begin("git__log")
    assert house.reload().empty
    house.settle()
    answer(child)
    assert got.result == {"content": ["done"]} and session.told == []


def test_added_server_is_listed_once_it_was_asked_and_its_sessions_are_told(house: House) -> None:
    session = Session(house)
    house.now_with(GIT, TIME, ServerSpec("web", era="legacy"))
    assert session.told == []
    house.settle()
    assert session.told == ["tools"]
    assert session.tools() == ["git__log", "time__now", "web__get"]


def test_removed_server_is_gone_at_once_and_only_what_differs_is_told(house: House) -> None:
    session = Session(house)
    house.now_with(TIME)
    assert session.told == ["tools"]  # the resource has the same address at both servers
    assert session.tools() == ["time__now"]
    assert session.ask("tools/call", {"name": "git__log"}).error["code"] == -32602


def test_disabled_server_is_gone_at_once_and_says_so(house: House) -> None:
    session = Session(house)
    house.now_with(OFF, TIME)
    assert session.told == ["tools"] and session.tools() == ["time__now"]
    refused = session.ask("tools/call", {"name": "git__log"}).error
    assert (refused["code"], refused["data"]["state"]) == (-31001, "DISABLED")
    house.now_with(GIT, TIME)
    house.settle()
    assert session.tools() == ["git__log", "time__now"] and session.told == ["tools", "tools"]


def test_old_list_of_a_changed_server_stays_until_the_new_one_is_complete(house: House) -> None:
    session = Session(house)
    house.script.tools["git"] = "show"
    house.script.silent.add("git")
    house.now_with(CHANGED, TIME)
    house.settle()
    assert session.tools() == ["git__log", "time__now"] and session.told == []
    house.script.silent.clear()
    house.settle(60)  # the start that was never answered
    house.settle(10)
    assert session.tools() == ["git__show", "time__now"] and session.told == ["tools"]


def test_reading_of_the_former_configuration_that_comes_late_is_not_taken_for_the_new_one(house: House) -> None:
    house.script.silent.add("git")
    house.catalog.refresh("git")
    house.reactor.turn()
    (late,) = house.catalog_children("git")
    house.now_with(CHANGED, TIME)
    house.script.silent.clear()
    house.script.of[late] = "late"
    house.script(late, late.messages[0])
    house.settle()
    assert Session(house).tools() == ["git__log", "time__now"]


def test_call_in_flight_finishes_and_the_next_one_gets_a_new_instance(house: House) -> None:
    session = Session(house)
    got, old = session.begin("git__log")
    house.now_with(CHANGED, TIME)
    house.pool.sweep()
    assert old.state is ChildState.BUSY
    again = session.ask("tools/call", {"name": "git__log"}, b"2")
    new = next(it for it in house.supervisor.started if it.session == session.client.session and it is not old)
    answer(old, "old")
    answer(new, "new")
    house.pool.sweep()
    assert (got.result["content"], again.result["content"]) == (["old"], ["new"])
    assert old.reason and not new.reason


def test_call_in_flight_finishes_although_its_server_was_removed(house: House) -> None:
    got, child = Session(house).begin("git__log")
    house.now_with(TIME)
    house.pool.sweep()
    answer(child)
    assert got.result == {"content": ["done"]}


def test_namespace_that_shows_something_else_is_told_to_its_sessions_alone(house: House) -> None:
    two = {"all": NamespaceSpec("all", ("git", "time")), "some": NamespaceSpec("some", ("time",))}
    ends = {"dev": DEV, "ops": EndpointSpec("ops", "some")}
    house.reload(namespaces=two, endpoints=ends)
    here, there = Session(house), Session(house, "ops")
    house.reload(namespaces=two | {"some": NamespaceSpec("some", ("time", "git"))}, endpoints=ends)
    assert (here.told, there.told) == ([], ["tools"])
    assert there.tools() == ["time__now", "git__log"]


def test_session_follows_its_endpoint_to_another_namespace(house: House) -> None:
    session = Session(house)
    spaces = {"all": NamespaceSpec("all", ("git", "time")), "some": NamespaceSpec("some", ("time",))}
    house.reload(namespaces=spaces, endpoints={"dev": EndpointSpec("dev", "some"), "ops": OPS})
    assert session.told == ["tools"] and session.tools() == ["time__now"]


def test_endpoint_that_gets_a_namespace_with_the_same_lists_tells_nobody(house: House) -> None:
    session = Session(house)
    spaces = {"all": NamespaceSpec("all", ("git", "time")), "same": NamespaceSpec("same", ("git", "time"))}
    house.reload(namespaces=spaces, endpoints={"dev": EndpointSpec("dev", "same"), "ops": OPS})
    assert session.told == [] and session.tools() == ["git__log", "time__now"]


OFF_HERE = {
    "by its name": NamespaceSpec("all", ("git", "time"), tools={"git__log": ToolOverride(enabled=False)}),
    "with its server": NamespaceSpec("all", ("time",)),
    "in the namespace within": NamespaceSpec(
        "all", ("time",), namespaces=(NamespaceSpec("in", ("git",), tools={"git__log": ToolOverride(enabled=False)}),)
    ),
    "from outside": NamespaceSpec(
        "all", ("time",), tools={"git__log": ToolOverride(enabled=False)},
        namespaces=(NamespaceSpec("in", ("git",), False, {"log": ToolOverride(name="history")}),),
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", OFF_HERE)
def test_tool_that_is_switched_off_is_reached_by_no_session_no_endpoint_and_no_name(house: House, how: str) -> None:
    session, second, modern = Session(house), Session(house, "ops"), StatelessClient(house)
    _, mine = session.begin("git__log")  # an instance is there, and has a call under way
    house.reload(namespaces={"all": OFF_HERE[how]})
    fresh, calls = Session(house), len(mine.sent("tools/call"))
    for client in (session, second, fresh):
        assert client.tools() == ["time__now"]
        for name in ("git__log", "log", "history", "all__log", "in__history"):
            assert client.ask("tools/call", {"name": name}).error["code"] == -32602
    assert modern.call("git__log").error["code"] == modern.call("history").error["code"] == -32602
    assert len(mine.sent("tools/call")) == calls
    assert (session.told, second.told, fresh.told) == (["tools"], ["tools"], [])


def test_renamed_tool_leaves_its_former_name_in_every_session(house: House) -> None:
    session = Session(house)
    house.reload(namespaces={"all": NamespaceSpec("all", ("git",), tools={"git__log": ToolOverride(name="history")})})
    assert session.tools() == ["history"]
    assert session.ask("tools/call", {"name": "git__log"}).error["code"] == -32602
    got, child = session.begin("history")
    answer(child)
    assert got.result == {"content": ["done"]} and child.sent("tools/call")[-1]["params"]["name"] == "log"


def test_what_a_namespace_within_shows_anew_is_told_at_the_endpoint_of_the_outer_one(house: House) -> None:
    def within(*servers: str) -> dict[str, NamespaceSpec]:
        inner = NamespaceSpec("in", servers)
        return {"in": inner, "all": NamespaceSpec("all", (), namespaces=(inner,))}

    house.reload(namespaces=within("git"))
    session = Session(house)
    assert session.tools() == ["git__log"]
    house.reload(namespaces=within("git", "time"))
    assert session.told == ["tools"] and session.tools() == ["git__log", "time__now"]
    house.script.tools["time"] = "later"
    house.catalog.renew("time")
    house.settle()
    assert session.told == ["tools", "tools"] and session.tools() == ["git__log", "time__later"]


def test_request_that_waited_goes_by_the_namespace_that_its_endpoint_shows_by_then() -> None:
    house = House(TIME)
    house.script.silent.add("git")
    house.reload({"git": GIT, "time": TIME})
    got = StatelessClient(house).ask("tools/call", name="time__now")
    assert got.items == []
    spaces = {"all": NamespaceSpec("all", ("git", "time")), "some": NamespaceSpec("some", ())}
    house.reload(namespaces=spaces, endpoints={"dev": EndpointSpec("dev", "some")})
    house.settle(11)
    assert got.error["code"] in (-32601, -32602)


def test_removed_namespace_takes_its_endpoint_with_it_and_others_go_on(house: House) -> None:
    spaces = {"all": NamespaceSpec("all", ("git",)), "some": NamespaceSpec("some", ("time",))}
    house.reload(namespaces=spaces, endpoints={"dev": DEV, "ops": EndpointSpec("ops", "some")})
    here, there = Session(house), Session(house, "ops")
    house.reload(namespaces={"all": spaces["all"]}, endpoints={"dev": DEV})
    assert there.ask("tools/list", {}).final.status == 404
    assert here.tools() == ["git__log"] and here.told == []


def test_session_at_an_endpoint_that_is_gone_is_closed_and_its_streams_end(house: House) -> None:
    session, other = Session(house), Session(house, "ops")
    sse = Got()
    house.router.open(OpenSse(Client("dev", "anonymous", "sse")), sse.reply)
    house.reload(endpoints={"ops": OPS})
    assert (session.stream.final.kind, sse.final.kind) == (Is.ENDED, Is.ENDED)
    assert session.ask("tools/list", {}).final.status == 404
    house.reload(endpoints={"dev": DEV, "ops": OPS})
    assert session.ask("tools/list", {}).final.status == 404
    assert not any(item.final for item in other.stream.items) and other.tools() == ["git__log", "time__now"]


def test_session_whose_endpoint_is_gone_gets_the_answer_to_its_call_first(house: House) -> None:
    session = Session(house)
    got, child = session.begin("git__log")
    house.reload(endpoints={"ops": OPS})
    house.reactor.advance(5)
    answer(child)
    assert got.result == {"content": ["done"]}
    house.reactor.advance(1)
    assert session.stream.final.kind == Is.ENDED and len(house.registry) == 0


def test_session_without_a_name_is_closed_when_its_endpoint_wants_one(house: House) -> None:
    session = Session(house)
    house.reload(endpoints={"dev": EndpointSpec("dev", "all", auth="api-key"), "ops": OPS})
    assert session.stream.final.kind == Is.ENDED
    assert session.ask("tools/list", {}).final.status == 401


def test_listener_hears_what_differs_and_ends_with_its_endpoint(house: House) -> None:
    client = StatelessClient(house)
    got = client.ask("subscriptions/listen", notifications={"toolsListChanged": True, "resourcesListChanged": True})
    house.now_with(TIME)
    assert [event["method"] for event in got.events][1:] == ["notifications/tools/list_changed"]
    house.now_with(TIME, GIT)
    house.settle()
    assert len(got.events) == 3
    house.reload(endpoints={"ops": OPS})
    assert got.result["resultType"] == "complete"
    assert client.ask("tools/list").final.status == 404


def test_listener_follows_its_endpoint_to_another_namespace(house: House) -> None:
    got = StatelessClient(house).ask("subscriptions/listen", notifications={"toolsListChanged": True})
    spaces = {"all": NamespaceSpec("all", ("git", "time")), "some": NamespaceSpec("some", ("time",))}
    ends = {"dev": EndpointSpec("dev", "some"), "ops": OPS}
    house.reload(namespaces=spaces, endpoints=ends)
    assert len(got.events) == 2
    house.reload(namespaces=spaces | {"all": NamespaceSpec("all", ())}, endpoints=ends)
    assert len(got.events) == 2
    house.reload(namespaces=spaces | {"some": NamespaceSpec("some", ("git",))}, endpoints=ends)
    assert len(got.events) == 3


def test_lists_of_a_sessions_own_instance_end_with_its_retirement(house: House) -> None:
    session, other = Session(house), Session(house)
    got, child = session.begin("git__log")
    house.script.of[child] = "secret"
    child.notify("notifications/tools/list_changed")
    house.settle()
    assert session.tools() == ["git__secret", "time__now"]
    house.now_with(CHANGED, TIME)
    assert session.tools() == other.tools() == ["git__log", "time__now"]
    child.notify("notifications/tools/list_changed")
    house.settle()
    answer(child)
    assert (session.told, other.told) == (["tools", "tools"], [])
    assert got.result == {"content": ["done"]} and session.tools() == ["git__log", "time__now"]


def test_lists_of_a_sessions_own_instance_follow_the_namespace(house: House) -> None:
    session = Session(house)
    _, child = session.begin("git__log")
    house.script.of[child] = "secret"
    child.notify("notifications/tools/list_changed")
    house.settle()
    house.reload(namespaces={"all": NamespaceSpec("all", ("git",))})
    assert session.tools() == ["git__secret"] and session.told == ["tools", "tools"]


def test_lists_of_a_sessions_own_instance_go_through_the_middleware_of_the_namespace(house: House) -> None:
    session = Session(house)
    _, child = session.begin("git__log")
    house.script.of[child] = "secret"
    child.notify("notifications/tools/list_changed")
    house.settle()
    assert session.tools() == ["git__secret", "time__now"]
    hidden = MiddlewareSpec("filter", {"allow": None, "deny": ("*secret",), "kinds": ("tools",)})
    house.reload(namespaces={"all": NamespaceSpec("all", ("git", "time"), middleware=(hidden,))})
    assert session.tools() == ["time__now"] and session.told == ["tools", "tools"]
    assert session.ask("tools/call", {"name": "git__secret"}).error["code"] == -32602
    assert session.ask("tools/call", {"name": "git__log"}).error["code"] == -32602


def test_subscription_to_a_shared_instance_moves_to_the_one_that_follows_it() -> None:
    shared = replace(GIT, isolation="shared")
    house = House(shared)
    session = Session(house)
    session.ask("resources/subscribe", {"uri": "file:///a"})
    (old,) = (child for child in house.supervisor.children if child.sent("resources/subscribe"))
    house.now_with(replace(shared, args=("new",)))
    house.settle()
    house.settle()
    (new,) = (child for child in house.supervisor.children if child.sent("resources/subscribe"))
    assert new is not old and old in house.supervisor.ended
    new.notify("notifications/resources/updated", uri="file:///a")
    assert session.stream.events[-1]["method"] == "notifications/resources/updated"


def test_subscription_is_not_forgotten_when_the_former_instance_ends_after_the_new_one_began() -> None:
    shared = replace(GIT, isolation="shared")
    house = House(shared)
    session, other = Session(house), Session(house)
    session.ask("resources/subscribe", {"uri": "file:///a"})
    got = session.ask("tools/call", {"name": "git__log"}, b"2")
    old = next(child for child in house.supervisor.started if child.sent("tools/call"))
    house.now_with(replace(shared, args=("new",)))
    other.ask("tools/call", {"name": "git__log"})
    new = house.supervisor.started[-1]
    assert len(new.sent("resources/subscribe")) == 1
    answer(old)
    house.pool.sweep()
    house.settle()
    assert got.result == {"content": ["done"]} and old in house.supervisor.ended
    other.ask("resources/subscribe", {"uri": "file:///a"}, b"3")
    assert len(new.sent("resources/subscribe")) == 1


def test_turn_that_waited_for_a_namespace_that_is_gone_is_told_so_and_starts_nothing() -> None:
    house = House()
    house.script.silent.add("git")
    house.reload({"git": GIT})
    client = StatelessClient(house)
    got = client.ask("tools/call", name="git__log")
    assert got.items == []
    house.reload({}, namespaces={"none": NamespaceSpec("none", ())}, endpoints={"dev": EndpointSpec("dev", "none")})
    house.settle(11)
    assert got.error["code"] in (-32601, -32602)


def test_snapshot_shows_the_configuration_in_force_and_what_is_wrong_with_a_later_one(house: House) -> None:
    snapshot = house.snapshot()
    first = snapshot.status()["configuration"]
    assert first == {"loadedAt": house.live.loaded_at, "problems": []}
    house.live.refuse([("servers.json", "is wrong")])
    assert snapshot.status()["configuration"] == first | {"problems": [{"path": "servers.json", "text": "is wrong"}]}
    house.now_with(TIME, ServerSpec("web", era="legacy"))
    status = snapshot.status()
    assert [server["name"] for server in status["servers"]] == ["time", "web"]
    assert status["configuration"]["loadedAt"] > first["loadedAt"] and status["configuration"]["problems"] == []
    assert snapshot.ready()["reasons"].keys() == {"server web"}
    house.settle()
    assert snapshot.ready()["ready"]
