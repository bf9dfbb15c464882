"""What the web tier refuses goes into the supervisor's audit log, but no faster than it can be of use.

A flood of refusals must not become a flood behind the edge: what is too much is counted and told with the next one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from metamcp.gateway.interface import Client, Gateway, Refusal

PER_SECOND = 20
"""Refusals that one worker tells."""


class Refusals:
    """Of one worker; thread-safe. ``clock`` in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._second = 0
        self._told = 0
        self._omitted = 0
        self._lock = threading.Lock()

    def tell(self, gateway: Gateway, client: Client, status: int, rule: str) -> None:
        """Never blocks for longer than handing a frame over does; nobody waits for an answer."""
        if (omitted := self._admit()) is not None:
            gateway.exchange(Refusal(client, status, rule, omitted)).close()

    def _admit(self) -> int | None:
        """How many were left out before this one; None when this one is, too."""
        with self._lock:
            second = int(self._clock())
            if second != self._second:
                self._second, self._told = second, 0
            if self._told >= PER_SECOND:
                self._omitted += 1
                return None
            self._told += 1
            omitted, self._omitted = self._omitted, 0
            return omitted
