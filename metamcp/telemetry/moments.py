"""When something was, as a person reads it: moments of the monotonic clock as Unix time."""

from __future__ import annotations

import time
from collections.abc import Callable

_APART = 1.0


class Moments:
    """The same moment is the same time whenever it is asked for, until somebody sets the machine's clock: documents in
    which nothing else has changed are equal."""

    def __init__(
        self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._between = wall() - monotonic()

    def __call__(self, moment: float) -> float:
        """Unix seconds."""
        between = self._wall() - self._monotonic()
        if abs(between - self._between) > _APART:
            self._between = between
        return round(moment + self._between, 3)
