"""Servers that are remembered are served at once; images that change are asked anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from fake_upstream import FakeChild, Json, ModernServer, ScriptedServer, tool
from wiring import NOW, Upstream

from metamcp.config.model import ServerSpec
from metamcp.errors import EngineUnavailable, ServerUnavailable
from metamcp.gateway.catalog_memory import Kept
from metamcp.gateway.reading_order import MOST_READINGS, PATIENCE_SECONDS
from metamcp.upstream.era import Verdict
from metamcp.upstream.roster import CATALOG

CONTAINER = ServerSpec("git", command="docker", args=("run", "-i", "git:1"), era="legacy")
PLAIN = ServerSpec("git", command="python3", era="legacy")
SPECS = {"container": CONTAINER, "plain": PLAIN}
ENGINE = {"git:1": "sha256:1"}
GONE = EngineUnavailable("the engine does not answer", "start it")
DAY = 86400.0


def tools(*names: str) -> ScriptedServer:
    return ScriptedServer({"tools/list": [[tool(name) for name in names]]})


class House(Upstream):
    """One server, and what a former gateway left of it."""

    def __init__(
        self, spec: ServerSpec, script: ScriptedServer | None, memory: Mapping[str, Kept] | None = None,
        eras: Mapping[str, Verdict] | None = None, engine: Mapping[str, str | EngineUnavailable] = ENGINE,
    ) -> None:  # fmt: skip
        super().__init__({spec.name: spec}, script, eras, memory, engine)
        self.spec = spec

    def successor(self, script: ScriptedServer | None, spec: ServerSpec | None = None) -> House:
        """The gateway that is started next, on the same state directory and engine."""
        return House(spec or self.spec, script, self.memory, self.kept, self.engine)

    def look(self) -> None:
        """The next round over the images."""
        self.images.recheck()
        self.reactor.turn()

    @property
    def names(self) -> list[str]:
        entry = self.catalog.entry("git")
        return [item.identity for item in entry.items["tools"]] if entry else []

    @property
    def starts(self) -> int:
        return len(self.supervisor.started)

    def end_all(self) -> None:
        for child in self.supervisor.children:
            child.die(0)


def former(spec: ServerSpec, *names: str) -> House:
    """A gateway that has read the tools of its server."""
    house = House(spec, tools(*names))
    house.begin()
    assert house.names == list(names) and len(house.memory) == 1
    return house


# --- at the start ------------------------------------------------------------------------------------------


def test_a_container_that_is_remembered_is_served_without_a_start() -> None:
    house = former(CONTAINER, "a", "b").successor(None)
    told: list[int] = []
    house.catalog.when_settled(["git"], 10, lambda: told.append(len(house.names)))
    house.begin()
    assert (house.names, house.starts, told, house.changes) == (["a", "b"], 0, [2], ["git"])
    assert house.catalog.problem("git") is None and house.catalog.listed("git") == NOW + 1000
    house.reactor.advance(DAY / 2)
    assert house.starts == 0


@pytest.mark.parametrize("kind", ["plain", "remote"])
def test_what_cannot_show_a_change_is_served_at_once_and_asked_in_the_background(kind: str) -> None:
    spec = PLAIN if kind == "plain" else ServerSpec("git", url="http://git", era="legacy")
    house = former(spec, "a").successor(None)
    told: list[int] = []
    house.catalog.refresh_all()
    house.catalog.when_settled(["git"], 10, lambda: told.append(len(house.names)))
    house.reactor.turn()
    assert (house.names, told, house.starts) == (["a"], [1], 1)
    script, child = tools("a", "b"), house.supervisor.started[0]
    house.supervisor.script = child._script = script
    script(child, child.messages[0])
    house.reactor.turn()
    assert house.names == ["a", "b"] and house.changes == ["git", "git"]


def test_the_era_of_what_cannot_show_a_change_is_presumed_and_asked_once_more() -> None:
    first = House(replace(PLAIN, era="auto"), ModernServer({"tools/list": [[tool("a")]]}))
    first.begin()
    assert first.eras.speaks(first.spec, "modern")
    house = first.successor(None)
    house.begin()
    assert house.eras.preferred(house.spec) == "modern" and house.names == ["a"]
    assert [child.messages[0]["method"] for child in house.supervisor.started] == ["server/discover"]


def test_a_container_is_served_in_the_era_that_is_remembered_however_old() -> None:
    first = House(replace(CONTAINER, era="auto"), ModernServer({"tools/list": [[tool("a")]]}))
    first.begin()
    first.kept = {key: replace(verdict, at=NOW - 100 * DAY) for key, verdict in first.kept.items()}
    house = first.successor(None)
    house.begin()
    assert house.eras.preferred(house.spec) == "modern" and house.starts == 0


def test_another_image_or_configuration_is_asked_and_not_served_from_memory() -> None:
    first = former(CONTAINER, "a")
    first.engine["git:1"] = "sha256:2"
    house = first.successor(None)
    house.begin()
    assert (house.names, house.starts) == ([], 1)
    other = former(CONTAINER, "a").successor(None, replace(CONTAINER, env={"MODE": "x"}))
    other.begin()
    assert (other.names, other.starts) == ([], 1)


def test_containers_are_neither_asked_nor_served_before_it_is_known_what_they_are() -> None:
    house = former(CONTAINER, "a").successor(None)
    told: list[int] = []
    house.catalog.refresh_all()
    house.catalog.when_settled(["git"], 10, lambda: told.append(1))
    house.reactor.turn()
    assert (house.names, house.starts, told) == ([], 0, [])
    house.look()
    assert (house.names, house.starts, told) == (["a"], 0, [1])


def test_without_an_engine_a_container_is_unavailable_and_its_memory_waits_for_the_engine() -> None:
    house = former(CONTAINER, "a").successor(None)
    house.engine["git:1"] = GONE
    house.begin()
    house.supervisor.started[0].fail(ServerUnavailable("no engine", server="git"))
    problem = house.catalog.problem("git")
    assert house.names == [] and problem is not None
    assert [kept.key for kept in house.memory.values()] == [f"sha256:1 {CONTAINER.fingerprint()}"]
    house.engine["git:1"] = "sha256:1"
    house.look()
    assert house.names == ["a"] and house.starts <= 2


def test_a_failed_server_is_asked_again_after_a_restart_and_keeps_what_is_remembered() -> None:
    first = House(CONTAINER, None)
    first.begin()
    first.supervisor.started[0].die(1)
    assert first.memory == {} and first.catalog.problem("git") is not None
    house = first.successor(tools("a"))
    house.begin()
    assert house.names == ["a"] and house.catalog.problem("git") is None


def test_a_broken_server_whose_list_is_known_is_served_and_its_problem_is_shown() -> None:
    house = former(PLAIN, "a").successor(None)
    house.begin()
    house.supervisor.started[0].die(3)
    problem = house.catalog.problem("git")
    assert house.names == ["a"] and problem is not None and "code 3" in problem.text
    assert house.catalog.listed("git") == NOW + 1000


# --- once a day --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "soon"), [(0.5, False), (1.5, True), (400, True), (-3, False)])
def test_a_container_is_asked_in_the_background_when_its_list_is_older_than_a_day(age: float, soon: bool) -> None:
    first = former(CONTAINER, "a")
    first.memory = {key: replace(kept, at=NOW - age * DAY) for key, kept in first.memory.items()}
    house = first.successor(tools("a", "b"))
    house.begin()
    assert (house.names, house.starts) == (["a"], 0)
    house.reactor.advance(1000)
    assert (house.names, house.starts) == ((["a", "b"], 1) if soon else (["a"], 0))
    house.reactor.advance(DAY)
    assert house.names == ["a", "b"]


def test_a_list_that_was_read_is_read_again_a_day_later() -> None:
    house = former(CONTAINER, "a")
    house.end_all()
    house.reactor.advance(DAY - 1)
    assert house.starts == 1
    house.reactor.advance(1000)
    assert house.starts == 2


# --- images that change ------------------------------------------------------------------------------------


def test_another_image_is_asked_anew_while_the_old_list_is_served() -> None:
    house = former(CONTAINER, "a")
    house.engine["git:1"], house.supervisor.script = "sha256:2", None
    house.look()
    assert (house.retired, house.names, house.starts) == (["git"], ["a"], 2)
    script, child = tools("a", "b"), house.supervisor.started[1]
    child._script = script
    script(child, child.messages[0])
    house.reactor.turn()
    assert house.names == ["a", "b"] and house.changes == ["git", "git"]
    assert [kept.key for kept in house.memory.values()] == [f"sha256:2 {CONTAINER.fingerprint()}"]


def test_another_image_is_asked_for_its_era() -> None:
    house = House(replace(CONTAINER, era="auto"), tools("a"))
    house.begin()
    assert house.eras.preferred(house.spec) == "legacy"
    house.engine["git:1"] = "sha256:2"
    house.supervisor.script = ModernServer({"tools/list": [[tool("a")]]})
    house.look()
    assert house.eras.preferred(house.spec) == "modern"


def test_an_instance_for_all_of_the_old_image_is_not_asked_what_the_new_one_has() -> None:
    house = House(replace(CONTAINER, isolation="shared"), tools("a"))
    house.begin()
    old = house.supervisor.started[0]
    house.reactor.advance(1)
    house.engine["git:1"], house.supervisor.script = "sha256:2", tools("b")
    house.look()
    old.notify("notifications/tools/list_changed")
    house.reactor.advance(40)
    assert (house.names, house.starts) == (["b"], 2)
    assert house.pool.find("git", CATALOG) is None


def test_an_image_that_changes_while_it_is_read_is_read_once_more_and_not_remembered_as_the_new_one() -> None:
    house = House(CONTAINER, None)
    house.begin()
    house.engine["git:1"] = "sha256:2"
    house.look()
    assert house.starts == 1
    old, script = house.supervisor.started[0], tools("a")
    old._script = script
    script(old, old.messages[0])
    house.reactor.turn()
    assert (house.names, house.memory) == (["a"], {})
    old.die(0)
    house.supervisor.script = tools("b")
    house.reactor.advance(1)
    assert (house.names, house.starts) == (["b"], 2)
    assert [kept.key for kept in house.memory.values()] == [f"sha256:2 {CONTAINER.fingerprint()}"]


def test_an_image_that_went_and_came_back_is_not_asked_again() -> None:
    house = former(CONTAINER, "a")
    del house.engine["git:1"]
    house.look()
    house.engine["git:1"] = "sha256:1"
    house.look()
    assert (house.names, house.starts, house.retired) == (["a"], 1, [])


def test_an_image_that_comes_is_asked_at_once() -> None:
    house = House(CONTAINER, None, engine={})
    house.begin()
    house.supervisor.started[0].die(125)
    house.reactor.advance(4)
    house.supervisor.script = tools("a")
    house.engine["git:1"] = "sha256:1"
    house.look()
    assert house.names == ["a"] and house.catalog.problem("git") is None


# --- many --------------------------------------------------------------------------------------------------


class Many(Upstream):
    """A hundred plain servers. Those in ``hanging`` never answer."""

    def __init__(self, hanging: frozenset[str] = frozenset(), automatic: bool = True) -> None:
        specs = {name: ServerSpec(name, era="legacy") for name in map(str, range(100))}
        script = tools("a")

        def answer(child: FakeChild, message: Json) -> None:
            if automatic and child.server not in hanging:
                script(child, message)

        super().__init__(specs, script)
        self.supervisor.script = answer


def test_the_first_reading_of_a_hundred_servers_is_a_few_at_a_time() -> None:
    house = Many(automatic=False)
    house.begin()
    assert [child.server for child in house.supervisor.started] == ["0", "1", "2", "3"]
    assert len(house.supervisor.started) == MOST_READINGS


def test_servers_that_hang_hold_the_others_up_for_a_bounded_time_only() -> None:
    hanging = frozenset(map(str, range(7)))
    house = Many(hanging)
    house.begin()
    house.reactor.advance(2 * PATIENCE_SECONDS + 1)
    known = {name for name in map(str, range(100)) if house.catalog.entry(name)}
    assert known == set(map(str, range(7, 100)))


def test_servers_that_a_client_waits_for_are_read_before_all_others() -> None:
    house = Many(automatic=False)
    told: list[int] = []
    house.begin()
    house.catalog.when_settled(["97", "98"], 60, lambda: told.append(1))
    script = tools("a")
    for child in house.supervisor.started[:MOST_READINGS]:
        house.supervisor.script = child._script = script
        script(child, child.messages[0])
        house.reactor.turn()
        if told:
            break
    order = [child.server for child in house.supervisor.started]
    assert told == [1] and set(order[4:6]) == {"97", "98"}


def test_what_becomes_known_in_one_turn_is_told_once_and_before_those_who_wait_are_called() -> None:
    first = Many()
    first.begin()
    house = Upstream({name: ServerSpec(name, era="legacy") for name in map(str, range(100))}, None, {}, first.memory)
    calls: list[frozenset[str]] = []
    house.catalog._settling._on_change = calls.append
    house.catalog.when_settled(["5"], 60, lambda: calls.append(frozenset()))
    house.begin()
    assert [len(call) for call in calls] == [100, 0]


# --- a configuration that changes --------------------------------------------------------------------------


def test_a_server_that_is_put_anew_serves_its_old_list_until_the_new_one_is_complete() -> None:
    house = former(PLAIN, "a")
    house.supervisor.script = None
    house.end_all()
    changed = replace(PLAIN, args=("--more",))
    house.images.put(changed)
    house.catalog.put(changed)
    house.reactor.turn()
    assert house.names == ["a"]
    script, child = tools("a", "b"), house.supervisor.started[-1]
    child._script = script
    script(child, child.messages[0])
    house.reactor.turn()
    assert house.names == ["a", "b"]
    assert [kept.fingerprint for kept in house.memory.values()] == [changed.fingerprint()]


def test_a_server_that_is_removed_while_it_is_asked_is_forgotten() -> None:
    house = House(PLAIN, None)
    house.begin()
    house.images.remove("git")
    house.catalog.remove("git")
    script, child = tools("a"), house.supervisor.started[0]
    child._script = script
    script(child, child.messages[0])
    house.reactor.advance(2 * DAY)
    assert (house.names, house.catalog.entry("git"), house.memory, house.starts) == ([], None, {}, 1)
    assert child.reason == "the catalog was read"


def test_nobody_waits_for_a_server_that_was_removed() -> None:
    house = House(PLAIN, None)
    house.begin()
    told: list[int] = []
    house.catalog.when_settled(["git"], 60, lambda: told.append(1))
    house.catalog.remove("git")
    house.reactor.turn()
    assert told == [1]
