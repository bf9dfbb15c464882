"""When a server may be started again, on paper."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.errors import RefusedByPolicy
from metamcp.runtime.states import BACKOFF_MOST, FATAL_AFTER, HALF_OPEN_SECONDS, ServerState
from metamcp.upstream.breaker import Breaker

REFUSED = RefusedByPolicy("the image is not allowed", rule="image-allowlist")


@pytest.fixture
def breaker() -> Breaker:
    return Breaker("git")


def fail(breaker: Breaker, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        breaker.failed(now, "it exited with code 1", 0.5)


def test_a_new_one_lets_every_start_through(breaker: Breaker) -> None:
    assert breaker.refusal(0) is None and not breaker.due(0) and breaker.state(0) is ServerState.IDLE


def test_what_refuses_says_why_and_when(breaker: Breaker) -> None:
    fail(breaker, 2, now=100)
    refusal = breaker.refusal(100.5)
    assert refusal is not None
    assert refusal.data == {
        "server": "git", "state": "BACKOFF", "reason": "it exited with code 1; next start in 1.5 s",
        "retryAfterMs": 1501,
    }
    assert breaker.refusal(102) is None


def test_the_last_failure_too_many_opens_it_for_minutes_and_a_good_start_closes_it(breaker: Breaker) -> None:
    fail(breaker, FATAL_AFTER)
    assert breaker.state(HALF_OPEN_SECONDS - 1) is ServerState.FATAL
    assert not breaker.due(HALF_OPEN_SECONDS - 1) and breaker.due(HALF_OPEN_SECONDS)
    breaker.started()
    assert breaker == Breaker("git")


def test_while_one_is_tried_nobody_else_starts_and_no_second_try_is_due(breaker: Breaker) -> None:
    fail(breaker, FATAL_AFTER)
    breaker.trying = True
    assert not breaker.due(HALF_OPEN_SECONDS)
    refusal = breaker.refusal(HALF_OPEN_SECONDS)
    assert refusal is not None and "it is being tried now" in refusal.text and refusal.data["retryAfterMs"] >= 1000


def test_deaths_soon_after_a_good_start_are_forgiven_once_and_counted_until_one_lives(breaker: Breaker) -> None:
    breaker.failed(0, "it exited with code 1", 0.5, forgivable=True)
    assert breaker.refusal(0) is None
    breaker.started()
    breaker.failed(0, "it exited with code 1", 0.5, forgivable=True)
    assert breaker.refusal(0) is not None
    breaker.lived()
    assert breaker.failures == 0


def test_what_an_operator_has_to_change_is_fatal_and_asked_at_each_start(breaker: Breaker) -> None:
    breaker.refuse(REFUSED)
    assert (breaker.state(0), breaker.refusal(0), breaker.reason) == (ServerState.FATAL, None, REFUSED.text)
    breaker.started()
    assert (breaker.state(0), breaker.reason) == (ServerState.IDLE, "")


@given(st.lists(st.sampled_from(["fail", "die", "start", "live", "refuse", "reset"]), max_size=40), st.floats(0, 1e6))
def test_whatever_happens_it_is_never_shut_for_ever(steps: list[str], now: float) -> None:
    breaker = Breaker("git")
    for step in steps:
        if step in ("fail", "die"):
            breaker.failed(now, "x", 0.5, forgivable=step == "die")
        elif step == "refuse":
            breaker.refuse(REFUSED)
        else:
            {"start": breaker.started, "live": breaker.lived, "reset": breaker.reset}[step]()
        later = now + max(BACKOFF_MOST, HALF_OPEN_SECONDS)
        assert breaker.due(later) or breaker.refusal(later) is None
