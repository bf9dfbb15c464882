"""The last hour: bounded, its lists as long as each other, its figures those of what happened."""

from __future__ import annotations

from typing import Any

import pytest
from fake_upstream import FakeChild, FakeReactor
from hypothesis import given
from hypothesis import strategies as st

from metamcp.gateway.history import MOST_CHILDREN, SAMPLES, STEPS, History


class Use:
    """Memory that is known at once."""

    def __init__(self) -> None:
        self.known: dict[Any, int] = {}

    def when_fresh(self, done: Any) -> None:
        done()

    def of(self, child: Any) -> int | None:
        return self.known.get(child)


class House:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.children: list[Any] = []
        self.use: Any = Use()
        self.history = History(self.use, lambda: self.children, lambda: self.now)

    def child(self, server: str, pid: int) -> Any:
        child = FakeChild(FakeReactor(), server, "", None)
        child.pid = pid
        self.children.append(child)
        self.use.known[child] = pid * 1000
        return child

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.now += 15
            self.history.step()

    @property
    def document(self) -> dict[str, Any]:
        found = self.history.document()
        count = len(found["calls"])
        assert all(len(found[name]) == count for name in ("errors", "p50", "p95"))
        assert all(len(kept["bytes"]) == count for kept in found["memory"].values())
        return found


def test_nothing_has_happened_yet() -> None:
    document = House().document
    assert (document["step"], document["calls"], document["memory"]) == (15, [], {})


def test_a_step_counts_its_calls_and_the_next_one_begins_anew() -> None:
    house = House()
    for seconds, failed in ((0.1, False), (0.2, True), (0.3, False)):
        house.history.call(seconds, failed)
    house.step(2)
    document = house.document
    assert (document["calls"], document["errors"]) == ([3, 0], [1, 0])
    assert (document["p50"], document["p95"], document["until"]) == ([0.2, None], [0.3, None], house.now)


@given(st.lists(st.floats(0, 600), min_size=1, max_size=SAMPLES))
def test_quantiles_are_of_the_durations(durations: list[float]) -> None:
    house = House()
    for seconds in durations:
        house.history.call(seconds, False)
    house.step()
    (p50,), (p95,) = house.document["p50"], house.document["p95"]
    assert p50 in durations and p95 in durations
    assert sum(it <= p50 for it in durations) * 2 >= len(durations)
    assert sum(it <= p95 for it in durations) >= 0.95 * len(durations)


def test_of_very_many_calls_a_sample_is_kept() -> None:
    house = House()
    for number in range(20 * SAMPLES):
        house.history.call(number / 1000, False)
    house.step()
    document = house.document
    assert document["calls"] == [20 * SAMPLES]
    assert document["p50"][0] == pytest.approx(10 * SAMPLES / 1000, rel=0.2)


def test_memory_is_of_who_is_there_and_null_when_it_was_not() -> None:
    house = House()
    house.step()
    child = house.child("git", 7)
    house.step()
    house.children.remove(child)
    house.step()
    assert house.document["memory"] == {"process 7": {"server": "git", "bytes": [None, 7000, None]}}
    house.step(STEPS)
    assert house.document["memory"] == {} and len(house.document["calls"]) == STEPS


def test_of_many_children_those_that_are_gone_longest_give_way() -> None:
    house = House()
    first = house.child("git", 1)
    house.step()
    house.children.remove(first)
    house.step()
    for number in range(MOST_CHILDREN):
        house.child("git", 100 + number)
    house.step()
    assert set(house.document["memory"]) == {f"process {100 + number}" for number in range(MOST_CHILDREN)}
