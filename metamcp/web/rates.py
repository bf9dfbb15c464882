"""How often clients may ask: each client by itself (429), and all of them together at one endpoint (503)."""

from __future__ import annotations

import math
import time
from functools import lru_cache

from flask import Flask
from limits import RateLimitItem, parse
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from metamcp.errors import AtCapacity, TooManyRequests
from metamcp.web import caller, counters
from metamcp.web.incoming import Incoming
from metamcp.web.present import incoming as present

_LIMITED = ("streamable.", "sse.", "probe.")  # what watches the gateway must not be refused


class SharedStorage(Storage):
    """``counters.SHARED``, for the package ``limits``."""

    STORAGE_SCHEME = ["metamcp-shared"]  # noqa: RUF012  declared so by its base

    @property
    def base_exceptions(self) -> type[Exception]:
        return OSError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return counters.SHARED.add(key, expiry, amount)

    def get(self, key: str) -> int:
        return counters.SHARED.get(key)[0]

    def get_expiry(self, key: str) -> float:
        return counters.SHARED.get(key)[1]

    def check(self) -> bool:
        return True

    def reset(self) -> None:
        counters.SHARED.reset()

    def clear(self, key: str) -> None:
        counters.SHARED.clear(key)


_limiter = FixedWindowRateLimiter(SharedStorage())


def register(app: Flask) -> None:
    """After the check of the Origin: what is not from a client of ours does not count for one."""
    app.before_request(lambda: check(present()))


def check(incoming: Incoming) -> None:
    """Raises TooManyRequests when this client, AtCapacity when all clients of its endpoint together ask too often."""
    if not incoming.operation.startswith(_LIMITED):
        return
    state, door = incoming.state, incoming.door
    if state.rate_limit:
        limit, who = _parsed(state.rate_limit), caller.owner(incoming)
        if not _limiter.hit(limit, "client", who):
            text = f"this client may ask {limit}"
            raise TooManyRequests(text, limit="rate", retryAfterMs=_pause(limit, "client", who))
    if door is not None and door.rate_limit:
        limit, which = _parsed(door.rate_limit), incoming.endpoint or ""
        if not _limiter.hit(limit, "endpoint", which):
            text = f"all clients of this endpoint together may ask {limit}"
            raise AtCapacity(text, limit="rate", retryAfterMs=_pause(limit, "endpoint", which))


@lru_cache(maxsize=256)
def _parsed(limit: str) -> RateLimitItem:
    return parse(limit)


def _pause(limit: RateLimitItem, *who: str) -> int:
    """Milliseconds until the window ends."""
    return max(1, math.ceil(_limiter.get_window_stats(limit, *who).reset_time - time.time())) * 1000
