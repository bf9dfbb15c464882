"""Names by pattern: ``*`` for any text, ``?`` for one character, everything else for itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable


def fits(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether a name is what one of ``patterns`` means, as a whole and with its case."""
    parts = [re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") for pattern in patterns]
    found = re.compile("|".join(parts), re.DOTALL) if parts else None
    return lambda name: found is not None and found.fullmatch(name) is not None


def kind_of(kind: str) -> str:
    """Templates are resources."""
    return "resources" if kind == "templates" else kind
