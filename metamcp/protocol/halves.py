"""Escaped halves of surrogate pairs that stand alone, such as ``"\\ud800"``.

They are JSON (RFC 8259, section 8.2) and servers that cut a long string in the middle of a character write them, but
no Unicode text can hold them, so the decoder refuses them even in what it does not decode. Hence it gets a copy in
which the two bytes ``\\u`` of each such half are a mark of two bytes, and what comes out of it is turned back. The
rest of the escape stays, in its own spelling, and so does every length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_ESCAPE = rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
_RUN = re.compile(rb"%s(?:%s)*+" % (_ESCAPE, _ESCAPE))
_PAIR_OR_HALF = re.compile(rb"(\\u[dD][89abAB]..\\u[dD][c-fC-F]..)|\\u(....)")
_LENGTH = 6  # of one escape

_MARKS = tuple(chr(number) for number in range(0x80, 0x88))
"""Control characters that no text needs; each is two bytes of UTF-8, and its escape has no letters."""


@dataclass(frozen=True, slots=True)
class Veiled:
    """``data`` is as long as the original and can be decoded. No ``mark`` in it stands before a ``d`` by itself, not
    even escaped. An empty ``mark``: nothing can be turned back, the halves are U+FFFD."""

    data: bytes
    mark: str

    def bytes_of(self, part: bytes) -> bytes:
        """A piece of ``data`` as it was in the original."""
        if not self.mark:
            return part
        mark = self.mark.encode()
        return part.replace(mark + b"d", b"\\ud").replace(mark + b"D", b"\\uD")

    def text_of(self, text: str) -> str:
        """A string that was decoded from ``data``, with the halves as the code points that they are."""
        if not self.mark or self.mark not in text:
            return text
        return re.sub(f"{self.mark}([dD][0-9a-fA-F]{{3}})", lambda half: chr(int(half[1], 16)), text)


def veil(data: bytes) -> Veiled | None:
    """``data`` without halves that stand alone; None when there is none."""
    mark: str | None = None

    def of_run(run: re.Match[bytes]) -> bytes:
        nonlocal mark
        if mark is None:
            mark = next((one for one in _MARKS if _is_free(one, data)), "")
        start = mark.encode()
        # After an odd number of backslashes the first one is escaped, and so no escape.
        text = run[0][: _LENGTH * (_backslashes_before(data, run.start()) % 2)]
        return text + _PAIR_OR_HALF.sub(
            lambda found: found[1] or (start + found[2] if start else rb"\ufffd"), run[0][len(text) :]
        )

    veiled = _RUN.sub(of_run, data)
    return None if veiled == data else Veiled(veiled, mark or "")


def _backslashes_before(data: bytes, end: int) -> int:
    start = end
    while start and data[start - 1] == 0x5C:
        start -= 1
    return end - start


def _is_free(mark: str, data: bytes) -> bool:
    """Does ``mark`` nowhere stand before a ``d``, in whatever way the two are written?"""
    spellings = (mark.encode(), b"\\u%04x" % ord(mark))
    if not any(spelling in data for spelling in spellings):
        return True
    return not re.search(rb"(?:%s)(?:[dD]|\\u00[46]4)" % b"|".join(map(re.escape, spellings)), data)


def spell(value: Any, encode: Callable[[Any], bytes]) -> bytes:
    """JSON of strings, lists and dicts of them, with halves as escapes; all else by ``encode``."""
    if isinstance(value, str):
        return json.dumps(value).encode()
    if isinstance(value, dict):
        members = (spell(str(key), encode) + b":" + spell(member, encode) for key, member in value.items())
        return b"{" + b",".join(members) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b",".join(spell(item, encode) for item in value) + b"]"
    return encode(value)
