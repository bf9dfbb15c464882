"""Signing in at the console, decided on paper: what a browser keeps instead of the key, and what its forms carry.

Both are an HMAC with the hash of the key (``keys.ticket_of``): any web worker can judge them, nothing is kept of them,
they end with the key, and nobody learns the key from them.
"""

from __future__ import annotations

import hmac
import re

from metamcp.access.keys import Keys, Record, ticket_of

COOKIE = "metamcp_console"
"""The name of what a browser keeps."""

SECONDS = 12 * 3600
"""For which somebody is signed in."""

_COOKIE = re.compile(r"([1-9][0-9]{0,11})\.([A-Za-z0-9_-]{16,64})\.([0-9a-f]{64})")


def cookie_of(record: Record, now: float, unique: str) -> str:
    """``unique``: 16 to 64 random characters of base64url, so that no two are alike."""
    until = int(now) + SECONDS
    return f"{until}.{unique}.{ticket_of(record, _subject(until, unique))}"


def holder(keys: Keys, cookie: str, now: float) -> Record | None:
    """Whose key somebody signed in with; None when that was too long ago, or the key is revoked or has expired."""
    found = _COOKIE.fullmatch(cookie)
    if found is None or not now < int(found[1]) <= now + SECONDS:
        return None
    record = keys.holder(found[3], _subject(int(found[1]), found[2]))
    return record if record is not None and record.valid(now) else None


def form_token(record: Record, cookie: str) -> str:
    """What every form carries that is sent with ``cookie``: a page of somebody else cannot know it."""
    return ticket_of(record, f"form of {cookie}")


def is_form_token(record: Record, cookie: str, shown: str) -> bool:
    return hmac.compare_digest(form_token(record, cookie).encode(), shown.encode("utf-8", "replace"))


def _subject(until: int, unique: str) -> str:
    """Nothing that could be the id of a session."""
    return f"console until {until} {unique}"
