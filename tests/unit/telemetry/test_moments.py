from __future__ import annotations

from metamcp.telemetry.moments import Moments


class Clocks:
    def __init__(self) -> None:
        self.wall, self.monotonic = 1_800_000_000.0, 50.0
        self.moments = Moments(lambda: self.wall, lambda: self.monotonic)


def test_a_moment_is_its_unix_time() -> None:
    assert Clocks().moments(49.5) == 1_799_999_999.5


def test_the_same_moment_stays_the_same_though_the_clocks_drift() -> None:
    clocks = Clocks()
    before = clocks.moments(49.0)
    clocks.wall, clocks.monotonic = clocks.wall + 1000.4, clocks.monotonic + 1000.0
    assert clocks.moments(49.0) == before


def test_a_clock_that_was_set_counts() -> None:
    clocks = Clocks()
    clocks.wall += 3600
    assert clocks.moments(50.0) == clocks.wall
