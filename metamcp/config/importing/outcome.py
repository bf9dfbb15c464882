"""What an import says about itself: paths and texts, never a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from metamcp.config.document import Problem

Note = tuple[str, str]
"""(where, what an operator should know about it)."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was read. ``file``: how it is called in notes, "" where there is no other. ``twice``: its
    duplicate keys."""

    document: Any
    file: str = ""
    twice: Sequence[Problem] = ()


@dataclass(slots=True)
class Notes:
    """Filled while documents are read. ``secrets``: places that hold one in clear. ``hidden``: by a server's name the
    tools that were switched off."""

    changed: list[Note] = field(default_factory=list)
    left_out: list[Note] = field(default_factory=list)
    secrets: list[Note] = field(default_factory=list)
    hidden: dict[str, list[str]] = field(default_factory=dict)

    def add(self, file: str, of_file: Notes) -> None:
        before = f"{file}: " if file else ""
        self.changed += [(before + place, text) for place, text in of_file.changed]
        self.left_out += [(before + place, text) for place, text in of_file.left_out]
        self.secrets += [(before + place, text) for place, text in of_file.secrets]
        for server, tools in of_file.hidden.items():
            self.hidden.setdefault(server, []).extend(tools)


@dataclass(frozen=True, slots=True)
class Imported:
    """``document`` is a valid ``servers.json``."""

    document: dict[str, Any]
    notes: Notes
