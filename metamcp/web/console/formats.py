"""Values of a document as a page shows them; ``static/formats.js`` does the same to what comes later."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

_MANY, _LINE_END = 6, " \\\n    "
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def look(record: Any, path: str) -> Any:
    """``lastExit.reason`` of a document; None where there is nothing."""
    for name in path.split("."):
        record = record.get(name) if isinstance(record, Mapping) else None
    return record


def shown(value: Any, form: str = "") -> str:
    """As ``form`` says, of ``_FORMS``; nothing for what is not there."""
    return "" if value is None else _FORMS[form](value)


def moment(unix: float) -> str:
    """In UTC, to the second."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def bytes_of(count: float) -> str:
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.1f} {_UNITS[unit]}" if unit else f"{count:.0f} B"


def seconds_of(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"


def command_of(words: Sequence[str]) -> str:
    """As a shell takes it; one with many options has a line for each."""
    quoted = list(map(shlex.quote, map(str, words)))
    many = sum(word.startswith("--") for word in quoted) >= _MANY
    return "".join(f"{_LINE_END if many and word.startswith('--') else ' '}{word}" for word in quoted)[1:]


_FORMS: dict[str, Callable[[Any], str]] = {
    "": str,
    "time": moment,
    "bytes": bytes_of,
    "seconds": seconds_of,
    "command": command_of,
    "lines": lambda lines: "\n".join(map(str, lines)),
    "json": lambda document: json.dumps(document, indent=2, ensure_ascii=False),
    "words": lambda words: ", ".join(map(str, words)),
}
