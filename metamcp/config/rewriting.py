"""The text of a JSON file for another document: what is the same stays as it is written, to the byte."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_SPACE = re.compile(r"[ \t\r\n]*")
_INDENT = re.compile(r"\n([ \t]+)\S")
_DEFAULT_INDENT = "  "
_decoder = json.JSONDecoder()


def rewritten(text: str, before: Any, after: Any) -> str:
    """``text`` is that of ``before``."""
    found = _INDENT.search(text)
    unit = found[1] if found else _DEFAULT_INDENT
    start = _skip(text, 0)
    end = len(text.rstrip(" \t\r\n"))
    try:
        made = text[:start] + _Writer(text, unit).value(start, end, before, after) + text[end:]
        if json.loads(made) == after:
            return made
    except (ValueError, RecursionError):
        pass
    return json.dumps(after, indent=unit, ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True)
class _Member:
    """One of an object or a list: where it begins (with its key), and where its value does."""

    start: int
    value: int
    end: int
    key: str = ""


class _Writer:
    def __init__(self, text: str, unit: str) -> None:
        self._text = text
        self._unit = unit

    def value(self, start: int, end: int, before: Any, after: Any) -> str:
        """For what stands in ``start..end``."""
        if before == after and type(before) is type(after):
            return self._text[start:end]
        if isinstance(before, dict) and isinstance(after, dict) and before and after:
            return self._object(start, end, before, after)
        if isinstance(before, list) and isinstance(after, list) and before and after:
            return self._list(start, end, before, after)
        return self._new(after, start, "\n" in self._text[start:end] or "\n" not in self._text[:start])

    def _object(self, start: int, end: int, before: dict[str, Any], after: dict[str, Any]) -> str:
        members = {member.key: member for member in self._members(start, named=True)}
        pieces: list[tuple[_Member | None, str]] = []
        for key, value in after.items():
            member = members.get(key)
            if member is None:
                pieces.append((None, f"{json.dumps(key, ensure_ascii=False)}: {self._inner(value, start)}"))
            else:
                head = self._text[member.start : member.value]
                pieces.append((member, head + self.value(member.value, member.end, before[key], value)))
        return self._joined(start, end, list(members.values()), pieces)

    def _list(self, start: int, end: int, before: list[Any], after: list[Any]) -> str:
        """What differs lies between what both begin with and what both end with."""
        members = self._members(start, named=False)
        shorter = min(len(before), len(after))
        head = next((at for at in range(shorter) if before[at] != after[at]), shorter)
        tail = next((at for at in range(shorter - head) if before[-1 - at] != after[-1 - at]), shorter - head)
        pieces: list[tuple[_Member | None, str]] = []
        for at, value in enumerate(after):
            kept = at if at < head or len(before) == len(after) else at - len(after) + len(before)
            if at < head or at >= len(after) - tail or len(before) == len(after):
                member = members[kept]
                pieces.append((member, self.value(member.start, member.end, before[kept], value)))
            else:
                pieces.append((None, self._inner(value, start)))
        return self._joined(start, end, members, pieces)

    def _joined(self, start: int, end: int, members: list[_Member], pieces: list[tuple[_Member | None, str]]) -> str:
        """With what stood between them."""
        opening = self._text[start : members[0].start]
        gaps = {member.start: self._text[former.end : member.start] for former, member in pairwise(members)}
        usual = next(iter(gaps.values()), "," + (opening[1:] if "\n" in opening else " "))
        made = opening
        for at, (member, text) in enumerate(pieces):
            made += (gaps.get(member.start, usual) if member else usual) if at else ""
            made += text
        return made + self._text[members[-1].end : end]

    def _inner(self, value: Any, start: int) -> str:
        """A new member of what begins at ``start``."""
        inside = self._members(start, named=self._text[start] == "{")
        lines = "\n" in self._text[start : inside[0].start]
        return self._new(value, inside[0].start, lines)

    def _new(self, value: Any, place: int, lines: bool) -> str:
        """``lines``: its neighbours have lines of their own."""
        if not lines:
            return json.dumps(value, ensure_ascii=False)
        line = self._text[self._text.rfind("\n", 0, place) + 1 : place]
        indent = line[: len(line) - len(line.lstrip(" \t"))]
        return json.dumps(value, indent=self._unit, ensure_ascii=False).replace("\n", "\n" + indent)

    def _members(self, start: int, *, named: bool) -> list[_Member]:
        found: list[_Member] = []
        at = _skip(self._text, start + 1)
        while self._text[at] not in "]}":
            key, value = "", at
            if named:
                key, end = _decoder.raw_decode(self._text, at)
                value = _skip(self._text, _skip(self._text, end) + 1)
            _, end = _decoder.raw_decode(self._text, value)
            found.append(_Member(at, value, end, key))
            at = _skip(self._text, end)
            if self._text[at] == ",":
                at = _skip(self._text, at + 1)
        return found


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
