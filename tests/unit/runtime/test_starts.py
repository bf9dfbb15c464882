"""Whose turn it is to start, on a clock that stands still."""

from __future__ import annotations

import pytest
from fake_upstream import FakeReactor
from hypothesis import given
from hypothesis import strategies as st

from metamcp.runtime.child import Child, Exit, Grace
from metamcp.runtime.places import Caps, Place
from metamcp.runtime.starts import START_SECONDS, Starts
from metamcp.runtime.states import ChildState

MOST_OF_A_SERVER = 100
CAPS = Caps(in_all=200, of_principal=150)


class House:
    def __init__(self, most: int = 2) -> None:
        self.reactor = FakeReactor()
        self.starts = Starts(self.reactor, most, CAPS)  # type: ignore[arg-type]
        self.begun: list[str] = []

    def add(self, name: str, server: str = "git", principal: str = "", own: bool = False) -> Child:
        child = Child(self.reactor, name, "", Grace(), lambda _child: None)  # type: ignore[arg-type]
        place = Place(server, MOST_OF_A_SERVER, principal, own)
        assert self.starts.add(child, place, lambda: self.begun.append(name))
        return child


@pytest.fixture
def house() -> House:
    return House()


@pytest.mark.parametrize("state", [ChildState.SPARE, ChildState.READY, ChildState.EXITED])
def test_the_next_one_begins_when_one_has_started_or_ended(house: House, state: ChildState) -> None:
    first, *_ = [house.add(name) for name in "abcd"]
    assert house.begun == ["a", "b"] and house.starts.free == 0
    first.become(state)
    assert house.begun == ["a", "b", "c"]


def test_a_start_that_hangs_holds_up_the_others_for_a_bounded_time_only(house: House) -> None:
    for name in "abc":
        house.add(name)
    house.reactor.advance(START_SECONDS - 0.1)
    assert house.begun == ["a", "b"]
    house.reactor.advance(0.2)
    assert house.begun == ["a", "b", "c"]
    house.reactor.advance(START_SECONDS)
    assert house.starts.free == 2


def test_one_that_is_stopped_while_it_waits_ends_and_never_begins(house: House) -> None:
    first, _, third = [house.add(name) for name in "abc"]
    ends: list[Exit] = []
    third.on_exit = ends.append
    third.stop("its session ended")
    house.reactor.turn()
    assert [ended.reason for ended in ends] == ["its session ended"]
    first.become(ChildState.READY)
    house.add("d")
    assert house.begun == ["a", "b", "d"]


def test_one_that_is_being_stopped_keeps_its_place_until_it_has_ended(house: House) -> None:
    first, *_ = [house.add(name) for name in "abc"]
    first.become(ChildState.STOPPING)
    assert house.begun == ["a", "b"]
    first.become(ChildState.EXITED)
    assert house.begun == ["a", "b", "c"]


@given(st.lists(st.sampled_from(["add", "ready", "exit", "stop", "time"]), max_size=60), st.integers(1, 4))
def test_never_more_than_the_bound_and_everyone_wanted_gets_a_turn(steps: list[str], most: int) -> None:
    house = House(most)
    children: list[Child] = []
    for step in steps:
        live = [child for child in children if child.state is ChildState.STARTING and not child.queued]
        if step == "add":
            children.append(house.add(str(len(children))))
        elif step == "time":
            house.reactor.advance(START_SECONDS / 2)
        elif live and step != "stop":
            live[0].become(ChildState.READY if step == "ready" else ChildState.EXITED)
        elif children:
            children[-1].stop("")
        house.reactor.turn()
        assert 0 <= house.starts.free <= most
        assert house.starts.free == 0 or not any(
            child.queued and child.state is ChildState.STARTING for child in children
        )
    house.reactor.advance(START_SECONDS * (len(children) + 1))
    assert not any(child.queued and child.state is ChildState.STARTING for child in children)
    assert len(house.begun) == len(set(house.begun)) and house.starts.free == most
