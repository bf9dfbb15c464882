"""Numbers of several processes: none is lost, and what a dead process held open is not told any more."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event

import pytest

from metamcp.telemetry.shared_table import SharedTable

FORK = multiprocessing.get_context("fork")
COUNTER, GAUGE = 0, 1
TIMES = 20_000


@pytest.fixture
def table() -> Iterator[SharedTable]:
    table = SharedTable(2, 1, 16)
    yield table
    table.close()


def work(table: SharedTable, ready: Event, leave: Event) -> None:
    own = table.claim()
    own[GAUGE] = 7
    for _ in range(TIMES):
        own[COUNTER] += 1
    ready.set()
    leave.wait(60)


class Worker:
    def __init__(self, table: SharedTable) -> None:
        self.ready, self.leave = FORK.Event(), FORK.Event()
        self.process: BaseProcess = FORK.Process(target=work, args=(table, self.ready, self.leave))
        self.process.start()

    def end(self, *, kill: bool = False) -> None:
        assert self.ready.wait(30)
        self.process.kill() if kill else self.leave.set()
        self.process.join(30)
        assert self.process.exitcode is not None
        self.process.close()


def test_processes_lose_no_count_of_each_other_and_each_has_its_place(table: SharedTable) -> None:
    workers = [Worker(table) for _ in range(4)]
    assert all(worker.ready.wait(30) for worker in workers)
    assert table.totals() == [4 * TIMES, 4 * 7]
    assert table.living() == {slot: pid for slot, pid in table.living().items() if slot < 4}
    assert sorted(table.living().values()) == sorted(worker.process.pid or 0 for worker in workers)
    for worker in workers:
        worker.end()


@pytest.mark.parametrize("kill", [True, False])
def test_counters_of_a_dead_process_stay_and_its_gauges_vanish(table: SharedTable, kill: bool) -> None:
    first, second = Worker(table), Worker(table)
    assert second.ready.wait(30)
    first.end(kill=kill)
    assert table.totals() == [2 * TIMES, 7]
    assert list(table.living().values()) == [second.process.pid]
    second.end()
    assert table.totals() == [2 * TIMES, 0] and table.living() == {}


def test_a_successor_takes_the_place_and_goes_on_counting_there(table: SharedTable) -> None:
    Worker(table).end(kill=True)
    for number in range(2, 6):
        worker = Worker(table)
        assert worker.ready.wait(30)
        assert table.totals() == [number * TIMES, 7]
        assert list(table.living()) == [0]
        worker.end(kill=True)


def test_a_process_that_asks_again_gets_the_same_place(table: SharedTable) -> None:
    table.claim()[COUNTER] += 1
    table.claim()[COUNTER] += 1
    assert table.totals() == [2, 0] and len(table.living()) == 1


def test_more_processes_than_there_are_places_hold_nobody_up() -> None:
    table = SharedTable(2, 1, 1)
    first, second = Worker(table), Worker(table)
    assert first.ready.wait(30) and second.ready.wait(30)
    assert table.totals() == [TIMES, 7]
    first.end()
    second.end()
    table.close()
