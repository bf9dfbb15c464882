"""Which instance a call gets, when there is none to get, and what a failed start costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fake_upstream import HELLO, FakeChild, FakeReactor, FakeSupervisor, Hears, Outcome

from metamcp.config.model import ServerSpec
from metamcp.errors import AtCapacity, RefusedByPolicy, ServerUnavailable
from metamcp.runtime.places import Caps
from metamcp.runtime.states import FATAL_AFTER, HALF_OPEN_SECONDS, PING_EVERY, PING_SECONDS, ServerState
from metamcp.telemetry.tally import Tally
from metamcp.upstream.connection import UpstreamCall, UpstreamConnection
from metamcp.upstream.opening import SpokenEra, handshake, stateless
from metamcp.upstream.pool import ServerView, UpstreamPool
from metamcp.upstream.room import REST_SECONDS
from metamcp.upstream.roster import CATALOG, PROBE, SHARED, isolation_of, shared_key

SPEC = ServerSpec("git", max_instances=2, idle_seconds=100)


class House:
    """A pool with one server, on a clock that stands still."""

    def __init__(self, spec: ServerSpec = SPEC, caps: Caps | None = None) -> None:
        self.spec = spec
        self.reactor = FakeReactor()
        self.supervisor = FakeSupervisor(self.reactor, caps=caps or Caps())
        self.pool = UpstreamPool(
            self.reactor, {spec.name: spec}, self.supervisor, lambda: 0.5, Tally()  # type: ignore[arg-type]
        )

    def lease(self, key: str, principal: str = "") -> UpstreamConnection:
        return self.pool.lease(self.spec, key, handshake(HELLO), Hears(), principal)

    def ready(self, key: str) -> UpstreamConnection:
        """A started instance for ``key``."""
        connection = self.lease(key)
        self.child.initialized()
        return connection

    def busy(self, key: str) -> UpstreamConnection:
        connection = self.ready(key)
        connection.call(UpstreamCall("tools/call", {}, Outcome()))
        return connection

    @property
    def child(self) -> FakeChild:
        """The one that was started last."""
        return self.supervisor.started[-1]

    def view(self) -> ServerView:
        (view,) = self.pool.views()
        return view

    def fail_to_start(self, key: str = "s") -> None:
        self.lease(key)
        self.child.die(1, stderr=("no key",))

    def refused(self, key: str = "s") -> dict[str, Any]:
        with pytest.raises(ServerUnavailable) as caught:
            self.lease(key)
        return caught.value.data


@pytest.fixture
def house() -> House:
    return House()


# --- keys and reuse ----------------------------------------------------------------------------------------


def test_key_by_isolation_is_the_session_everybody_or_nobody(house: House) -> None:
    by = {isolation: replace(SPEC, isolation=isolation) for isolation in ("session", "shared", "call")}
    assert house.pool.key(by["session"], "s1", "legacy") == house.pool.key(by["session"], "s1", "modern") == "s1"
    assert house.pool.key(by["shared"], "s1", "legacy") == house.pool.key(by["shared"], "s2", "legacy") == SHARED
    assert house.pool.key(by["shared"], "s1", "modern") == shared_key("modern") != SHARED
    calls = {house.pool.key(by["call"], "s1", "legacy") for _ in range(3)}
    assert len(calls) == 3 and not calls & {"s1", SHARED, CATALOG}


def test_one_key_gets_one_instance_and_another_key_another_one(house: House) -> None:
    first = house.lease("s1")
    assert house.lease("s1") is first
    assert house.lease("s2") is not first
    assert [child.session for child in house.supervisor.started] == ["s1", "s2"]


@pytest.mark.parametrize("key", [SHARED, CATALOG])
def test_an_instance_of_the_gateways_own_belongs_to_no_session(house: House, key: str) -> None:
    house.lease(key)
    assert house.child.session == ""


def test_a_dead_instance_is_replaced_at_the_next_lease(house: House) -> None:
    first = house.ready("s1")
    house.reactor.advance(60)
    house.child.die(0)
    assert house.lease("s1") is not first
    assert house.view().instances == 1


def test_a_stopping_instance_is_not_given_out_and_its_end_does_not_remove_the_new_one(house: House) -> None:
    first = house.ready("s1")
    first.close("test")
    second = house.lease("s1")
    assert second is not first
    house.supervisor.started[0].die(0)
    assert house.lease("s1") is second


def test_ended_children_are_given_back_to_the_supervisor(house: House) -> None:
    house.ready("s1")
    house.child.die(0)
    assert house.supervisor.children == ()


def test_release_ends_the_instances_of_that_session_only(house: House) -> None:
    mine, other = house.ready("s1"), house.ready("s2")
    assert house.pool.of_session("s1") == [mine]
    house.pool.release("s1", "its session ended")
    assert (mine.alive, other.alive) == (False, True)


# --- capacity ----------------------------------------------------------------------------------------------


def test_who_finds_all_instances_busy_waits_for_the_first_that_rests(house: House) -> None:
    first, _ = house.busy("s1"), house.busy("s2")
    third = house.lease("s3")
    assert third.child.queued and len(house.supervisor.started) == 2
    house.supervisor.started[0].result(2, {})
    house.reactor.advance(REST_SECONDS)
    house.pool.sweep()
    assert not first.alive and third.child.queued  # the place is free when its container has ended
    house.supervisor.started[0].die(0)
    assert not third.child.queued and house.child is third.child


def test_a_wait_for_a_place_ends_with_at_capacity_and_speaks_not_against_the_server(house: House) -> None:
    house.busy("s1")
    house.busy("s2")
    outcome = Outcome()
    house.lease("s3").call(UpstreamCall("tools/call", {}, outcome))
    house.reactor.advance(30)
    house.pool.sweep()
    assert isinstance(outcome.error, AtCapacity)
    assert "server 'git' is at capacity: all its instances are in use" in outcome.error.text
    assert outcome.error.data == {"server": "git", "retryAfterMs": 1000}
    assert house.view().reason == "" and house.lease("s4").child.queued


def test_the_longest_idle_instance_makes_room(house: House) -> None:
    first, second = house.ready("s1"), house.ready("s2")
    house.reactor.advance(5)
    first.call(UpstreamCall("tools/call", {}, Outcome()))
    house.supervisor.started[0].result(2, {})  # s1 was used last
    house.reactor.advance(5)
    third = house.lease("s3")
    assert (first.alive, second.alive, third.alive) == (True, False, True)
    assert house.supervisor.started[1].reason == "made room for another session"


def test_an_instance_in_use_never_makes_room(house: House) -> None:
    busy, idle = house.busy("s1"), house.ready("s2")
    house.reactor.advance(5)
    house.lease("s3")
    assert (busy.alive, idle.alive) == (True, False)


def test_an_instance_that_starts_or_was_used_a_moment_ago_does_not_make_room(house: House) -> None:
    fresh, starting = house.ready("s1"), house.lease("s2")
    house.lease("s3")
    assert fresh.alive and starting.alive


def test_one_instance_ends_for_each_that_waits_and_no_more(house: House) -> None:
    first, second = house.ready("s1"), house.ready("s2")
    house.reactor.advance(5)
    house.lease("s3")
    for _ in range(3):
        house.pool.sweep()
    assert (first.alive, second.alive) == (False, True)
    house.lease("s4")
    assert not second.alive


@pytest.mark.parametrize("own", [CATALOG, f"{PROBE}-modern"])
def test_what_the_gateway_asks_for_itself_and_clients_never_lock_each_other_out(own: str) -> None:
    house = House(replace(SPEC, max_instances=1))
    house.busy("s1")
    asking = house.lease(own)
    assert not asking.child.queued
    waiting = house.lease("s2")
    house.pool.release("s1", "its session ended")
    house.supervisor.started[0].die(0)
    assert asking.alive and not waiting.child.queued


def test_a_client_that_has_all_it_may_have_waits_and_others_do_not() -> None:
    house = House(replace(SPEC, max_instances=10), Caps(of_principal=2))
    mine = [house.lease(f"s{number}", principal="me") for number in range(3)]
    assert [connection.child.queued for connection in mine] == [False, False, True]
    assert not house.lease("t", principal="you").child.queued
    house.reactor.advance(30)
    house.pool.sweep()
    assert isinstance(mine[2].child.error, AtCapacity) and "this client is at capacity" in mine[2].child.error.text


def test_where_the_gateway_is_full_an_idle_instance_of_anybody_makes_room() -> None:
    house = House(replace(SPEC, max_instances=10), Caps(in_all=2))
    idle = house.ready("s1")
    house.busy("s2")
    house.reactor.advance(5)
    waiting = house.lease("s3", principal="you")
    assert waiting.child.queued and not idle.alive


def test_a_session_that_ends_while_it_waits_leaves_nothing(house: House) -> None:
    house.busy("s1")
    house.busy("s2")
    house.lease("s3")
    house.pool.release("s3", "its session ended")
    house.reactor.turn()
    assert house.view().instances == 2 and not house.supervisor.lacking


def test_refusal_of_the_supervisor_leaves_no_trace(house: House) -> None:
    house.supervisor.refusal = AtCapacity("too many servers are starting")
    with pytest.raises(AtCapacity):
        house.lease("s1")
    house.supervisor.refusal = None
    assert house.view().instances == 0
    assert house.lease("s1").alive


# --- failed starts -----------------------------------------------------------------------------------------


def test_a_failed_start_refuses_the_next_until_its_backoff_is_over(house: House) -> None:
    house.fail_to_start()
    data = house.refused()
    assert data["state"] == ServerState.BACKOFF == house.view().state
    assert 0 < data["retryAfterMs"] <= 1001
    assert "it exited with code 1 (no key)" in data["reason"]
    house.reactor.advance(data["retryAfterMs"] / 1000)
    assert house.lease("s").alive


def test_backoff_grows_with_every_failed_start(house: House) -> None:
    waits = []
    for _ in range(4):
        house.fail_to_start()
        waits.append(house.refused()["retryAfterMs"])
        house.reactor.advance(waits[-1] / 1000)
    assert [round(wait / 1000) for wait in waits] == [1, 2, 4, 8]


def test_backoff_of_one_key_holds_for_every_key(house: House) -> None:
    house.fail_to_start("s1")
    house.refused("s2")


def test_an_instance_that_lives_is_usable_during_a_backoff(house: House) -> None:
    lives = house.ready("s1")
    house.fail_to_start("s2")
    assert house.lease("s1") is lives


def test_a_start_that_takes_too_long_counts_as_failed(house: House) -> None:
    house.lease("s")
    house.reactor.advance(31)
    house.child.die(None, "SIGTERM")
    assert "did not answer initialize" in house.refused()["reason"]


def test_the_time_that_a_start_waits_for_its_turn_is_not_part_of_it() -> None:
    house = House(replace(SPEC, max_instances=1))
    house.busy("s1")
    waiting = house.lease("s2")
    house.reactor.advance(29)
    house.pool.release("s1", "its session ended")
    house.supervisor.started[0].die(0)
    house.reactor.advance(29.5)
    assert waiting.alive
    house.reactor.advance(1)
    assert house.child.reason == "it did not answer initialize within 30 s"


def test_an_instance_given_up_while_it_starts_does_not_speak_against_its_server(house: House) -> None:
    house.lease("s1")
    house.pool.release("s1", "its session ended")
    house.child.die(None, "SIGTERM")
    assert house.lease("s2").alive


def test_the_first_death_after_a_good_start_is_forgiven_and_the_second_is_not(house: House) -> None:
    house.ready("s")
    house.child.die(139)
    assert house.view().state is ServerState.IDLE
    house.ready("s")
    house.child.die(139)
    assert house.refused()["state"] == ServerState.BACKOFF


def test_a_death_after_a_long_life_starts_the_count_anew(house: House) -> None:
    for _ in range(3):
        house.ready("s")
        house.reactor.advance(11)
        house.child.die(1)
    assert house.lease("s").alive


def test_an_operators_mistake_is_fatal_and_asked_again_at_each_call(house: House) -> None:
    house.lease("s")
    house.child.fail(RefusedByPolicy("the image is not allowed", server="git", rule="image-not-allowed"))
    assert house.view().state is ServerState.FATAL
    assert "the image is not allowed" in house.view().reason
    house.ready("s")
    assert (house.view().state, house.view().reason) == (ServerState.READY, "")


def test_a_server_that_fails_again_and_again_is_given_up_and_tried_by_the_gateway_itself(house: House) -> None:
    give_up(house)
    data = house.refused()
    assert (data["state"], house.view().state) == (ServerState.FATAL, ServerState.FATAL)
    assert data["retryAfterMs"] > 60_000
    begun = len(house.supervisor.started)
    house.reactor.advance(HALF_OPEN_SECONDS)
    for _ in range(3):
        house.pool.sweep()
    assert len(house.supervisor.started) == begun + 1  # one at a time
    assert "it is being tried now" in house.refused()["reason"]
    house.child.initialized()
    assert house.child.reason == "it was only tried"
    assert house.lease("s").alive


def test_a_try_that_fails_gives_the_server_up_for_as_long_again(house: House) -> None:
    give_up(house)
    house.reactor.advance(HALF_OPEN_SECONDS)
    house.pool.sweep()
    house.child.die(1)
    assert house.refused()["retryAfterMs"] > 60_000
    assert house.view().state is ServerState.FATAL


def test_a_server_that_was_given_up_is_taken_back_by_hand(house: House) -> None:
    give_up(house)
    house.pool.reset("git")
    assert house.view().state is ServerState.IDLE
    assert house.lease("s").alive


def test_the_end_of_the_gateway_speaks_against_no_server(house: House) -> None:
    house.lease("s")
    house.pool.end("the gateway is shutting down")
    house.child.die(143)
    assert house.child.reason == "the gateway is shutting down" and house.view().state is ServerState.IDLE


def test_containers_are_not_held_back_when_the_engine_is_there_again() -> None:
    house = House(replace(SPEC, command="docker", args=("run", "-i", "s:1")))
    house.fail_to_start()
    house.refused()
    house.pool.engine_back()
    assert house.lease("s").alive


def test_a_plain_process_is_held_back_whatever_the_engine_does(house: House) -> None:
    house.fail_to_start()
    house.pool.engine_back()
    assert house.refused()["retryAfterMs"] > 0


def test_what_a_former_image_did_is_forgotten(house: House) -> None:
    give_up(house)
    house.pool.retire("git", "its image is another one", sessions=False)
    assert house.lease("s").alive


def give_up(house: House) -> None:
    for _ in range(FATAL_AFTER):
        house.fail_to_start()
        house.reactor.advance(61)


def test_a_disabled_server_is_refused_without_a_start() -> None:
    house = House(replace(SPEC, enabled=False))
    assert house.view().state is ServerState.DISABLED
    data = house.refused()
    assert (data["state"], house.supervisor.started) == (ServerState.DISABLED, [])
    assert "disabled" in data["reason"]


# --- housekeeping ------------------------------------------------------------------------------------------


def test_an_idle_instance_is_ended_after_its_time(house: House) -> None:
    connection = house.ready("s")
    house.reactor.advance(99)
    house.pool.sweep()
    assert connection.alive
    house.reactor.advance(1)
    house.pool.sweep()
    assert house.child.reason == "idle for 100 s"


def test_idle_stop_never_touches_a_call_in_flight() -> None:
    house = House(replace(SPEC, idle_seconds=1))
    started, starting = house.busy("s1"), house.lease("s2")
    starting.call(UpstreamCall("tools/call", {}, Outcome()))
    house.reactor.advance(29)
    house.pool.sweep()
    assert started.alive and starting.alive
    house.supervisor.started[0].result(2, {})
    house.reactor.advance(0.5)
    house.pool.sweep()
    assert started.alive  # its rest begins with the answer


def test_idle_stop_is_no_failure_and_not_held_against_the_next_start(house: House) -> None:
    for _ in range(3):
        house.ready("s")
        house.reactor.advance(100)
        house.pool.sweep()
        house.child.die(0)
    assert house.view().state is ServerState.IDLE
    assert house.lease("s").alive


def test_sweep_ends_calls_that_are_late(house: House) -> None:
    outcome = Outcome()
    house.ready("s").call(UpstreamCall("tools/call", {}, outcome))
    house.reactor.advance(60)
    house.pool.sweep()
    assert outcome.error.data["seconds"] == 60.0


def test_a_watched_instance_is_not_idle(house: House) -> None:
    connection = house.ready("s")
    connection.watched = True
    house.reactor.advance(1000)
    house.pool.sweep()
    assert connection.alive
    connection.watched = False
    house.pool.sweep()
    assert not connection.alive


def test_a_silent_instance_is_asked_whether_it_is_there_and_an_answer_is_no_use_of_it(house: House) -> None:
    house.ready("s")
    house.reactor.advance(PING_EVERY)
    for _ in range(2):
        house.pool.sweep()
    (ping,) = house.child.sent("ping")
    assert house.view().state is ServerState.READY
    house.child.say({"jsonrpc": "2.0", "id": ping["id"], "error": {"code": -32601, "message": "unknown method"}})
    house.reactor.advance(PING_EVERY)
    house.pool.sweep()
    assert len(house.child.sent("ping")) == 2
    house.child.result(house.child.sent("ping")[1]["id"], {})
    house.reactor.advance(100 - 2 * PING_EVERY)
    house.pool.sweep()
    assert house.child.reason == "idle for 100 s"


def test_one_that_does_not_answer_is_ended_and_the_next_call_gets_another_at_once(house: House) -> None:
    house.ready("s")
    house.reactor.advance(PING_EVERY)
    house.pool.sweep()
    house.reactor.advance(PING_SECONDS)
    house.pool.sweep()
    assert house.child.reason == "it did not answer ping within 10 s"
    house.child.die(None, "SIGKILL")
    assert house.lease("s").alive


def test_one_that_works_on_a_call_is_not_asked_and_has_time_to_answer_afterwards(house: House) -> None:
    connection = house.ready("s")
    house.reactor.advance(PING_EVERY)
    house.pool.sweep()
    connection.call(UpstreamCall("tools/call", {}, Outcome()))
    house.reactor.advance(PING_EVERY)
    house.pool.sweep()
    house.child.result(house.child.sent("tools/call")[0]["id"], {})
    house.reactor.advance(PING_SECONDS - 1)
    house.pool.sweep()
    assert connection.alive


def test_a_server_of_2026_07_28_has_no_ping(house: House) -> None:
    house.pool.lease(SPEC, "s", stateless(), Hears())
    house.child.result(1, {"supportedVersions": ["2026-07-28"], "capabilities": {}})
    house.reactor.advance(PING_EVERY)
    house.pool.sweep()
    assert house.child.sent("ping") == []


# --- several instances for all -----------------------------------------------------------------------------

SEVERAL = replace(SPEC, isolation="shared", max_instances=3)


def test_a_call_goes_to_the_least_busy_one_for_all_and_a_further_one_starts_while_all_are_busy() -> None:
    house = House(SEVERAL)
    for busy in (1, 2, 3):
        key = house.pool.least_busy(SEVERAL, SHARED)
        house.busy(key)
        assert len(house.supervisor.started) == busy
    fullest = house.pool.find("git", SHARED)
    assert fullest is not None
    fullest.call(UpstreamCall("tools/call", {}, Outcome()))
    assert house.pool.least_busy(SEVERAL, SHARED) != SHARED
    house.supervisor.started[1].result(2, {})
    assert house.pool.find("git", house.pool.least_busy(SEVERAL, SHARED)).child is house.supervisor.started[1]  # type: ignore[union-attr]


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_without_a_configured_number_there_is_one_for_all(era: SpokenEra) -> None:
    house = House(replace(SPEC, isolation="shared", max_instances=None))
    house.busy(shared_key(era))
    assert house.pool.least_busy(house.spec, shared_key(era)) == shared_key(era)


# --- instances that are no longer what a new one would be --------------------------------------------------


def test_a_retired_instance_takes_no_call_and_ends_with_its_last_one(house: House) -> None:
    busy, idle = house.busy("s1"), house.ready("s2")
    house.pool.retire("git", "its image is another one", sessions=True)
    assert house.lease("s1") is not busy
    house.pool.sweep()
    assert busy.alive and not idle.alive
    assert house.supervisor.started[1].reason == "its image is another one"
    house.supervisor.started[0].result(2, {})
    house.pool.sweep()
    assert not busy.alive


def test_instances_of_sessions_may_stay(house: House) -> None:
    mine, everybodys = house.ready("s1"), house.ready(SHARED)
    house.pool.retire("git", "its image is another one", sessions=False)
    assert house.lease("s1") is mine and house.pool.find("git", SHARED) is None
    house.pool.sweep()
    assert mine.alive and not everybodys.alive


# --- instances for one call at a time ----------------------------------------------------------------------


def test_isolation_follows_the_era_where_nothing_is_configured() -> None:
    assert (isolation_of(SPEC, "legacy"), isolation_of(SPEC, "modern")) == ("session", "shared")
    assert isolation_of(replace(SPEC, isolation="call"), "modern") == "call"


def test_an_idle_instance_of_the_group_is_used_again_and_a_busy_one_is_not(house: House) -> None:
    opening = handshake(HELLO)
    first = house.pool.lease_idle(SPEC, "*me", opening, Hears())
    house.child.initialized()
    listener = Hears()
    assert house.pool.lease_idle(SPEC, "*me", opening, listener) is first and first.listener is listener
    first.call(UpstreamCall("tools/call", {}, Outcome()))
    assert house.pool.lease_idle(SPEC, "*me", opening, Hears()) is not first
    assert [child.session for child in house.supervisor.started] == ["", ""]


def test_an_instance_of_another_group_is_never_lent(house: House) -> None:
    mine = house.pool.lease_idle(SPEC, "*me", handshake(HELLO), Hears())
    assert house.pool.lease_idle(SPEC, "*me2", handshake(HELLO), Hears()) is not mine


def test_the_end_of_a_probed_instance_speaks_against_nobody(house: House) -> None:
    house.lease(PROBE)
    house.child.die(1)
    assert house.view().state is ServerState.IDLE
    assert house.view().last_exit is None
    assert house.lease("s").alive


def test_a_probe_that_policy_refuses_shows_what_holds_for_every_start(house: House) -> None:
    house.lease(PROBE)
    house.child.fail(RefusedByPolicy("not allowed", rule="image-allowlist"))
    assert house.view().state is ServerState.FATAL


# --- what is shown -----------------------------------------------------------------------------------------


def test_states_follow_the_life_of_a_server(house: House) -> None:
    seen = [house.view().state]
    connection = house.lease("s")
    seen.append(house.view().state)
    house.child.initialized()
    seen.append(house.view().state)
    connection.call(UpstreamCall("tools/call", {}, Outcome()))
    house.pool.sweep()
    seen.append(house.view().state)
    house.child.die(0)
    seen.append(house.view().state)
    assert seen == [
        ServerState.IDLE, ServerState.STARTING, ServerState.READY, ServerState.BUSY, ServerState.IDLE,
    ]


def test_the_last_exit_is_shown_with_its_reason_and_last_words(house: House) -> None:
    house.fail_to_start()
    assert house.view().last_exit == {
        "exitCode": 1, "signal": None, "oomKilled": False, "advice": None,
        "reason": "it exited with code 1", "stderr": ["no key"], "wanted": False,
    }


def test_an_end_that_we_wanted_does_not_hide_one_that_nobody_wanted(house: House) -> None:
    def last() -> tuple[object, object]:
        found = house.view().last_exit
        assert found is not None
        return found["exitCode"], found["wanted"]

    house.ready("s1")
    house.pool.release("s1", "its session ended")
    house.child.die(0)
    assert last() == (0, True)
    house.ready("s1")
    house.child.die(137)
    assert last() == (137, False)
    house.ready("s1")
    house.pool.release("s1", "its session ended")
    house.child.die(0)
    assert last() == (137, False)
