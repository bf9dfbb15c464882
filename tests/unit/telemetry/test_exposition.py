"""The page is what the library's own parsers read, and says what was given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_plain

from metamcp.telemetry.exposition import page
from metamcp.telemetry.metrics import CALL_SECONDS, FAMILIES, Family, Samples

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.9,text/plain;version=0.0.4;q=0.5"
READERS = {"": read_plain, OPENMETRICS: read_openmetrics}
NUMBERS = st.integers(0, 2**53).map(float)


def samples_of(family: Family) -> st.SearchStrategy[Samples]:
    value: st.SearchStrategy[object] = NUMBERS
    if family.type == "histogram":
        size = len(family.buckets) + 1
        value = st.lists(st.integers(0, 1000).map(float), min_size=size, max_size=size).map(lambda it: [*it, 3.5])
    labels = st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\r")) for _ in family.labels])
    found = st.dictionaries(labels, value, min_size=1, max_size=3)
    return found.map(lambda it: {family.name: list(it.items())})  # type: ignore[return-value]


@pytest.mark.parametrize("accept", READERS)
@given(given_samples=st.sampled_from(FAMILIES).flatmap(samples_of))
def test_every_family_is_read_as_it_was_given_whatever_the_labels_are(accept: str, given_samples: Samples) -> None:
    text, _ = page(given_samples, accept)
    ((name, expected),) = given_samples.items()
    family = next(family for family in FAMILIES if family.name == name)
    (metric,) = READERS[accept](text.decode())
    found = {tuple(sample.labels[label] for label in family.labels): sample.value for sample in metric.samples}
    assert found.keys() == {labels for labels, _ in expected}
    if family.type in ("counter", "gauge"):
        assert found == dict(expected)
    assert metric.documentation == family.help


@pytest.mark.parametrize("accept", READERS)
def test_buckets_are_cumulative_and_the_last_one_is_the_count(accept: str) -> None:
    counts = [1.0] * (len(CALL_SECONDS.buckets) + 1)
    text, _ = page({CALL_SECONDS.name: [(("dev", "git", "tool"), [*counts, 4.5])]}, accept)
    (metric,) = READERS[accept](text.decode())
    prefix = CALL_SECONDS.name
    found = {(it.name.removeprefix(prefix), it.labels.get("le")): it.value for it in metric.samples}
    assert found["_bucket", "0.001"] == 1 and found["_bucket", "0.0025"] == 2
    assert found["_bucket", "+Inf"] == found["_count", None] == len(counts) and found["_sum", None] == 4.5


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/html, text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("Application/OpenMetrics-Text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text; version=x\x7f", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
)
def test_the_format_is_the_one_that_is_asked_for(accept: str, kind: str) -> None:
    assert page({}, accept)[1] == kind


def test_what_nobody_declared_is_left_out() -> None:
    assert page({"metamcp_of_another_version": [((), 1.0)]}, "") == (b"", "text/plain; version=0.0.4; charset=utf-8")
