"""Bytes on their way into one non-blocking descriptor: ordered, bounded, written once per turn."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from itertools import islice

from metamcp.concurrency.reactor import Reactor

_BATCH = 64  # buffers per writev; far below IOV_MAX, enough to make one call of a busy turn


class Outflow:
    """Owned by the reactor's thread. ``on_lost(reason)`` is called once, when the other side is gone or more
    than ``limit`` bytes wait for a reader that does not read; nothing is written after that."""

    def __init__(self, reactor: Reactor, fd: int, limit: int, on_lost: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._fd = fd
        self._limit = limit
        self._on_lost = on_lost
        self._chunks: deque[bytes | memoryview] = deque()
        self._pending = 0
        self._scheduled = False
        self._watching = False  # the reactor tells when the descriptor can take more
        self._closed = False

    @property
    def pending(self) -> int:
        """Bytes not yet accepted by the kernel."""
        return self._pending

    def write(self, data: bytes) -> None:
        """Queue ``data``; it leaves at the end of this turn, or when the descriptor can take it."""
        if self._closed or not data:
            return
        self._chunks.append(data)
        self._pending += len(data)
        if self._pending > self._limit and not self._flush_once():
            self._lose(f"{self._pending} bytes wait for a reader that does not read (limit {self._limit})")
        elif not self._scheduled:
            self._scheduled = True
            self._reactor.at_turn_end(self._flush)

    def close(self) -> None:
        """Forget what waits. The owner closes the descriptor."""
        self._closed = True
        self._chunks.clear()
        self._pending = 0

    def _flush_once(self) -> bool:
        """Write what the kernel takes now; True when that brings us back under the limit."""
        self._drain()
        return self._closed or self._pending <= self._limit

    def _flush(self) -> None:
        self._drain()
        if self._closed:
            return
        self._scheduled = bool(self._chunks)
        if self._scheduled is not self._watching:
            self._watching = self._scheduled
            self._reactor.watch_write(self._fd, self._flush if self._watching else None)

    def _drain(self) -> None:
        try:
            while self._chunks and not self._closed:
                self._advance(os.writev(self._fd, list(islice(self._chunks, _BATCH))))
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error.strerror or "write failed")

    def _advance(self, written: int) -> None:
        self._pending -= written
        if not self._pending:
            self._chunks.clear()
            return
        while written:
            head = self._chunks[0]
            if written < len(head):
                self._chunks[0] = memoryview(head)[written:]
                return
            written -= len(head)
            self._chunks.popleft()

    def _lose(self, reason: str) -> None:
        self.close()
        self._on_lost(reason)
