"""That the container of an ended child is gone is found out, whatever the engine does meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_upstream import FakeReactor

from metamcp.errors import EngineUnavailable
from metamcp.runtime import teardown as subject
from metamcp.runtime.teardown import AGAIN_SECONDS, Teardown, make_gone


class Engine:
    """Holds the containers ``held``; what is ``stuck`` survives so many removals."""

    def __init__(self, *held: str, stuck: int = 0) -> None:
        self.held = set(held)
        self.stuck = stuck
        self.away = False
        self.asked: list[str] = []

    def inspect(self, container_id: str) -> dict[str, Any] | None:
        self._answer(f"inspect {container_id}")
        return {} if container_id in self.held else None

    def remove(self, container_id: str) -> bool:
        self._answer(f"remove {container_id}")
        if self.stuck:
            self.stuck -= 1
            return False
        self.held.discard(container_id)
        return True

    def _answer(self, question: str) -> None:
        self.asked.append(question)
        if self.away:
            raise EngineUnavailable("no engine")


class Workers:
    """A queue that a test works off."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []
        self.full = False

    def submit(self, job: Callable[[], None]) -> bool:
        if not self.full:
            self.jobs.append(job)
        return not self.full


class House:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.reactor: Any = FakeReactor()
        self.workers: Any = Workers()
        self.teardown = Teardown(self.reactor, self.workers, engine)
        self.idle: list[str] = []

    def work(self) -> None:
        while self.workers.jobs:
            self.workers.jobs.pop(0)()
            self.reactor.turn()

    def when_idle(self, seconds: float = 2.0) -> None:
        self.teardown.when_idle(seconds, lambda: self.idle.append("idle"))


def test_what_is_gone_already_costs_one_question() -> None:
    engine = Engine()
    assert make_gone(engine, "one") == "absent"
    assert engine.asked == ["inspect one"]


def test_what_is_there_is_removed_and_looked_for_again() -> None:
    engine = Engine("one", "two")
    assert make_gone(engine, "one") == "removed"
    assert engine.held == {"two"} and engine.asked[-1] == "inspect one"


def test_what_cannot_be_removed_is_tried_again_until_it_is_gone() -> None:
    house = House(Engine("one", stuck=2))
    house.teardown.verify("git", "one")
    for _ in range(3):
        house.work()
        house.reactor.advance(AGAIN_SECONDS)
    assert not house.engine.held and not house.teardown.names


def test_what_never_goes_is_given_up_with_an_error_and_left_to_the_sweep(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(subject, "_LOOKS", 3)
    house = House(Engine("one", stuck=100))
    house.teardown.verify("git", "one")
    for _ in range(10):
        house.work()
        house.reactor.advance(AGAIN_SECONDS)
    assert house.engine.asked.count("remove one") == 3
    assert [record.message for record in caplog.records] == ["container-not-removed"]
    assert not house.teardown.names


def test_what_cannot_be_asked_is_remembered_and_verified_when_the_engine_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    house = House(Engine("one"))
    house.engine.away = True
    house.teardown.verify("git", "one")
    house.work()
    assert house.teardown.names == {"one"}
    house.engine.away = False
    house.teardown.retry()
    house.work()
    assert not house.engine.held and not house.teardown.names
    assert "container-not-verified" not in [record.message for record in caplog.records]


def test_a_full_queue_of_chores_loses_nothing() -> None:
    house = House(Engine("one"))
    house.workers.full = True
    house.teardown.verify("git", "one")
    house.workers.full = False
    house.teardown.retry()
    house.work()
    assert not house.engine.held


def test_an_absence_remembers_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_MOST_REMEMBERED", 3)
    house = House(Engine())
    house.engine.away = True
    for number in range(10):
        house.teardown.verify("git", str(number))
    house.work()
    assert len(house.teardown.names) == 3


def test_idle_is_told_once_when_the_last_one_is_verified() -> None:
    house = House(Engine("one", "two"))
    house.teardown.verify("git", "one")
    house.teardown.verify("git", "two")
    house.teardown.verify("git", "two")
    house.when_idle()
    assert house.idle == []
    house.work()
    house.reactor.advance(10)
    assert house.idle == ["idle"] and not house.engine.held


def test_idle_is_told_at_once_when_nothing_is_under_way() -> None:
    house = House(Engine())
    house.when_idle()
    assert house.idle == ["idle"]


def test_an_engine_that_does_not_answer_holds_up_the_end_for_the_bound_only() -> None:
    house = House(Engine("one"))
    house.teardown.verify("git", "one")
    house.when_idle(2.0)
    house.reactor.advance(1.9)
    assert house.idle == []
    house.reactor.advance(0.2)
    assert house.idle == ["idle"]
    house.work()
    assert house.idle == ["idle"]


def test_an_absent_engine_does_not_hold_up_the_end_at_all() -> None:
    house = House(Engine("one"))
    house.engine.away = True
    house.teardown.verify("git", "one")
    house.when_idle()
    house.work()
    assert house.idle == ["idle"]
