"""Children that wait for a client: how many, for whom, and what their end costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_upstream import HELLO, FakeChild, FakeReactor, FakeSupervisor, Hears, Outcome

from metamcp.config.model import ServerSpec
from metamcp.errors import AtCapacity
from metamcp.runtime.states import SETTLE_SECONDS, ChildState
from metamcp.telemetry.tally import Tally
from metamcp.upstream.connection import UpstreamCall, UpstreamConnection
from metamcp.upstream.listeners import MOST_SAID
from metamcp.upstream.opening import handshake, stateless
from metamcp.upstream.pool import UpstreamPool
from metamcp.upstream.roster import CATALOG, PROBE

SPEC = ServerSpec("git", warm=2, max_instances=3)
OTHER = HELLO.replace(b'"capabilities":{}', b'"capabilities":{"roots":{}}')


class House:
    """A pool with one server whose spares have been started."""

    def __init__(self, spec: ServerSpec = SPEC) -> None:
        self.spec = spec
        self.reactor = FakeReactor()
        self.supervisor = FakeSupervisor(self.reactor)
        self.pool = UpstreamPool(
            self.reactor, {spec.name: spec}, self.supervisor, lambda: 0.5, Tally()  # type: ignore[arg-type]
        )
        self.pool.sweep()

    def lease(self, key: str, hello: bytes = HELLO) -> UpstreamConnection:
        return self.pool.lease(self.spec, key, handshake(hello), Hears())

    def greet(self, key: str, hello: bytes) -> None:
        """A client comes and is served."""
        connection = self.lease(key, hello)
        if not connection.child.queued:
            child: FakeChild = connection.child  # type: ignore[assignment]
            child.initialized()

    def sweep(self) -> None:
        self.pool.sweep()

    @property
    def started(self) -> list[FakeChild]:
        return self.supervisor.started

    def settle(self) -> None:
        self.reactor.advance(SETTLE_SECONDS)


@pytest.fixture
def house() -> House:
    return House()


def test_as_many_as_configured_are_started_and_nobody_speaks_to_them(house: House) -> None:
    house.settle()
    house.pool.sweep()
    assert [child.state for child in house.started] == [ChildState.SPARE] * 2
    assert [child.written for child in house.started] == [[], []]


def test_the_oldest_serves_the_next_session_with_the_clients_own_initialize(house: House) -> None:
    house.settle()
    connection, first = house.lease("s1"), house.started[0]
    assert (connection.child, first.session, len(house.started)) == (first, "s1", 2)
    first.initialized()
    outcome = Outcome()
    connection.call(UpstreamCall("tools/list", {}, outcome))
    assert [message["method"] for message in first.messages] == [
        "initialize", "notifications/initialized", "tools/list",
    ]


def test_one_that_is_taken_while_it_starts_is_spoken_to_like_any_other(house: House) -> None:
    connection = house.lease("s1")
    house.started[0].initialized()
    house.settle()
    assert connection.started_well and house.started[0].state is ChildState.READY


def test_a_taken_one_is_replaced_by_the_next_sweep(house: House) -> None:
    house.lease("s1")
    house.pool.sweep()
    assert len(house.started) == 3


def test_spares_and_instances_together_stay_within_max_instances(house: House) -> None:
    for session in ("s1", "s2"):
        house.lease(session)
        house.pool.sweep()
    assert len(house.started) == 3
    house.lease("s3")
    house.pool.sweep()
    assert len(house.started) == 3
    assert house.lease("s4").child.queued


def test_a_spare_that_does_not_fit_gives_way_to_who_waits(house: House) -> None:
    house.greet("s1", HELLO)
    house.sweep()
    waiting = house.lease("s2", OTHER)
    assert waiting.child.queued
    ending = [child for child in house.started if child.state is ChildState.STOPPING]
    assert len(ending) == 1 and ending[0].session == ""
    ending[0].die(0)
    assert not waiting.child.queued


# --- ready for the next client -----------------------------------------------------------------------------


def test_when_all_clients_say_the_same_a_spare_is_told_so_in_advance_and_serves_at_once(house: House) -> None:
    house.greet("s1", HELLO)
    house.sweep()
    spare = house.started[1]
    spare.initialized()
    assert spare.state is ChildState.SPARE
    listener, outcome = Hears(), Outcome()
    connection = house.pool.lease(SPEC, "s2", handshake(HELLO), listener)
    assert connection.started_well and connection.child is spare  # type: ignore[comparison-overlap]
    connection.call(UpstreamCall("tools/call", {}, outcome))
    assert [message["method"] for message in spare.messages] == [
        "initialize", "notifications/initialized", "tools/call",
    ]
    assert (spare.state, spare.session, listener.ready) == (ChildState.BUSY, "s2", 1)


def test_one_that_is_taken_while_it_is_initialized_is_told_when_it_is_ready(house: House) -> None:
    house.greet("s1", HELLO)
    house.sweep()
    listener = Hears()
    connection = house.pool.lease(SPEC, "s2", handshake(HELLO), listener)
    assert listener.ready == 0
    house.started[1].initialized()
    assert connection.child.state is ChildState.READY and listener.ready == 1


def test_one_that_was_told_something_else_is_not_used_and_the_next_ones_are_told_nothing(house: House) -> None:
    house.greet("s1", HELLO)
    house.sweep()
    told = house.started[1:]
    house.greet("s2", OTHER)
    assert house.pool.find("git", "s2").child not in told  # type: ignore[union-attr]
    assert [child.reason for child in told if child.state is ChildState.STOPPING] == [
        "it was made ready for another client"
    ]


def test_a_question_of_a_spare_waits_for_its_client_and_one_taken_back_does_not(house: House) -> None:
    house.greet("s1", HELLO)
    house.sweep()
    spare = house.started[1]
    spare.initialized()
    for number in (7, 8):
        spare.say({"jsonrpc": "2.0", "id": number, "method": "roots/list"})
    spare.notify("notifications/cancelled", requestId=7)
    listener = Hears()
    house.pool.lease(SPEC, "s2", handshake(HELLO), listener)
    assert [(identifier, method) for identifier, method, _ in listener.requests] == [(b"8", "roots/list")]


def test_one_of_2026_07_28_is_opened_in_the_gateways_own_name(house: House) -> None:
    house.pool.lease(SPEC, CATALOG, stateless(), Hears())
    house.sweep()
    assert [child.sent("server/discover") != [] for child in house.started] == [True] * 3


def test_an_open_spare_is_never_idle_and_one_too_many_is_ended(house: House) -> None:
    house.reactor.advance(10_000)
    house.sweep()
    assert all(child.state is ChildState.SPARE for child in house.started)


def test_what_it_said_before_its_time_is_heard_by_its_conversation(house: House) -> None:
    first = house.started[0]
    first.notify("notifications/message", level="info")
    listener = Hears()
    house.pool.lease(SPEC, "s1", handshake(HELLO), listener)
    assert [method for method, _ in listener.notifications] == ["notifications/message"]


def test_one_that_floods_before_its_time_is_stopped_and_never_taken(house: House) -> None:
    first, second = house.started
    for _ in range(MOST_SAID + 1):
        first.notify("notifications/message", level="info")
    assert first.state is ChildState.STOPPING and "before anybody needed it" in first.reason
    assert house.lease("s1").child is second  # type: ignore[comparison-overlap]
    first.die(0)
    assert first in house.supervisor.ended


def test_spares_that_end_are_replaced_later_and_later_and_calls_go_on(house: House) -> None:
    for child in tuple(house.started):
        child.die(1)
    house.pool.sweep()
    assert len(house.started) == 2
    connection = house.lease("s1")
    assert connection.alive and len(house.started) == 3
    house.reactor.advance(2.1)
    house.pool.sweep()
    assert len(house.started) == 5


@pytest.mark.parametrize("key", [CATALOG, f"{PROBE}-legacy"])
def test_the_gateways_own_instances_take_no_spare(house: House, key: str) -> None:
    house.lease(key)
    assert len(house.started) == 3


def test_spares_leave_starts_free_for_clients(house: House) -> None:
    house.supervisor.free_starts = 2
    house.lease("s1")
    house.pool.sweep()
    assert len(house.started) == 2
    house.supervisor.free_starts = 3
    house.pool.sweep()
    assert len(house.started) == 3


@pytest.mark.parametrize(
    "spec", [replace(SPEC, warm=0), replace(SPEC, enabled=False), replace(SPEC, url="http://far/mcp")]
)
def test_none_are_started_where_none_are_wanted(spec: ServerSpec) -> None:
    assert House(spec).started == []


def test_no_spare_is_started_while_the_server_backs_off_or_the_gateway_ends(house: House) -> None:
    house.lease("s1")
    house.supervisor.refusal = AtCapacity("the gateway is shutting down")
    house.pool.sweep()
    assert len(house.started) == 2
