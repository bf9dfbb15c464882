"""What an import says about itself: paths and texts, never a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Note = tuple[str, str]
"""(where, what an operator should know about it)."""


@dataclass(slots=True)
class Notes:
    """Filled while documents are read. ``secrets``: places that hold one in clear."""

    changed: list[Note] = field(default_factory=list)
    left_out: list[Note] = field(default_factory=list)
    secrets: list[Note] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Imported:
    """``document`` is a valid ``servers.json``."""

    document: dict[str, Any]
    notes: Notes
