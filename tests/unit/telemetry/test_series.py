"""Counters and histograms count what a list would say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metamcp.telemetry.metrics import Family
from metamcp.telemetry.series import Counter, Histogram

FAMILY = Family("metamcp_x_seconds", "histogram", "x", ("a",), (0.1, 1.0, 10.0))
LABELS = st.sampled_from([("x",), ("y",)])


@given(st.lists(st.tuples(LABELS, st.integers(0, 5))))
def test_a_counter_has_the_sum_of_what_was_added(added: list[tuple[tuple[str, ...], int]]) -> None:
    counter = Counter(FAMILY)
    for labels, amount in added:
        counter.add(labels, amount)
    assert dict(counter.samples()) == {
        labels: sum(amount for other, amount in added if other == labels) for labels, _ in added
    }


@given(st.lists(st.tuples(LABELS, st.floats(0, 20))))
def test_a_histogram_has_each_observation_in_the_first_bucket_that_it_fits_in(
    observed: list[tuple[tuple[str, ...], float]]
) -> None:
    histogram = Histogram(FAMILY)
    for labels, value in observed:
        histogram.observe(labels, value)
    for labels, found in histogram.samples():
        *counts, total = found  # type: ignore[misc]
        values = [value for other, value in observed if other == labels]
        for place, bound in enumerate([*FAMILY.buckets, float("inf")], 1):
            assert sum(counts[:place]) == sum(value <= bound for value in values)
        assert total == sum(values)


def test_what_is_begun_is_shown_before_anything_was_counted_and_loses_nothing_later() -> None:
    counter = Counter(FAMILY)
    counter.begin(("x",))
    assert counter.samples() == [(("x",), 0.0)]
    counter.add(("x",), 3)
    counter.begin(("x",))
    assert counter.samples() == [(("x",), 3.0)]
