"""When connections to the engine were cut for their silence, and when not."""

from __future__ import annotations

from metamcp.runtime.cuts import Cuts


def lost(*silences: float) -> list[bool]:
    cuts = Cuts()
    return [cuts.lost(silent) for silent in silences]


def test_the_time_outs_that_proxies_have_by_default_are_known_at_once() -> None:
    for usual in (60.0, 300.4, 600.9, 599.0):
        assert lost(usual) == [True]


def test_any_other_time_counts_when_it_comes_twice() -> None:
    assert lost(42.0) == [False]
    assert lost(42.0, 42.7) == [False, True]
    assert lost(42.0, 77.0, 42.0) == [False, False, False]


def test_what_ends_at_once_was_not_silent() -> None:
    assert lost(0.1, 0.1, 0.1) == [False, False, False]


def test_it_is_news_once() -> None:
    assert lost(600.0, 600.2, 600.1) == [True, False, False]
    assert lost(600.0, 600.0, 60.0) == [True, False, True]


def test_an_engine_that_was_away_ended_the_stream_itself() -> None:
    cuts = Cuts()
    cuts.lost(42.0)
    cuts.engine_was_away()
    assert not cuts.lost(42.0)
    assert cuts.seconds is None


def test_the_seconds_are_those_of_the_last_cut() -> None:
    cuts = Cuts()
    cuts.lost(600.0)
    cuts.lost(600.8)
    assert cuts.seconds == 600.8
