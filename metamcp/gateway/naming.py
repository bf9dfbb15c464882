"""Names of the merged catalog: ``<server>__<tool>``, valid for every known client, stable, and unique.

Known clients refuse names over 64 characters or outside ``[A-Za-z0-9_-]``, and one bad name hides all tools.
"""

from __future__ import annotations

import hashlib
import re

SEPARATOR = "__"
MAX_LENGTH = 64
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_HASH = 8


def exposed_name(server: str, name: str, prefix: bool) -> str:
    """The name under which clients see ``name`` of ``server``. Depends on nothing else, so it stays the same
    whatever else is configured; a name that had to be changed carries a hash of its original."""
    full = f"{server}{SEPARATOR}{name}" if prefix else name
    valid = _FOREIGN.sub("_", full)
    if valid == full and 0 < len(full) <= MAX_LENGTH:
        return full
    return f"{valid[: MAX_LENGTH - _HASH - 1]}_{_digest(full)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
