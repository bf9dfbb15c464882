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

    __slots__ = ("_bounds", "_series", "_size", "family")

    def __init__(self, family: Family) -> None:
        self.family = family
        self._bounds = family.buckets
        self._size = len(family.buckets) + 2
        self._series: dict[Labels, list[float]] = {}

    def observe(self, labels: Labels, value: float) -> None:
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = [0] * self._size
        series[bisect_left(self._bounds, value)] += 1
        series[-1] += value

    def samples(self) -> list[tuple[Labels, Value]]:
        return [(labels, list(series)) for labels, series in self._series.items()]
