from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial
from queue import SimpleQueue

import pytest

from metamcp.concurrency.tasks import Share, Workers

BOUND = 5.0


class Records(logging.Handler):
    """Keeps what one logger says."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.kept: list[logging.LogRecord] = []
        self._log = logging.getLogger(name)

    def __enter__(self) -> list[logging.LogRecord]:
        self._log.addHandler(self)
        return self.kept

    def __exit__(self, *_: object) -> None:
        self._log.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record)


def in_turn(*calls: Callable[[], object]) -> Callable[[], None]:
    """One callback out of many."""

    def run() -> None:
        for call in calls:
            call()

    return run


@pytest.fixture
def stuck() -> Iterator[tuple[Workers, threading.Event]]:
    """One thread whose job waits until the event is set, and a queue of two."""
    workers, begun, free = Workers("stuck", 1, 2), threading.Event(), threading.Event()
    workers.submit(in_turn(begun.set, partial(free.wait, BOUND)))
    assert begun.wait(BOUND)
    yield workers, free
    free.set()
    workers.close()


def test_jobs_run_on_threads_named_after_their_work() -> None:
    workers, names = Workers("starter", 2), SimpleQueue[str]()
    meeting = threading.Barrier(2)
    for _ in range(2):
        workers.submit(in_turn(partial(meeting.wait, BOUND), lambda: names.put(threading.current_thread().name)))
    assert {names.get(timeout=BOUND), names.get(timeout=BOUND)} == {"starter-0", "starter-1"}
    workers.close()


def test_broken_job_is_logged_and_ends_only_itself() -> None:
    workers, done = Workers("w", 1), threading.Event()
    with Records("metamcp.concurrency.tasks") as records:
        workers.submit(in_turn([].pop))
        workers.submit(done.set)
        assert done.wait(BOUND)
        workers.close()
    assert [record.getMessage() for record in records] == ["job-failed"]


def test_full_queue_refuses_at_once(stuck: tuple[Workers, threading.Event]) -> None:
    workers, _ = stuck
    assert [workers.submit(lambda: None) for _ in range(3)] == [True, True, False]
    assert workers.waiting == workers.limit == 2


def test_a_share_leaves_room_for_others_and_has_room_again(stuck: tuple[Workers, threading.Event]) -> None:
    workers, free = stuck
    share, done = Share(workers, 1), threading.Event()
    assert [share.submit(done.set), share.submit(done.set)] == [True, False], "its only place is taken"
    assert workers.submit(lambda: None) and not Share(workers, 1).submit(done.set), "the queue is full"
    free.set()
    assert done.wait(BOUND)
    for _ in range(3):
        done.clear()
        until = threading.Event()
        while not share.submit(done.set):
            assert not until.wait(0.001)
        assert done.wait(BOUND)


def test_the_place_of_a_job_that_failed_is_given_back() -> None:
    workers, done = Workers("w", 1), threading.Event()
    share = Share(workers, 2)
    with Records("metamcp.concurrency.tasks"):
        for _ in range(5):
            done.clear()
            assert share.submit(in_turn(done.set, [].pop))
            assert done.wait(BOUND)
        workers.close()


def test_close_finishes_what_is_queued() -> None:
    workers, done = Workers("w", 3), SimpleQueue[int]()
    for number in range(100):
        assert workers.submit(partial(done.put, number))
    workers.close()
    assert sorted(done.get_nowait() for _ in range(done.qsize())) == list(range(100))


def test_close_leaves_behind_a_job_that_does_not_end(stuck: tuple[Workers, threading.Event]) -> None:
    workers, _ = stuck
    assert workers.submit(lambda: None)
    assert workers.submit(lambda: None)
    workers.close(timeout=0.01)
    assert workers.submit(lambda: None) is False
