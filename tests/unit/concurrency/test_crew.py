"""Threads on demand: bounded, in order, gone when the work is done."""

from __future__ import annotations

import logging
import queue
import threading

import pytest

from metamcp.concurrency.crew import Crew

SECONDS = 10.0


class Gate:
    """Jobs that tell that they began, and wait until they may end."""

    def __init__(self) -> None:
        self.begun: queue.Queue[int] = queue.Queue()
        self.go_on = threading.Semaphore(0)
        self.idle = threading.Semaphore(0)

    def job(self, number: int) -> None:
        self.begun.put(number)
        assert self.go_on.acquire(timeout=SECONDS)

    def crew(self, most: int, queue_size: int = 100) -> Crew:
        return Crew("crew-test", most, queue_size, self.idle.release)


def threads() -> int:
    return sum(thread.name == "crew-test" for thread in threading.enumerate())


def test_no_more_jobs_run_at_once_than_allowed_and_all_run_in_their_order() -> None:
    gate = Gate()
    crew = gate.crew(2)
    for number in range(5):
        assert crew.submit(lambda number=number: gate.job(number))  # type: ignore[misc]
    assert {gate.begun.get(timeout=SECONDS) for _ in range(2)} == {0, 1}
    assert threads() == 2 and gate.begun.empty() and crew.waiting == 3
    gate.go_on.release(5)
    assert [gate.begun.get(timeout=SECONDS) for _ in range(3)] == [2, 3, 4]
    assert gate.idle.acquire(timeout=SECONDS)
    assert not crew.busy


def test_a_crew_without_work_has_no_threads_and_gets_new_ones_with_new_work() -> None:
    gate = Gate()
    crew = gate.crew(2)
    assert not crew.busy and threads() == 0
    for number in range(2):
        gate.go_on.release()
        crew.submit(lambda number=number: gate.job(number))  # type: ignore[misc]
        assert gate.begun.get(timeout=SECONDS) == number
        assert gate.idle.acquire(timeout=SECONDS)
        assert not crew.busy


def test_full_queue_refuses() -> None:
    gate = Gate()
    crew = gate.crew(1, queue_size=1)
    crew.submit(lambda: gate.job(0))
    gate.begun.get(timeout=SECONDS)
    assert crew.submit(lambda: gate.job(1))
    assert not crew.submit(lambda: gate.job(2))
    gate.go_on.release(2)
    assert gate.idle.acquire(timeout=SECONDS)


def test_dropped_jobs_never_begin() -> None:
    gate = Gate()
    crew = gate.crew(1)
    for number in range(3):
        crew.submit(lambda number=number: gate.job(number))  # type: ignore[misc]
    gate.begun.get(timeout=SECONDS)
    crew.drop()
    gate.go_on.release()
    assert gate.idle.acquire(timeout=SECONDS)
    assert gate.begun.empty()


def test_a_job_that_fails_is_logged_and_the_next_one_runs(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    gate.go_on.release()
    crew = gate.crew(1)

    def broken() -> None:
        raise ZeroDivisionError("broken")

    with caplog.at_level(logging.ERROR, "metamcp"):
        crew.submit(broken)
        crew.submit(lambda: gate.job(1))
        assert gate.begun.get(timeout=SECONDS) == 1
        assert gate.idle.acquire(timeout=SECONDS)
    assert "job-failed" in caplog.text
