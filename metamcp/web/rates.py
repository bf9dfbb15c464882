"""How often clients may ask: each client by itself (429), and all of them together at one endpoint (503)."""

from __future__ import annotations

import math
import time

from flask import Flask

from metamcp.config import rates
from metamcp.config.rates import Rate
from metamcp.errors import AtCapacity, TooManyRequests
from metamcp.web import caller, counters
from metamcp.web.incoming import Incoming
from metamcp.web.present import incoming as present

_LIMITED = ("streamable.", "sse.", "probe.", "rest.")  # what watches the gateway must not be refused


def register(app: Flask) -> None:
    """After the check of the Origin: what is not from a client of ours does not count for one."""
    app.before_request(lambda: check(present()))


def check(incoming: Incoming) -> None:
    """Raises TooManyRequests when this client, AtCapacity when all clients of its endpoint together ask too often."""
    if not incoming.operation.startswith(_LIMITED):
        return
    if incoming.state.rate_limit:
        rate = rates.parse(incoming.state.rate_limit)
        if pause := _pause(rate, f"client {caller.owner(incoming)}"):
            raise TooManyRequests(f"this client may ask {rate.text}", limit="rate", retryAfterMs=pause)
    if incoming.door is not None and incoming.door.rate_limit:
        rate = rates.parse(incoming.door.rate_limit)
        if pause := _pause(rate, f"endpoint {incoming.endpoint}"):
            text = f"all clients of this endpoint together may ask {rate.text}"
            raise AtCapacity(text, limit="rate", retryAfterMs=pause)


def _pause(rate: Rate, who: str) -> int:
    """Count one more of ``who``. Milliseconds until the window ends, in whole seconds; 0 when it may ask."""
    key = f"{who} {rate.text}"
    if counters.SHARED.add(key, rate.seconds, 1) <= rate.count:
        return 0
    return max(1, math.ceil(counters.SHARED.get(key)[1] - time.time())) * 1000
