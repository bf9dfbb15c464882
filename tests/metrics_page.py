"""A page of ``/metrics`` as the library's own parser reads it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families


class Page:
    def __init__(self, text: str) -> None:
        self.samples = [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text) for sample in family.samples
        ]  # fmt: skip

    @property
    def names(self) -> set[str]:
        """Of families and of the parts of histograms."""
        return {name for name, _, _ in self.samples}

    def of(self, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
        """The series of ``name`` that have these labels."""
        return [
            (found, value) for other, found, value in self.samples if other == name and labels.items() <= found.items()
        ]

    def sum(self, name: str, **labels: str) -> float:
        return sum(value for _, value in self.of(name, **labels))
