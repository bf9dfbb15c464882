"""The ways between states, and how long a server rests after a failed start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.runtime.states import BACKOFF_MOST, ChildState, backoff_seconds, may_follow

LIVE = (ChildState.STARTING, ChildState.READY, ChildState.BUSY)


@pytest.mark.parametrize("state", ChildState)
def test_nothing_follows_the_end(state: ChildState) -> None:
    assert not may_follow(ChildState.EXITED, state)


@pytest.mark.parametrize("state", LIVE)
def test_every_live_state_can_stop_and_can_end_by_itself(state: ChildState) -> None:
    assert may_follow(state, ChildState.STOPPING)
    assert may_follow(state, ChildState.EXITED)


@pytest.mark.parametrize("state", LIVE)
def test_a_stopping_child_never_works_again(state: ChildState) -> None:
    assert not may_follow(ChildState.STOPPING, state)


def test_ready_and_busy_alternate() -> None:
    assert may_follow(ChildState.READY, ChildState.BUSY)
    assert may_follow(ChildState.BUSY, ChildState.READY)


def test_only_a_spare_returns_to_starting_and_nobody_is_busy_before_ready() -> None:
    assert [state for state in ChildState if may_follow(state, ChildState.STARTING)] == [ChildState.SPARE]
    assert not may_follow(ChildState.STARTING, ChildState.BUSY)


def test_backoff_doubles_from_one_second_up_to_the_most() -> None:
    without_jitter = [backoff_seconds(failures, 0.5) for failures in (1, 2, 3, 4, 7, 8, 1000)]
    assert without_jitter == [1.0, 2.0, 4.0, 8.0, BACKOFF_MOST, BACKOFF_MOST, BACKOFF_MOST]


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_jitter_moves_a_backoff_by_a_quarter_at_most(failures: int, jitter: float) -> None:
    full = backoff_seconds(failures, 0.5)
    assert 0.75 * full <= backoff_seconds(failures, jitter) <= 1.25 * full
