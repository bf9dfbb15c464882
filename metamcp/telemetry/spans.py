"""Spans of traces as all rooms know them; what sends them is ``traces.py``, which is loaded only where it is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

Kind = Literal["server", "internal", "client"]
Carrier = tuple[str, str, str]
"""``traceparent``, ``tracestate``, ``baggage`` (W3C); "" for what is absent."""

Attributes = Mapping[str, str | int]
"""By the names of the semantic conventions; ``metamcp.`` are our own. Never an argument, a result or a URI."""

NOWHERE: Carrier = ("", "", "")


class Span(Protocol):
    """Something that takes time. Any thread; ended once."""

    @property
    def carrier(self) -> Carrier:
        """For whoever does a part of it elsewhere."""

    def child(self, name: str, kind: Kind, attributes: Attributes) -> Span:
        """A part of it, from now on."""

    def set(self, attributes: Attributes) -> None: ...

    def end(self, failure: str = "", text: str = "") -> None:
        """``failure``: in a word, why it did not succeed (``error.type``); ``text``: the same in a sentence."""


class Traces(Protocol):
    """One for each process. Nothing here blocks but ``close``."""

    def begin(self, name: str, kind: Kind, parent: Carrier, attributes: Attributes, link: Carrier = NOWHERE) -> Span:
        """A span whose parent is elsewhere; ``NOWHERE``: a trace begins. ``link``: what else it has to do with."""

    def close(self, seconds: float) -> None:
        """Send what waits, as far as that works within ``seconds``."""
