"""A bounded, closable queue between the one who produces and the one connection that drains."""

from __future__ import annotations

import queue
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    def __len__(self) -> int: ...


S = TypeVar("S", bound=Sized)


class Outbox(Generic[S]):
    """Bounded by the items' total length. Full means that the reader is too slow: the box closes itself with
    the reason ``slow-consumer`` and what was queued is still delivered, so nothing is lost silently.

    Works on plain threads and, patched, on gevent: it only uses ``queue``. One reader; producers on several threads
    lose nothing, but the bound is exact for one at a time. There is one box for each request, so it has no lock of its
    own: the two totals have one writer each.
    """

    __slots__ = ("_items", "_limit", "_put", "_taken", "closed")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: queue.SimpleQueue[S | None] = queue.SimpleQueue()  # None: closed meanwhile
        self._put = 0  # length of all items so far; written by the producer
        self._taken = 0  # of those that were taken out; written by the reader
        self.closed: str | None = None  # the reason, once closed

    def put(self, item: S) -> bool:
        """Append; False when the box is closed, or closes now because it is full. A single item always fits."""
        if self.closed is not None:
            return False
        waiting = self._put - self._taken
        if waiting and waiting + len(item) > self._limit:
            self.close("slow-consumer")
            return False
        self._put += len(item)
        self._items.put(item)
        return True

    def get(self, timeout: float) -> S | None:
        """The next item, or None after ``timeout`` seconds of silence or when closed and empty."""
        if self._items.empty() and (timeout <= 0 or self.closed is not None):
            return None
        try:
            item = self._items.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None
        if item is not None:
            self._taken += len(item)
        return item

    def close(self, reason: str) -> None:
        """No more items; the first reason stays."""
        if self.closed is None:
            self.closed = reason
            self._items.put(None)

    @property
    def finished(self) -> bool:
        """Closed and drained."""
        return self.closed is not None and self._items.empty()
