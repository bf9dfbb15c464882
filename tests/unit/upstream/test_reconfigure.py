"""Another configuration while instances run: whose calls go on, whose end, and what is forgotten."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest
from fake_upstream import HELLO, FakeChild, FakeReactor, FakeSupervisor, Hears, Outcome

from metamcp.config.model import ServerSpec, Timeouts
from metamcp.errors import DeadlinePassed, RefusedByPolicy, ServerUnavailable
from metamcp.runtime.states import ChildState, ServerState
from metamcp.upstream.connection import UpstreamCall, UpstreamConnection
from metamcp.upstream.opening import handshake
from metamcp.upstream.pool import UpstreamPool
from metamcp.upstream.roster import SHARED

GIT, TIME = ServerSpec("git"), ServerSpec("time")
NEW_GIT = replace(GIT, args=("other",))


class House:
    def __init__(self, *specs: ServerSpec) -> None:
        self.specs = {spec.name: spec for spec in specs}
        self.reactor = FakeReactor()
        self.supervisor = FakeSupervisor(self.reactor)
        self.pool = UpstreamPool(
            self.reactor, self.specs, self.supervisor, lambda: 0.5  # type: ignore[arg-type]
        )
        self.pool.sweep()

    def reconfigure(self, *specs: ServerSpec, retired: Collection[str]) -> None:
        self.specs = {spec.name: spec for spec in specs}
        self.pool.reconfigure(self.specs, retired)

    def lease(self, server: str, key: str = "s1") -> UpstreamConnection:
        """An instance that has answered."""
        connection = self.pool.lease(self.specs[server], key, handshake(HELLO), Hears())
        child = self.child(connection)
        if not connection.started_well:
            child.initialized()
        return connection

    def child(self, connection: UpstreamConnection) -> FakeChild:
        return next(child for child in self.supervisor.started if child is connection.child)  # type: ignore[comparison-overlap]

    def call(self, connection: UpstreamConnection) -> Outcome:
        outcome = Outcome()
        connection.call(UpstreamCall("tools/call", {}, outcome))
        return outcome

    def state(self, server: str) -> ServerState:
        return next(view.state for view in self.pool.views() if view.name == server)


@pytest.fixture
def house() -> House:
    return House(GIT, TIME)


def test_idle_instance_of_a_changed_server_ends_at_once_and_the_next_lease_follows_the_new_configuration(
    house: House,
) -> None:
    old, other = house.lease("git"), house.lease("time")
    house.reconfigure(NEW_GIT, TIME, retired=["git"])
    assert house.child(old).state is ChildState.STOPPING
    new = house.lease("git")
    assert new is not old and new.spec is NEW_GIT
    assert house.lease("time") is other


def test_call_in_flight_finishes_on_the_old_instance_which_then_ends(house: House) -> None:
    old = house.lease("git")
    child, outcome = house.child(old), house.call(old)
    house.reconfigure(NEW_GIT, TIME, retired=["git"])
    house.pool.sweep()
    assert child.state is ChildState.BUSY and house.lease("git") is not old
    child.result(child.sent("tools/call")[0]["id"], {"done": True})
    house.pool.sweep()
    assert outcome.result == b'{"done": true}'
    assert child.state is ChildState.STOPPING  # type: ignore[comparison-overlap]
    child.die(0)
    assert child in house.supervisor.ended


def test_a_server_that_is_stopped_by_hand_ends_also_on_the_old_instance(house: House) -> None:
    old = house.lease("git")
    house.call(old)
    house.reconfigure(NEW_GIT, TIME, retired=["git"])
    new, other = house.lease("git"), house.lease("time")
    assert house.pool.stop("git", "by hand") == 2
    assert [house.child(it).state is ChildState.STOPPING for it in (old, new, other)] == [True, True, False]


def test_call_in_flight_on_the_old_instance_ends_at_its_own_deadline(house: House) -> None:
    house.reconfigure(replace(GIT, timeouts=Timeouts(call=5)), TIME, retired=["git"])
    old = house.lease("git")
    outcome = house.call(old)
    house.reconfigure(TIME, retired=["git"])
    house.reactor.advance(5.1)
    house.pool.sweep()
    assert isinstance(outcome.error, DeadlinePassed)
    assert house.child(old).state is ChildState.STOPPING


def test_call_between_two_rounds_keeps_the_old_instance(house: House) -> None:
    old = house.lease("git")
    old.held = 1
    house.reconfigure(NEW_GIT, TIME, retired=["git"])
    house.pool.sweep()
    assert old.alive
    old.held = 0
    house.pool.sweep()
    assert not old.alive


def test_call_that_waits_for_the_start_of_the_old_instance_is_carried_out_there(house: House) -> None:
    old = house.pool.lease(GIT, "s1", handshake(HELLO), Hears())
    child, outcome = house.child(old), house.call(old)
    house.reconfigure(NEW_GIT, TIME, retired=["git"])
    child.initialized()
    child.result(child.sent("tools/call")[0]["id"], {})
    assert outcome.result == b"{}"


def test_instance_that_is_watched_but_does_nothing_ends(house: House) -> None:
    old = house.lease("git", SHARED)
    old.watched = True
    house.reconfigure(NEW_GIT, TIME, retired=["git"])
    assert not old.alive


def test_renewed_instance_follows_the_new_configuration_and_a_removed_server_has_none(house: House) -> None:
    old = house.lease("git", SHARED)
    house.reconfigure(NEW_GIT, TIME, retired=["git"])
    house.child(old).die(0)
    house.pool.renew(old, lambda: True)
    new = house.pool.find("git", SHARED)
    assert new is not None and new.spec is NEW_GIT
    house.reconfigure(TIME, retired=["git"])
    house.pool.renew(new, lambda: True)
    assert house.pool.find("git", SHARED) is None and len(house.supervisor.started) == 2


def test_session_that_ends_takes_its_retired_instance_with_it(house: House) -> None:
    old = house.lease("git")
    house.call(old)
    house.reconfigure(TIME, retired=["git"])
    assert old.alive
    house.pool.release("s1", "its session ended")
    assert house.child(old).reason == "its session ended"


def test_spares_of_a_changed_server_end_at_once_and_count_for_no_failure() -> None:
    house = House(replace(GIT, warm=2))
    spares = list(house.supervisor.started)
    house.reconfigure(replace(NEW_GIT, warm=1), retired=["git"])
    assert [child.state for child in spares] == [ChildState.STOPPING] * 2
    for child in spares:
        child.die(1)
    house.pool.sweep()
    assert spares == house.supervisor.ended and len(house.supervisor.started) == 3


def test_backoff_and_fatal_of_a_changed_server_are_forgotten(house: House) -> None:
    for server in ("git", "time"):
        failed = house.pool.lease(house.specs[server], "s1", handshake(HELLO), Hears())
        house.child(failed).die(1)
    assert house.state("git") is ServerState.BACKOFF
    house.reconfigure(NEW_GIT, TIME, retired=["git"])
    assert house.state("git") is ServerState.IDLE  # type: ignore[comparison-overlap]
    assert house.lease("git").alive
    with pytest.raises(ServerUnavailable):
        house.lease("time")


def test_mistake_that_only_an_operator_could_mend_is_forgotten(house: House) -> None:
    failed = house.pool.lease(GIT, "s1", handshake(HELLO), Hears())
    house.child(failed).fail(RefusedByPolicy("not allowed"))
    house.pool.sweep()
    assert house.state("git") is ServerState.FATAL
    house.reconfigure(NEW_GIT, TIME, retired=["git"])
    assert house.state("git") is ServerState.IDLE  # type: ignore[comparison-overlap]


def test_old_instance_that_dies_during_its_last_call_is_no_failure_of_the_new_configuration(house: House) -> None:
    old = house.lease("git")
    outcome = house.call(old)
    house.reconfigure(NEW_GIT, TIME, retired=["git"])
    house.child(old).die(1)
    assert "died during the call" in outcome.error.text
    assert house.state("git") is ServerState.IDLE and house.lease("git").alive


@pytest.mark.parametrize("specs", [(TIME,), (replace(GIT, enabled=False), TIME)], ids=["removed", "disabled"])
def test_server_that_is_removed_or_disabled_takes_no_call(house: House, specs: tuple[ServerSpec, ...]) -> None:
    house.lease("git")
    house.reconfigure(*specs, retired=["git"])
    with pytest.raises(ServerUnavailable) as caught:
        house.pool.lease(GIT, "s1", handshake(HELLO), Hears())
    assert caught.value.data["state"] == ServerState.DISABLED
    assert [view.name for view in house.pool.views()] == [spec.name for spec in specs]


def test_added_server_can_be_leased_and_stands_in_the_order_of_the_configuration(house: House) -> None:
    house.reconfigure(ServerSpec("new"), GIT, TIME, retired=[])
    assert house.lease("new").alive
    assert [view.name for view in house.pool.views()] == ["new", "git", "time"]
