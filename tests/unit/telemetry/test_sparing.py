from __future__ import annotations

from metamcp.telemetry.sparing import PER_SECOND, Sparing


def test_what_is_too_much_is_counted_and_told_with_the_next_one() -> None:
    now = [10.0]
    sparing = Sparing(lambda: now[0])
    assert [sparing.admit() for _ in range(PER_SECOND)] == [0] * PER_SECOND
    assert [sparing.admit() for _ in range(7)] == [None] * 7
    now[0] = 11.0
    assert [sparing.admit(), sparing.admit()] == [7, 0]
