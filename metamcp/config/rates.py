"""Rates as operators write them: ``600/minute``."""

from __future__ import annotations

import re

UNITS = ("second", "minute", "hour", "day")
_RATE = re.compile(rf"[1-9][0-9]{{0,8}}/(?:{'|'.join(UNITS)})")


def rate_problem(text: str) -> str | None:
    """Why ``text`` is no rate; None when it is one."""
    if _RATE.fullmatch(text):
        return None
    return f"must be a number of requests per {', '.join(UNITS[:-1])} or {UNITS[-1]}, such as 600/minute"
