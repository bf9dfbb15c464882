"""What servers have, asked as seldom as possible, and kept while they are away."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_upstream import HELLO, FakeChild, Hears, ScriptedServer, tool
from wiring import Upstream

from metamcp.config.model import ServerSpec
from metamcp.upstream.opening import handshake

SPEC = ServerSpec("git", era="legacy")


class House(Upstream):
    """A catalog over a real pool, whose one server is scripted."""

    def __init__(self, script: ScriptedServer, spec: ServerSpec = SPEC) -> None:
        super().__init__({spec.name: spec}, script)

    def read(self) -> None:
        self.catalog.refresh_all()
        self.reactor.turn()

    def identities(self, kind: str = "tools") -> list[str]:
        entry = self.catalog.entry("git")
        assert entry is not None
        return [item.identity for item in entry.items[kind]]

    def readings(self) -> int:
        """How often the tools were asked for, over all instances."""
        return sum(len(child.sent("tools/list")) for child in self.supervisor.started)

    @property
    def child(self) -> FakeChild:
        return self.supervisor.started[-1]


def tools(*names: str) -> ScriptedServer:
    return ScriptedServer({"tools/list": [[tool(name) for name in names]]})


# --- reading -----------------------------------------------------------------------------------------------


def test_every_page_of_every_declared_list_is_read() -> None:
    script = ScriptedServer(
        {
            "tools/list": [[tool("a"), tool("b")], [tool("c")], [], [tool("d")]],
            "prompts/list": [[{"name": "p"}]],
            "resources/list": [[{"uri": "u:1"}], [{"uri": "u:2"}]],
            "resources/templates/list": [[{"uriTemplate": "u:{n}"}]],
        },
        instructions="be kind",
    )
    house = House(script)
    house.read()
    assert house.identities() == ["a", "b", "c", "d"]
    assert (house.identities("prompts"), house.identities("resources")) == (["p"], ["u:1", "u:2"])
    assert house.identities("templates") == ["u:{n}"]
    entry = house.catalog.entry("git")
    assert entry is not None and entry.instructions == "be kind"
    assert (house.catalog.problem("git"), house.changes) == (None, ["git"])


def test_lists_that_are_not_declared_are_not_asked_for() -> None:
    house = House(tools("a"))
    house.read()
    methods = [message["method"] for message in house.child.messages]
    assert methods == ["initialize", "notifications/initialized", "tools/list"]


def test_a_declared_list_that_is_not_implemented_is_empty() -> None:
    house = House(ScriptedServer({"resources/list": [[{"uri": "u:1"}]]}))
    house.read()
    assert (house.identities("resources"), house.identities("templates")) == (["u:1"], [])


def test_a_looping_cursor_ends_the_reading() -> None:
    script = tools("a")
    script.loops = True
    house = House(script)
    house.read()
    assert set(house.identities()) == {"a"}
    assert house.readings() == 2


def test_the_gateways_own_instance_is_ended_after_the_reading() -> None:
    house = House(tools("a"))
    house.read()
    assert (len(house.supervisor.started), house.child.reason) == (1, "the catalog was read")


def test_a_shared_instance_is_asked_and_stays() -> None:
    house = House(tools("a"), replace(SPEC, isolation="shared"))
    house.read()
    assert house.child.reason == ""
    assert house.pool.lease(replace(SPEC, isolation="shared"), "*", handshake(HELLO), Hears()).alive
    assert len(house.supervisor.started) == 1


def test_a_disabled_server_is_not_asked() -> None:
    house = House(tools("a"), replace(SPEC, enabled=False))
    house.read()
    assert house.supervisor.started == []


def test_questions_of_a_server_that_is_being_read_are_refused() -> None:
    script = tools("a")
    script.on_list = lambda child: child.say({"jsonrpc": "2.0", "id": "q", "method": "roots/list"})
    house = House(script)
    house.read()
    assert [m["error"]["code"] for m in house.child.messages if m.get("id") == "q"] == [-32601]
    assert house.identities() == ["a"]


# --- failing -----------------------------------------------------------------------------------------------


def test_a_failing_server_keeps_its_old_entry_and_is_asked_again() -> None:
    house = House(tools("a"))
    house.read()
    house.child.die(0)
    house.supervisor.script = None
    house.read()
    house.child.die(1, stderr=("boom",))
    problem = house.catalog.problem("git")
    assert problem is not None and "boom" in problem.text
    assert (house.identities(), house.changes) == (["a"], ["git"])
    house.supervisor.script = tools("a", "b")
    house.reactor.advance(6)
    assert (house.identities(), house.catalog.problem("git")) == (["a", "b"], None)
    assert house.changes == ["git", "git"]


@pytest.mark.parametrize("code", [-31001, -31002, -31004])
def test_a_server_that_could_not_be_asked_keeps_its_old_entry(code: int) -> None:
    house = House(tools("a"), replace(SPEC, isolation="shared"))
    house.read()

    def away(child: FakeChild, message: dict[str, object]) -> None:
        if message["method"] == "tools/list":
            error = {"code": code, "message": "it cannot be reached"}
            child.say({"jsonrpc": "2.0", "id": message["id"], "error": error})

    house.child._script = away
    house.read()
    problem = house.catalog.problem("git")
    assert problem is not None and problem.text == "it cannot be reached"
    assert house.identities() == ["a"]


def test_pauses_between_failing_attempts_grow() -> None:
    house = House(ScriptedServer())
    house.supervisor.script = lambda child, message: child.die(1)
    house.read()
    moments = []
    for _ in range(400):
        before = len(house.supervisor.started)
        house.reactor.advance(1)
        moments += [house.reactor.now - 1000] * (len(house.supervisor.started) - before)
    assert moments == [5, 15, 35, 75, 155, 315]


def test_a_failed_server_is_asked_at_once_when_the_reason_may_be_over() -> None:
    house = House(tools("a"))
    house.supervisor.script = None
    house.read()
    house.child.die(1)
    house.supervisor.script = tools("a")
    house.pool.reset("git")
    house.catalog.retry()
    house.reactor.advance(0)
    assert house.identities() == ["a"] and house.catalog.problem("git") is None


def test_wishes_while_a_server_fails_do_not_add_up_to_more_attempts() -> None:
    house = House(tools("a"))
    instance = house.pool.lease(SPEC, "s1", handshake(HELLO), Hears())
    house.reactor.turn()
    house.supervisor.script = lambda child, message: child.die(1)
    for _ in range(50):
        house.read()
        house.catalog.changed(instance)
    attempts = len(house.supervisor.started)
    house.reactor.advance(290)
    assert len(house.supervisor.started) - attempts <= 2


@pytest.mark.parametrize(
    "result", [{"tools": "none"}, {"tools": [1]}, {"tools": [{"title": "no name"}]}, [], {"tools": [{"name": 5}]}]
)
def test_a_list_against_the_protocol_is_a_problem_and_not_a_crash(result: object) -> None:
    house = House(ScriptedServer())

    def script(child: FakeChild, message: dict[str, object]) -> None:
        if message["method"] == "initialize":
            child.initialized({"tools": {}})
        elif message["method"] == "tools/list":
            child.result(message["id"], result)

    house.supervisor.script = script
    house.read()
    problem = house.catalog.problem("git")
    assert problem is not None and "against the protocol" in problem.text
    assert house.catalog.entry("git") is None


def test_death_in_the_middle_of_a_reading_is_a_problem() -> None:
    script = tools("a")
    script.on_list = lambda child: child.die(2)
    house = House(script)
    house.read()
    problem = house.catalog.problem("git")
    assert problem is not None and "it exited with code 2" in problem.text


# --- changes -----------------------------------------------------------------------------------------------


def test_an_equal_answer_is_no_change() -> None:
    house = House(tools("a"))
    house.read()
    house.read()
    assert (house.readings(), house.changes) == (2, ["git"])


def test_a_burst_of_list_changed_is_one_reading() -> None:
    house = House(tools("a"), replace(SPEC, isolation="shared"))
    house.read()
    house.supervisor.script = house.child._script = tools("a", "b")
    for _ in range(10):
        house.child.notify("notifications/tools/list_changed")
        house.child.notify("notifications/prompts/list_changed")
    house.reactor.advance(1)
    assert (house.readings(), house.identities()) == (2, ["a", "b"])


def test_list_changed_while_a_server_is_read_leads_to_one_more_reading_of_the_same_instance() -> None:
    script = tools("a")
    notified = []

    def once(child: FakeChild) -> None:
        if not notified:
            notified.append(child)
            child.notify("notifications/tools/list_changed")
            script.lists["tools/list"] = [[tool("a"), tool("b")]]

    script.on_list = once
    house = House(script)
    house.read()
    assert (house.readings(), len(house.supervisor.started), house.identities()) == (2, 1, ["a", "b"])


def test_a_server_that_says_list_changed_at_every_start_is_not_started_for_ever() -> None:
    script = tools("a")
    script.on_initialized = lambda child: child.notify("notifications/tools/list_changed")
    house = House(script)
    house.read()
    house.reactor.advance(100)
    assert (len(house.supervisor.started), house.readings()) == (1, 2)


def test_a_server_that_says_list_changed_before_it_answers_initialize_is_read_once() -> None:
    script = tools("a")

    def early(child: FakeChild, message: dict[str, object]) -> None:
        if message["method"] == "initialize":
            child.notify("notifications/tools/list_changed")
        script(child, message)  # type: ignore[arg-type]

    house = House(script)
    house.supervisor.script = early
    house.read()
    house.reactor.advance(100)
    assert house.readings() == 1


@pytest.mark.parametrize(("isolation", "most"), [("session", 3), ("shared", 70)])
def test_a_server_that_says_list_changed_at_every_list_is_not_read_without_a_pause(isolation: str, most: int) -> None:
    script = tools("a")
    script.on_list = lambda child: child.notify("notifications/tools/list_changed")
    house = House(script, replace(SPEC, isolation=isolation))
    house.read()
    house.reactor.advance(10)
    assert house.identities() == ["a"]
    assert (len(house.supervisor.started), house.changes) == (1, ["git"])
    assert house.readings() <= most


# --- waiting -----------------------------------------------------------------------------------------------


def test_when_settled_calls_back_once_after_the_first_attempt() -> None:
    house = House(tools("a"))
    told: list[int] = []
    house.catalog.when_settled(["git"], 10, lambda: told.append(1))
    assert told == []
    house.read()
    house.reactor.advance(20)
    assert told == [1]


def test_when_settled_is_at_once_when_nothing_is_to_wait_for() -> None:
    house = House(tools("a"))
    told: list[int] = []
    house.catalog.when_settled([], 10, lambda: told.append(1))
    house.read()
    house.catalog.when_settled(["git"], 10, lambda: told.append(2))
    assert told == [1, 2]


def test_a_failed_attempt_settles_too() -> None:
    house = House(ScriptedServer())
    house.supervisor.script = lambda child, message: child.die(1)
    told: list[int] = []
    house.catalog.when_settled(["git"], 10, lambda: told.append(1))
    house.read()
    assert told == [1]


def test_when_settled_ends_at_its_timeout() -> None:
    house = House(ScriptedServer())
    house.supervisor.script = None
    told: list[int] = []
    house.catalog.when_settled(["git"], 10, lambda: told.append(1))
    house.read()
    house.reactor.advance(9.9)
    assert told == []
    house.reactor.advance(0.2)
    house.child.die(1)
    assert told == [1]


def test_a_disabled_server_is_not_waited_for() -> None:
    house = House(tools("a"), replace(SPEC, enabled=False))
    told: list[int] = []
    house.catalog.when_settled(["git"], 10, lambda: told.append(1))
    assert told == [1]
