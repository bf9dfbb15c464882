"""When the keys of issuers are asked for, and what becomes of those that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_upstream import FakeReactor

from metamcp.access.fetch import FetchFailed
from metamcp.access.policy import Trust
from metamcp.gateway.issuers import FORCED_SECONDS, KEPT_SECONDS, RENEW_SECONDS, RETRY_FIRST, RETRY_MOST, Issuers

A, B = Trust("https://a.example", "https://a.example/keys"), Trust("https://b.example", "https://b.example")
FIRST, SECOND = [{"kid": "1"}], [{"kid": "2"}]


class Line:
    """Workers whose jobs run when the test says so, and an issuer that answers what it is told."""

    def __init__(self) -> None:
        self.reactor = FakeReactor()
        self.jobs: list[Callable[[], None]] = []
        self.asked: list[tuple[str, str]] = []
        self.answer: Any = FIRST
        self.changes = 0
        self.full = False
        reactor: Any = self.reactor
        workers: Any = self
        self.issuers = Issuers(reactor, workers, self.fetch, self.changed)

    def submit(self, job: Callable[[], None]) -> bool:
        if not self.full:
            self.jobs.append(job)
        return not self.full

    def fetch(self, issuer: str, source: str) -> Any:
        self.asked.append((issuer, source))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def changed(self) -> None:
        self.changes += 1

    def work(self) -> int:
        """Run what waits; how many there were."""
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            job()
        self.reactor.turn()
        return len(jobs)

    def follow(self, *trusts: Trust) -> None:
        self.issuers.follow({trust.source: trust for trust in trusts})

    def after(self, seconds: float) -> int:
        self.reactor.advance(seconds)
        return self.work()


@pytest.fixture
def line() -> Line:
    made = Line()
    made.follow(A)
    assert made.work() == 1
    return made


def test_keys_are_fetched_when_they_are_configured_before_anybody_needs_them(line: Line) -> None:
    assert line.issuers.jwks == {A.source: FIRST}
    assert (line.asked, line.changes) == ([(A.issuer, A.source)], 1)


def test_they_are_renewed_by_themselves_and_told_only_if_they_are_others(line: Line) -> None:
    assert (line.after(RENEW_SECONDS), line.changes) == (1, 1)
    line.answer = SECOND
    assert (line.after(RENEW_SECONDS), line.changes) == (1, 2)
    assert line.issuers.jwks == {A.source: SECOND}


def test_a_new_configuration_asks_for_what_is_new_alone_and_forgets_what_is_gone(line: Line) -> None:
    line.follow(A, B)
    assert line.work() == 1 and line.asked[-1] == (B.issuer, B.source)
    line.follow(B)
    assert set(line.issuers.jwks) == {B.source}
    assert line.after(RENEW_SECONDS) == 1, "nobody asks the one that is gone"


def test_an_answer_for_one_that_is_gone_is_dropped(line: Line) -> None:
    line.follow(A, B)
    line.follow(A)
    line.work()
    assert set(line.issuers.jwks) == {A.source}


def test_an_unknown_key_has_them_asked_for_once_for_all_who_wait(line: Line) -> None:
    done: list[int] = []
    line.answer = SECOND
    for number in range(3):
        line.issuers.renew(A.source, lambda number=number: done.append(number))  # type: ignore[misc]
    assert done == [] and line.work() == 1
    assert done == [0, 1, 2] and line.issuers.jwks == {A.source: SECOND}


def test_it_is_not_done_again_before_the_pause_is_over(line: Line) -> None:
    done: list[str] = []
    line.issuers.renew(A.source, lambda: done.append("first"))
    line.work()
    line.issuers.renew(A.source, lambda: done.append("second"))
    assert done == ["first", "second"] and line.jobs == [], "answered at once, without asking"
    line.reactor.advance(FORCED_SECONDS)
    line.issuers.renew(A.source, lambda: done.append("third"))
    assert line.work() == 1 and done[-1] == "third"


def test_nobody_waits_for_a_source_that_is_not_configured(line: Line) -> None:
    done: list[bool] = []
    line.issuers.renew("https://nowhere.example", lambda: done.append(True))
    assert done == [True] and line.jobs == []


def test_failures_are_tried_again_with_longer_pauses_and_the_former_keys_stay(line: Line) -> None:
    line.answer = FetchFailed("down")
    assert line.after(RENEW_SECONDS) == 1
    for pause in (RETRY_FIRST, RETRY_FIRST * 2, RETRY_FIRST * 4):
        assert line.after(pause - 0.1) == 0
        assert line.after(0.1) == 1
    assert line.issuers.jwks == {A.source: FIRST} and line.changes == 1
    line.answer = SECOND
    assert line.after(RETRY_MOST) == 1
    assert line.issuers.jwks == {A.source: SECOND}


def test_keys_of_an_issuer_that_is_away_for_a_day_are_no_longer_good(line: Line) -> None:
    line.answer = FetchFailed("down")
    waited = 0.0
    while waited < KEPT_SECONDS + RENEW_SECONDS:
        line.after(RETRY_MOST)
        waited += RETRY_MOST
    assert line.issuers.jwks == {} and line.changes == 2


@pytest.mark.parametrize("answer", [FetchFailed("down"), RuntimeError("a bug of ours")])
def test_whoever_waits_is_told_also_when_it_fails(line: Line, answer: Exception) -> None:
    done: list[bool] = []
    line.answer = answer
    line.issuers.renew(A.source, lambda: done.append(True))
    try:
        line.work()
    except RuntimeError:  # the worker's own thread would log it
        line.reactor.turn()
    assert done == [True] and line.issuers.jwks == {A.source: FIRST}


def test_workers_with_too_much_to_do_count_as_a_failure_that_is_tried_again(line: Line) -> None:
    done: list[bool] = []
    line.full = True
    line.issuers.renew(A.source, lambda: done.append(True))
    assert done == [True]
    line.full = False
    assert line.after(RETRY_FIRST) == 1
