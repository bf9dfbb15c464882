"""A flood of what is to be told must not become a flood of tellings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PER_SECOND = 20


class Sparing:
    """So many tellings a second; what is too much is counted and told with the next one. Thread-safe. ``clock`` in
    seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._second = 0
        self._told = 0
        self._omitted = 0
        self._lock = threading.Lock()

    def admit(self) -> int | None:
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
