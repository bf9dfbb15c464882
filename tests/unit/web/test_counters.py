"""Counters that several processes share: exact, bounded, and free again when their windows end."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing.synchronize import Event

import pytest

from metamcp.web.counters import SharedCounters

FORK = multiprocessing.get_context("fork")


class World:
    def __init__(self, slots: int = 64) -> None:
        self.now = 1000.0
        self.counters = SharedCounters(slots, lambda: self.now)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.counters.close()


def count_up(counters: SharedCounters, times: int) -> None:
    for _ in range(times):
        counters.add("key", 60, 1)


def hold(counters: SharedCounters, holding: Event) -> None:
    with counters._locked():
        holding.set()
        signal.pause()


def test_processes_lose_no_count_of_each_other(world: World) -> None:
    workers = [FORK.Process(target=count_up, args=(world.counters, 2000)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        worker.close()
    assert world.counters.get("key") == (8000, 1060.0)


def test_a_process_that_dies_with_the_lock_lets_go_of_it(world: World) -> None:
    holding = FORK.Event()
    worker = FORK.Process(target=hold, args=(world.counters, holding))
    worker.start()
    assert holding.wait(30)
    worker.kill()
    worker.join(30)
    worker.close()
    assert world.counters.add("key", 60, 1) == 1


def test_a_window_ends_and_begins_anew(world: World) -> None:
    assert [world.counters.add("key", 60, 1) for _ in range(3)] == [1, 2, 3]
    world.now += 59.9
    assert world.counters.add("key", 60, 1) == 4
    world.now += 0.2
    assert world.counters.get("key") == (0, world.now)
    assert world.counters.add("key", 60, 1) == 1


def test_a_crowd_of_strangers_takes_no_more_room_and_pushes_out_what_ends_first(world: World) -> None:
    world.counters.add("mine", 3600, 41)
    for number in range(10_000):
        world.counters.add(f"stranger-{number}", 60, 1)
    assert world.counters.add("mine", 3600, 1) == 42


def test_after_a_reset_everything_counts_from_nothing(world: World) -> None:
    world.counters.add("one", 60, 5)
    world.counters.add("two", 60, 5)
    world.counters.reset()
    assert (world.counters.get("one")[0], world.counters.get("two")[0]) == (0, 0)
