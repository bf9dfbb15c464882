"""What the web tier refuses goes into the supervisor's audit log, but no faster than it can be of use."""

from __future__ import annotations

import time
from collections.abc import Callable

from metamcp.gateway.interface import Client, Gateway, Refusal
from metamcp.telemetry.sparing import Sparing


class Refusals:
    """Of one worker; thread-safe. ``clock`` in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._sparing = Sparing(clock)

    def tell(self, gateway: Gateway, client: Client, status: int, rule: str) -> None:
        """Never blocks for longer than handing a frame over does; nobody waits for an answer."""
        if (omitted := self._sparing.admit()) is not None:
            gateway.exchange(Refusal(client, status, rule, omitted)).close()
