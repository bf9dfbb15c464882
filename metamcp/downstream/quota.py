"""How much of something each client has at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from metamcp.errors import TooManyRequests


class Quota:
    """Owned by the reactor's thread. ``what`` is shown to clients, ``limit`` names the bound in ``data``."""

    def __init__(self, most: int, what: str, limit: str) -> None:
        self._most = most
        self._what = what
        self._limit = limit
        self._held: Counter[str] = Counter()

    def __len__(self) -> int:
        """Of all owners."""
        return self._held.total()

    def take(self, owner: str) -> Callable[[], None]:
        """One more of ``owner``; to be called once when it is over. Raises TooManyRequests."""
        if self._held[owner] >= self._most:
            text = f"this client has {self._most} {self._what} at once already"
            raise TooManyRequests(text, limit=self._limit, retryAfterMs=1000)
        self._held[owner] += 1

        def over() -> None:
            self._held[owner] -= 1
            if not self._held[owner]:
                del self._held[owner]

        return over
