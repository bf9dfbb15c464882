"""What /api/status and /ready say about servers that can and cannot be asked, and about their instances."""

from __future__ import annotations

import os
from typing import Any

import pytest
from fake_upstream import ScriptedServer, tool
from wiring import Gateway

from metamcp.config.model import EndpointSpec, ServerSpec
from metamcp.errors import RefusedByPolicy
from metamcp.runtime.command.launch import LaunchPlan
from metamcp.runtime.places import Place

SPEC = ServerSpec("s", command="docker", args=("run", "-i", "s:1"), era="legacy")


class House(Gateway):
    """One container of the image ``s:1``."""

    def __init__(self) -> None:
        super().__init__({"s": SPEC}, None, {"dev": EndpointSpec("dev", "all")})
        self.engine["s:1"] = "sha256:1"

    @property
    def server(self) -> dict[str, Any]:
        (found,) = self.snapshot().status()["servers"]
        return found  # type: ignore[no-any-return]

    def reading_fails(self) -> None:
        self.supervisor.script = None
        self.catalog.refresh("s")
        self.supervisor.started[-1].die(1, stderr=("boom",))
        self.reactor.advance(1.5)
        self.pool.sweep()  # the pause before the next start is over, the one before the next reading is not


@pytest.fixture
def house() -> House:
    house = House()
    house.supervisor.script = ScriptedServer({"tools/list": [[tool("a")]]})
    house.begin()
    house.supervisor.started[0].die(0)
    return house


def test_a_server_that_is_known_shows_its_image_and_when_its_list_was_read(house: House) -> None:
    server = house.server
    assert (server["image"], server["digest"], server["reason"]) == ("s:1", "sha256:1", "")
    assert server["listed"] == house.wall() and server["state"] == "IDLE"
    assert house.snapshot().ready() == {"ready": True, "reasons": {}}


def test_a_server_whose_list_is_served_is_ready_and_shows_why_it_could_not_be_asked(house: House) -> None:
    house.reading_fails()
    assert house.snapshot().ready() == {"ready": True, "reasons": {}}
    assert house.server["state"] == "BACKOFF" and "boom" in house.server["reason"]
    assert house.server["listed"] is not None


def test_a_server_that_could_not_be_asked_is_not_ready_and_says_why_the_same_everywhere() -> None:
    house = House()
    house.begin()
    house.reading_fails()
    server, ready = house.server, house.snapshot().ready()
    assert not ready["ready"] and "boom" in ready["reasons"]["server s"]
    assert server["state"] == "BACKOFF" and "boom" in server["reason"] and server["listed"] is None
    assert "boom" in house.snapshot().status()["namespaces"]["all"]["missing"]["s"]


def test_what_only_an_operator_can_change_is_fatal() -> None:
    house = House()
    house.begin()
    house.supervisor.started[0].fail(RefusedByPolicy("the image is not allowed", server="s"))
    assert house.server["state"] == "FATAL" and "not allowed" in house.server["reason"]
    assert "not allowed" in house.snapshot().ready()["reasons"]["server s"]


def test_an_image_that_is_not_there_has_no_digest(house: House) -> None:
    del house.engine["s:1"]
    house.images.recheck()
    house.reactor.turn()
    assert house.server["digest"] is None and house.server["image"] == "s:1"


def test_a_server_that_died_shows_when_what_it_said_and_what_was_started(house: House) -> None:
    house.reactor.advance(100)
    house.supervisor.script = None
    house.catalog.refresh("s")
    child = house.supervisor.started[-1]
    child.command = ["docker", "run", "s:1"]
    assert house.server["command"] == ["docker", "run", "s:1"]
    child.die(137, "SIGKILL", ("boom",), oom_killed=True)
    ended = house.server["lastExit"]
    assert (ended["exitCode"], ended["signal"], ended["stderr"], ended["oomKilled"]) == (137, "SIGKILL", ["boom"], True)
    assert ended["at"] == house.reactor.now
    assert house.server["command"] == ["docker", "run", "s:1"], "also when it is over"


def test_a_server_that_backs_off_says_when_it_is_tried_again(house: House) -> None:
    assert house.server["nextTryAt"] is None
    house.reading_fails()
    assert house.server["nextTryAt"] > house.reactor.now
    house.reactor.advance(house.server["nextTryAt"] - house.reactor.now)
    assert len(house.supervisor.children) == 1, "and then it is"


def test_what_the_gateway_knows_to_try_is_said_while_something_is_wrong() -> None:
    house = House()
    house.begin()
    assert house.server["advice"] is None
    house.supervisor.started[0].fail(RefusedByPolicy("the image is not allowed", server="s", advice="allow it"))
    assert house.server["advice"] == "allow it"


def test_a_document_in_which_nothing_changed_is_the_same(house: House) -> None:
    snapshot = house.snapshot()
    before = snapshot.status(lambda _child: 1)
    house.reactor.advance(0.5)
    assert snapshot.status(lambda _child: 1) == before


# --- instances ---------------------------------------------------------------------------------------------


def instance(container_id: str, container_name: str) -> dict[str, Any]:
    house = House()
    child = house.supervisor.start(SPEC, "session-of-a-client", Place("s", 1))
    child.container_id, child.pid = container_id, os.getpid()
    child.plan, child.is_container = LaunchPlan((), {}, "s:1", container_name, {}, ()), bool(container_name)
    found: list[dict[str, Any]] = house.snapshot(memory_of={"f00d": 4096}.get).status()["children"]
    (child,) = found
    return child


def test_a_container_has_its_id_and_its_name_and_what_its_cgroup_says_of_its_memory() -> None:
    child = instance("f00d", "metamcp-s-1")
    assert (child["containerId"], child["containerName"], child["memoryBytes"]) == ("f00d", "metamcp-s-1", 4096)


def test_an_id_that_the_engine_has_not_told_yet_is_null() -> None:
    child = instance("", "metamcp-s-2")
    assert (child["containerId"], child["containerName"], child["memoryBytes"]) == (None, "metamcp-s-2", None)


def test_a_plain_process_has_no_container_and_its_own_memory() -> None:
    child = instance("", "")
    assert (child["containerId"], child["containerName"]) == (None, None)
    assert child["memoryBytes"] > 1_000_000
