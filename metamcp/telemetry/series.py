"""Counters and histograms as plain dictionaries of one thread: an addition each, and no lock."""

from __future__ import annotations

from bisect import bisect_left

from metamcp.telemetry.metrics import Family, Labels, Value


class Counter:
    """Owned by one thread."""

    __slots__ = ("_counts", "family")

    def __init__(self, family: Family) -> None:
        self.family = family
        self._counts: dict[Labels, int] = {}

    def add(self, labels: Labels, amount: int = 1) -> None:
        self._counts[labels] = self._counts.get(labels, 0) + amount

    def begin(self, labels: Labels) -> None:
        """Show it from now on, with 0 as long as there is nothing to count: where a counter appears with its first
        increment, nobody sees that increment."""
        self._counts.setdefault(labels, 0)

    def samples(self) -> list[tuple[Labels, Value]]:
        return [(labels, float(count)) for labels, count in self._counts.items()]


class Histogram:
    """Owned by one thread."""

    __slots__ = ("_series", "family")

    def __init__(self, family: Family) -> None:
        self.family = family
        self._series: dict[Labels, Spread] = {}

    def series(self, labels: Labels) -> Spread:
        """For who observes so often that it keeps it."""
        return self._series.get(labels) or self._series.setdefault(labels, Spread(self.family.buckets))

    def observe(self, labels: Labels, value: float) -> None:
        self.series(labels).observe(value)

    def samples(self) -> list[tuple[Labels, Value]]:
        return [(labels, [*series.counts, series.total]) for labels, series in self._series.items()]


class Spread:
    """One series of a histogram: how many values were in each bucket, and their sum."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value
