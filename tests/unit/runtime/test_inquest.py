"""What a death was: the account of the engine's events, and how an exit waits for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest
from fake_upstream import FakeReactor
from hypothesis import given
from hypothesis import strategies as st

from metamcp.errors import EngineUnavailable
from metamcp.runtime.child import Exit
from metamcp.runtime.command.launch import LaunchPlan
from metamcp.runtime.facts import EngineEvent
from metamcp.runtime.inquest import CONNECTION_CUT, ENGINE_WENT, OOM_SECONDS, PATIENCE, Account, Inquest

NAME = "metamcp-git-1"
PLAN = LaunchPlan(("docker",), {}, "image", NAME, {}, (), 512 * 1024 * 1024)
KILLED = Exit(137, "SIGKILL")


def event(action: str, time: float, exit_code: int | None = None, signal: int | None = None) -> EngineEvent:
    return EngineEvent("container", "f00d", NAME, action, exit_code, signal, {}, time)


def oom(time: float = 1.0) -> EngineEvent:
    return event("oom", time)


def die(time: float = 1.1, code: int = 137) -> EngineEvent:
    return event("die", time, exit_code=code)


def kill(time: float = 1.0, signal: int = 9) -> EngineEvent:
    return event("kill", time, signal=signal)


def account(*events: EngineEvent) -> Account:
    found = Account()
    for item in events:
        found.hear(item)
    return found


# --- the account -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "events", [(oom(), die()), (die(), oom(1.2)), (oom(0.5), oom(), die()), (kill(0.5), oom(), die())]
)
def test_a_death_by_sigkill_right_after_an_oom_is_of_memory(events: tuple[EngineEvent, ...]) -> None:
    assert account(*events).ran_out_of_memory


@pytest.mark.parametrize(
    "events",
    [
        (oom(), die(code=3)),  # another process was killed, and the server ended by itself
        (oom(), die(1.1 + OOM_SECONDS)),  # it lived on for a while
        (oom(), kill(1.05), die()),
        (oom(),),
        (die(),),
    ],
    ids=["ended otherwise", "lived on", "was killed by somebody", "has not died", "never lacked memory"],
)
def test_an_oom_that_it_did_not_die_of_is_not_its_cause(events: tuple[EngineEvent, ...]) -> None:
    assert not account(*events).ran_out_of_memory


def test_a_signal_long_before_the_end_says_nothing_about_it() -> None:
    assert account(kill(1.0, 15), die(2.0, 143)).killed_by is not None
    assert account(kill(1.0, 15), die(100.0, 7)).killed_by is None
    assert account(kill(1.0, 1), die(1.1, 129)).killed_by is None


@given(st.lists(st.sampled_from([oom(), oom(9.0), kill(), kill(2.0, 15), die(), die(9.1, 0), die(9.1)]), max_size=6))
def test_only_137_with_an_oom_is_ever_of_memory(events: list[EngineEvent]) -> None:
    found = account(*events)
    if found.ran_out_of_memory:
        assert found.exit_code == 137 and any(item.action == "oom" for item in events)
    if found.complete:
        assert any(item.action == "die" for item in events)


# --- the account of a Podman, which tells neither a lack of memory nor which signal it was -----------------


def podmans(*events: EngineEvent) -> Account:
    found = Account(tells_memory=False)
    for item in events:
        found.hear(item)
    return found


def test_a_signal_that_is_not_named_is_the_one_that_it_died_of() -> None:
    assert podmans(event("kill", 1.0), die()).killed_by is SIGKILL
    assert podmans(event("kill", 1.0), die(code=143)).killed_by is SIGTERM
    assert podmans(event("kill", 1.0), die(code=3)).killed_by is None


def test_a_death_by_sigkill_that_nobody_asked_for_needs_no_further_word() -> None:
    assert podmans(die()).killed_by_nobody and podmans(die()).complete
    assert not podmans(event("kill", 1.0), die()).killed_by_nobody
    assert not podmans(die(code=9)).killed_by_nobody
    assert not account(die()).killed_by_nobody


# --- the inquest -------------------------------------------------------------------------------------------


class Workers:
    """Keeps its jobs until they are to run."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []

    def submit(self, job: Callable[[], None]) -> bool:
        self.jobs.append(job)
        return True


class House:
    def __init__(self, watching: bool = True, tells_memory: bool = True) -> None:
        self.reactor: Any = FakeReactor()
        self.workers: Any = Workers()
        self.away = False
        self.inquest = Inquest(self.reactor, self.workers, self._ping, tells_memory)
        self.inquest.watching = watching
        self.inquest.open(NAME)
        self.told: list[Exit] = []

    def _ping(self) -> None:
        if self.away:
            raise EngineUnavailable("no engine")

    def hear(self, *events: EngineEvent) -> None:
        for item in events:
            self.inquest.hear(item)

    def explain(self, ended: Exit = KILLED) -> None:
        self.inquest.explain(PLAN, ended, self.told.append)

    def ask_engine(self) -> None:
        (job,) = self.workers.jobs
        job()
        self.reactor.turn()


def test_where_memory_is_only_likely_to_be_the_cause_that_is_said() -> None:
    house = House(tells_memory=False)
    house.explain()
    house.hear(die())
    (told,) = house.told
    assert not told.oom_killed and told.describe().startswith("it got SIGKILL, and nobody asked the engine for that")
    assert "most likely it ran out of memory (limit 512 MiB); limits.memory" in told.describe()


def test_a_death_of_memory_names_the_limit_and_its_key() -> None:
    house = House()
    house.hear(oom(), die())
    house.explain()
    (told,) = house.told
    assert told.oom_killed and (told.code, told.signal) == (137, "SIGKILL")
    assert told.describe() == "it ran out of memory (limit 512 MiB); limits.memory of this server sets the limit"


def test_an_exit_that_comes_before_its_events_waits_for_them_and_is_told_once() -> None:
    house = House()
    house.explain()
    assert house.told == []
    house.hear(oom())
    assert house.told == []
    house.hear(die())
    house.reactor.advance(PATIENCE * 2)
    assert [told.oom_killed for told in house.told] == [True]


def test_an_exit_waits_no_longer_than_the_bound() -> None:
    house = House()
    house.explain()
    house.reactor.advance(PATIENCE)
    house.hear(oom(), die())
    assert house.told == [KILLED]


@pytest.mark.parametrize("ended", [Exit(0, None), Exit(7, None), Exit(127, None, ("sh: x: permission denied",))])
def test_an_end_of_its_own_is_told_at_once_as_it_is(ended: Exit) -> None:
    house = House()
    house.explain(ended)
    assert house.told == [ended]


@pytest.mark.parametrize(
    ("code", "said", "hint"),
    [
        (125, "docker: Error response from daemon: No such image: nope:1.", "docker load"),
        (125, "docker: Error response from daemon: Conflict. The container name is already in use", "docker rm -f"),
        (125, "docker: permission denied while trying to connect to the Docker daemon socket", "group_add"),
        (126, 'docker: Error response from daemon: exec: "/": permission denied', "not executable"),
        (127, 'docker: Error response from daemon: exec: "x": executable file not found in $PATH', "--entrypoint"),
    ],
)  # fmt: skip
def test_an_engine_that_refuses_is_told_with_what_to_do(code: int, said: str, hint: str) -> None:
    house = House()
    house.explain(Exit(code, None, (said, "Run 'docker run --help' for more information")))
    (told,) = house.told
    assert hint in told.hint and told.reason == ""


CUT = Exit(125, None, ("error waiting for container: unexpected EOF",))
BY_TCP = dataclasses.replace(PLAN, env={"DOCKER_HOST": "tcp://socket-proxy:2375"})


def test_a_connection_that_was_cut_on_the_way_is_told_from_an_engine_that_went() -> None:
    house = House()
    house.inquest.explain(BY_TCP, CUT, house.told.append)
    assert house.told == []
    house.ask_engine()
    (told,) = house.told
    assert told.describe() == CONNECTION_CUT and "timeout client" in told.hint
    gone = House()
    gone.away = True
    gone.inquest.explain(BY_TCP, CUT, gone.told.append)
    gone.ask_engine()
    assert [told.describe() for told in gone.told] == [ENGINE_WENT]


def test_a_lost_connection_is_told_in_time_though_the_engine_does_not_answer() -> None:
    house = House()
    house.inquest.explain(BY_TCP, CUT, house.told.append)
    house.reactor.advance(PATIENCE)
    assert [told.describe() for told in house.told] == [ENGINE_WENT]
    house.ask_engine()
    assert len(house.told) == 1


def test_a_killed_cli_is_told_at_once() -> None:
    house = House()
    house.explain(Exit(None, "SIGKILL"))
    assert house.told == [Exit(None, "SIGKILL")]


def test_without_events_nothing_is_waited_for() -> None:
    house = House(watching=False)
    house.explain()
    assert house.told == [KILLED]


@pytest.mark.parametrize(
    "line",
    [
        'time="2026-11-25T17:37:30Z" level=error msg="error waiting for container: unexpected EOF"',
        'docker: error during connect: Post "http://%2Frun%2Fdocker.sock/v1.41/containers/f00d/start": EOF',
    ],
)
def test_a_cli_that_lost_the_engine_tells_that_it_went_away(line: str) -> None:
    house = House(watching=False)
    house.explain(Exit(125, None, ("ready", line)))
    assert [told.reason for told in house.told] == [ENGINE_WENT]


@pytest.mark.parametrize(("away", "said"), [(True, ENGINE_WENT), (False, "somebody had the engine send it SIGTERM")])
def test_a_container_that_somebody_stopped_is_told_apart_from_one_whose_engine_ends(away: bool, said: str) -> None:
    house = House()
    house.away = away
    house.hear(kill(signal=15), die(code=143))
    house.explain(Exit(143, None))
    assert house.told == []
    house.ask_engine()
    house.reactor.advance(PATIENCE * 2)
    (told,) = house.told
    assert told.reason.startswith(said) and told.code == 143


def test_an_engine_that_does_not_answer_delays_nothing() -> None:
    house = House()
    house.hear(kill(), die())
    house.explain()
    house.reactor.advance(PATIENCE)
    (told,) = house.told
    assert "SIGKILL" in told.reason
    house.ask_engine()
    assert len(house.told) == 1


def test_a_closed_case_is_told_as_it_is() -> None:
    house = House()
    house.inquest.close(NAME)
    house.hear(oom(), die())
    house.explain()
    assert house.told == [KILLED]
