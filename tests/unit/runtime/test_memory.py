"""What the containers use: asked when somebody wants to know, bounded, and kept for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fake_upstream import FakeReactor

from metamcp.errors import EngineUnavailable
from metamcp.runtime.memory import KEPT_SECONDS, WAIT_SECONDS, ContainerMemory


class House:
    def __init__(self, **uses: int) -> None:
        self.uses = uses
        self.away = False
        self.asked = 0
        self.jobs: list[Callable[[], None]] = []
        self.answers: list[dict[str, int | None]] = []
        self.reactor: Any = FakeReactor()
        workers: Any = self
        self.memory = ContainerMemory(self.reactor, workers, self, lambda: tuple(self.uses))

    def submit(self, job: Callable[[], None]) -> bool:
        self.jobs.append(job)
        return True

    def stats_memory(self, container_id: str) -> int | None:
        self.asked += 1
        if self.away:
            raise EngineUnavailable("no engine")
        return self.uses.get(container_id)

    def ask(self) -> None:
        self.memory.when_known(lambda: self.answers.append({name: self.memory.of(name) for name in self.uses}))

    def work(self) -> None:
        while self.jobs:
            self.jobs.pop(0)()
            self.reactor.turn()


def test_the_first_question_is_answered_when_the_engine_has_answered() -> None:
    house = House(one=10, two=20)
    house.ask()
    assert house.answers == []
    house.work()
    assert house.answers == [{"one": 10, "two": 20}]


def test_questions_in_between_share_one_measurement_and_its_figures_are_kept() -> None:
    house = House(one=10)
    house.ask()
    house.ask()
    house.work()
    house.reactor.advance(KEPT_SECONDS - 1)
    house.ask()
    assert house.asked == 1 and len(house.answers) == 3
    house.reactor.advance(2)
    house.ask()
    house.work()
    assert house.asked == 2


def test_an_engine_that_does_not_answer_leaves_it_unknown_within_the_bound() -> None:
    house = House(one=10)
    house.ask()
    house.reactor.advance(WAIT_SECONDS)
    assert house.answers == [{"one": None}]
    house.ask()
    assert len(house.jobs) == 1  # not one more while the first has not come back


def test_an_absent_engine_leaves_it_unknown() -> None:
    house = House(one=10)
    house.away = True
    house.ask()
    house.work()
    assert house.answers == [{"one": None}]


def test_figures_that_nobody_renewed_are_forgotten() -> None:
    house = House(one=10)
    house.ask()
    house.work()
    house.reactor.advance(KEPT_SECONDS + WAIT_SECONDS + 1)
    assert house.memory.of("one") is None


def test_without_containers_nobody_is_asked() -> None:
    house = House()
    house.ask()
    assert house.answers == [{}] and not house.jobs
