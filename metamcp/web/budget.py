"""How many bytes of bodies one web worker reads at once: a body is whole in memory before it is looked at."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from metamcp.errors import AtCapacity, TooManyRequests

BYTES_OF_ALL, BYTES_OF_ONE = 256 * 1024 * 1024, 128 * 1024 * 1024
"""In all, and of one client."""


class Budget:
    """Of one worker; thread-safe."""

    def __init__(self, of_all: int = BYTES_OF_ALL, of_one: int = BYTES_OF_ONE) -> None:
        self._of_all, self._of_one = of_all, of_one
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def take(self, owner: str, count: int) -> Iterator[None]:
        """For the time of reading ``count`` bytes. Raises TooManyRequests, or AtCapacity when it is not this client
        who has taken everything."""
        with self._lock:
            self._check(owner, count)
            self._taken[owner] += count
        try:
            yield
        finally:
            with self._lock:
                self._taken[owner] -= count
                if not self._taken[owner]:
                    del self._taken[owner]

    def _check(self, owner: str, count: int) -> None:
        if self._taken[owner] + count > self._of_one:
            raise TooManyRequests("too many large bodies of one client at once", limit="bodies", retryAfterMs=1000)
        if self._taken.total() + count > self._of_all:
            raise AtCapacity("the gateway reads as many large bodies as it can; try again", retryAfterMs=1000)
