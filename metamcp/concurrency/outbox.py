"""A bounded, closable queue between the one who produces and the one connection that drains."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    def __len__(self) -> int: ...


S = TypeVar("S", bound=Sized)


class Outbox(Generic[S]):
    """Bounded by the items' total length. Full means that the reader is too slow: the box closes itself with
    the reason ``slow-consumer`` and what was queued is still delivered, so nothing is lost silently.

    Works on plain threads and, patched, on gevent: it only uses ``threading``.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[S] = deque()
        self._size = 0
        self._ready = threading.Condition(threading.Lock())
        self.closed: str | None = None  # the reason, once closed

    def put(self, item: S) -> bool:
        """Append; False when the box is closed, or closes now because it is full. A single item always fits."""
        with self._ready:
            if self.closed is not None:
                return False
            if self._items and self._size + len(item) > self._limit:
                self.closed = "slow-consumer"
            else:
                self._items.append(item)
                self._size += len(item)
            self._ready.notify()
            return self.closed is None

    def get(self, timeout: float) -> S | None:
        """The next item, or None after ``timeout`` seconds of silence or when closed and empty."""
        with self._ready:
            if not self._items and self.closed is None:
                self._ready.wait(timeout)
            if not self._items:
                return None
            item = self._items.popleft()
            self._size -= len(item)
            return item

    def close(self, reason: str) -> None:
        """No more items; the first reason stays."""
        with self._ready:
            if self.closed is None:
                self.closed = reason
            self._ready.notify_all()

    @property
    def finished(self) -> bool:
        """Closed and drained."""
        return self.closed is not None and not self._items
