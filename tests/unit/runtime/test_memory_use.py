"""What children use is read by a worker, and not more often than it is worth."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from fake_upstream import FakeChild, FakeReactor

from metamcp.runtime.memory_use import FRESH_SECONDS, MemoryUse, reading


class Worker:
    """Does its jobs when it is told to; ``full``: takes none."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []
        self.full = False

    def submit(self, job: Callable[[], None]) -> bool:
        self.jobs += [] if self.full else [job]
        return not self.full


class House:
    def __init__(self) -> None:
        self.reactor, self.worker = FakeReactor(), Worker()
        self.child: Any = FakeChild(self.reactor, "git", "", None)
        self.done: list[bool] = []
        reactor: Any = self.reactor
        worker: Any = self.worker
        self.use = MemoryUse(reactor, worker, lambda: [self.child], lambda child: self.read(child))

    def read(self, _child: Any) -> int | None:
        return 4096

    def freshen(self) -> None:
        self.use.when_fresh(lambda: self.done.append(True))

    def work(self) -> None:
        while self.worker.jobs:
            self.worker.jobs.pop(0)()
        self.reactor.turn()


def test_nothing_is_known_before_it_was_read() -> None:
    house = House()
    house.freshen()
    assert house.use.of(house.child) is None and house.done == []
    house.work()
    assert (house.use.of(house.child), house.done) == (4096, [True])


def test_those_who_ask_meanwhile_get_the_same_reading_and_it_stays_fresh_for_a_while() -> None:
    house = House()
    house.freshen()
    house.freshen()
    assert len(house.worker.jobs) == 1
    house.work()
    house.freshen()
    assert house.done == [True] * 3 and house.worker.jobs == []
    house.reactor.advance(FRESH_SECONDS)
    house.freshen()
    assert len(house.worker.jobs) == 1


def test_nobody_waits_for_ever() -> None:
    house = House()
    house.worker.full = True
    house.freshen()
    assert house.done == [True]

    house = House()
    house.read = lambda _child: 1 // 0  # type: ignore[method-assign]
    house.freshen()
    with pytest.raises(ZeroDivisionError):
        house.work()
    house.reactor.turn()
    assert house.done == [True]


def test_a_container_is_read_by_its_id_and_a_process_by_its_pid() -> None:
    house = House()
    read = reading({"f00d": 1}.get)
    house.child.pid = os.getpid()
    assert (read(house.child) or 0) > 1_000_000
    house.child.is_container, house.child.container_id = True, "f00d"
    assert read(house.child) == 1
    house.child.is_container, house.child.pid = False, None
    assert read(house.child) is None
