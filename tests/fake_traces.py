"""Traces that stay in the process: ``spans`` in the order in which they began."""

from __future__ import annotations

from typing import Any

from metamcp.telemetry.spans import NOWHERE, Attributes, Carrier, Kind

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class FakeSpan:
    """``ended`` is what it ended with; None while it lasts."""

    def __init__(self, traces: FakeTraces, name: str, kind: Kind, parent: Carrier, attributes: Attributes) -> None:
        self.name, self.kind, self.parent = name, kind, parent
        self.attributes: dict[str, Any] = dict(attributes)
        self.ended: tuple[str, str] | None = None
        self._traces = traces
        self.carrier: Carrier = (f"00-{TRACE}-{len(traces.spans) + 1:016x}-01", parent[1], parent[2])
        traces.spans.append(self)

    def child(self, name: str, kind: Kind, attributes: Attributes) -> FakeSpan:
        return FakeSpan(self._traces, name, kind, self.carrier, attributes)

    def set(self, attributes: Attributes) -> None:
        self.attributes |= attributes

    def end(self, failure: str = "", text: str = "") -> None:
        assert self.ended is None, "a span ends once"
        self.ended = (failure, text)


class FakeTraces:
    def __init__(self) -> None:
        self.spans: list[FakeSpan] = []
        self.links: list[Carrier] = []

    def begin(
        self, name: str, kind: Kind, parent: Carrier, attributes: Attributes, link: Carrier = NOWHERE
    ) -> FakeSpan:
        self.links.append(link)
        return FakeSpan(self, name, kind, parent, attributes)

    def close(self, seconds: float) -> None: ...
