"""The newest state is written, one write at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest
from fake_upstream import FakeReactor

from metamcp.concurrency.saving import PAUSE_SECONDS, Saving


class House:
    def __init__(self) -> None:
        self.reactor = FakeReactor()
        self.jobs: deque[Callable[[], None]] = deque()
        self.full = False
        self.written: list[int] = []
        self.saving = Saving[int](self.reactor, self, self.written.append)  # type: ignore[arg-type]

    def submit(self, job: Callable[[], None]) -> bool:
        if not self.full:
            self.jobs.append(job)
        return not self.full

    def work(self) -> None:
        self.jobs.popleft()()
        self.reactor.turn()


def test_many_changes_are_one_write_of_the_newest() -> None:
    house = House()
    for number in range(100):
        house.saving.put(number)
    assert not house.jobs
    house.reactor.advance(PAUSE_SECONDS)
    house.work()
    assert house.written == [99]
    house.reactor.advance(60)
    assert not house.jobs


def test_no_write_begins_while_one_is_under_way() -> None:
    house = House()
    house.saving.put(1)
    house.reactor.advance(PAUSE_SECONDS)
    house.saving.put(2)
    house.saving.flush()
    house.reactor.advance(60)
    assert len(house.jobs) == 1
    house.work()
    house.reactor.advance(PAUSE_SECONDS)
    house.work()
    assert house.written == [1, 2]


def test_flush_does_not_wait_and_writes_nothing_twice() -> None:
    house = House()
    house.saving.put(1)
    house.saving.flush()
    house.work()
    house.saving.flush()
    house.reactor.advance(60)
    assert house.written == [1] and not house.jobs


def test_workers_that_are_too_busy_get_it_later() -> None:
    house = House()
    house.full = True
    house.saving.put(1)
    house.reactor.advance(PAUSE_SECONDS)
    house.full = False
    house.reactor.advance(PAUSE_SECONDS)
    house.work()
    assert house.written == [1]


def test_a_write_that_breaks_is_not_the_last_one() -> None:
    house = House()

    def broken(_value: int) -> None:
        raise RuntimeError("a bug")

    house.saving._write = broken
    house.saving.put(1)
    house.reactor.advance(PAUSE_SECONDS)
    with pytest.raises(RuntimeError):
        house.jobs.popleft()()
    house.reactor.turn()
    house.saving._write = house.written.append
    house.saving.put(2)
    house.reactor.advance(PAUSE_SECONDS)
    house.work()
    assert house.written == [2]
