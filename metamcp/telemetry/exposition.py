"""Samples as a page for Prometheus, in its text format or in OpenMetrics.

The library writes the page and keeps no number: what a call counts must not cost a lock (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import cast

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from metamcp.telemetry.metrics import FAMILIES, Family, Labels, Samples, Value

_ACCEPTED = "application/openmetrics-text"


def page(samples: Samples, accept: str) -> tuple[bytes, str]:
    """The page and its content type. ``accept``: the header of the request."""
    collector = _Given(samples)
    if any(part.split(";")[0].strip().lower() == _ACCEPTED for part in accept.split(",")):
        return cast("bytes", generate_openmetrics(collector)), OPENMETRICS  # type: ignore[no-untyped-call]
    return generate_latest(collector), CONTENT_TYPE_PLAIN_0_0_4


class _Given(Collector):
    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def collect(self) -> Iterable[Metric]:
        """Families that nobody declared here are of another version of the gateway: they are left out."""
        for family in FAMILIES:
            if found := self._samples.get(family.name):
                yield from _metric(family, found)


def _metric(family: Family, samples: list[tuple[Labels, Value]]) -> Iterator[Metric]:
    names = list(family.labels)
    if family.type == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=names)
        bounds = [*map(floatToGoString, family.buckets), "+Inf"]
        for labels, value in samples:
            *counts, total = cast("list[float]", value)
            histogram.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)
        yield histogram
    elif family.type == "info":
        info = InfoMetricFamily(family.name.removesuffix("_info"), family.help)
        for labels, _ in samples:
            info.add_metric([], dict(zip(names, labels, strict=True)))
        yield info
    elif family.type == "counter":
        counter = CounterMetricFamily(family.name, family.help, labels=names)
        for labels, value in samples:
            counter.add_metric(labels, cast("float", value))
        yield counter
    else:
        gauge = GaugeMetricFamily(family.name, family.help, labels=names)
        for labels, value in samples:
            gauge.add_metric(labels, cast("float", value))
        yield gauge
