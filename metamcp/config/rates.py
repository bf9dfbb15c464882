"""Rates as operators write them: ``600/minute``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
UNITS = tuple(_SECONDS)
_RATE = re.compile(rf"([1-9][0-9]{{0,8}})/({'|'.join(UNITS)})")


@dataclass(frozen=True, slots=True)
class Rate:
    """``count`` requests within a window of ``seconds``."""

    count: int
    seconds: int
    text: str


def rate_problem(text: str) -> str | None:
    """Why ``text`` is no rate; None when it is one."""
    if _RATE.fullmatch(text):
        return None
    return f"must be a number of requests per {', '.join(UNITS[:-1])} or {UNITS[-1]}, such as 600/minute"


@lru_cache(maxsize=256)
def parse(text: str) -> Rate:
    """Raises ValueError for what ``rate_problem`` objects to."""
    found = _RATE.fullmatch(text)
    if found is None:
        raise ValueError(f"no rate: {text!r}")
    return Rate(int(found[1]), _SECONDS[found[2]], text)
