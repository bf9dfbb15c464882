"""How often clients may ask: each client by itself (429), and all of them together at one endpoint (503)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from flask import Flask, Response, request
from flask_limiter import ApplicationLimit, Limiter, RequestLimit
from limits.storage import Storage

from metamcp.errors import AtCapacity, TooManyRequests
from metamcp.web import caller, counters
from metamcp.web.state import web_state

_LIMITED = frozenset({"streamable", "sse", "probe"})  # blueprints: what watches the gateway must not be refused


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


def register(app: Flask) -> None:
    """After the check of the Origin: what is not from a client of ours does not count for one."""
    state = web_state(app)

    def of_endpoint() -> str:
        if _exempt():  # Flask-Limiter asks for a limit before it asks who is exempt; /health must not need an answer
            return ""
        door = state.doors.policy().endpoints.get(_endpoint())
        return door.rate_limit if door is not None else ""

    limits: list[str | Callable[[], str] | ApplicationLimit] = [
        ApplicationLimit(
            lambda: state.rate_limit, caller.owner, scope="client", exempt_when=_exempt, on_breach=_too_often
        ),
        ApplicationLimit(
            of_endpoint, _endpoint, scope="endpoint", exempt_when=_exempt, on_breach=_too_busy
        ),
    ]
    Limiter(caller.owner, app=app, application_limits=limits, storage_uri="metamcp-shared://", strategy="fixed-window")


def _endpoint() -> str:
    return str((request.view_args or {}).get("endpoint", ""))


def _exempt() -> bool:
    return request.blueprint not in _LIMITED


def _too_often(limit: RequestLimit) -> Response | None:
    raise TooManyRequests(f"this client may ask {limit.limit}", limit="rate", retryAfterMs=_pause(limit))


def _too_busy(limit: RequestLimit) -> Response | None:
    text = f"all clients of this endpoint together may ask {limit.limit}"
    raise AtCapacity(text, limit="rate", retryAfterMs=_pause(limit))


def _pause(limit: RequestLimit) -> int:
    """Milliseconds until the window ends."""
    return max(1, math.ceil(limit.window.reset_time - time.time())) * 1000
