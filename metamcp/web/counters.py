"""Counters that all workers of one gunicorn share: anonymous memory that the master makes before it forks them.

A fixed table, so that no number of strangers can make it grow; where it is crowded, the counter that would expire first
gives way. A worker that dies lets go of the lock by that.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SLOTS = 65536
_PROBES = 16
_SLOT = struct.Struct("=8sdq")  # a digest of the key, the end of its window in Unix seconds, the count


class SharedCounters:
    """``clock``: Unix seconds, the same for all processes. Thread-safe; never waits for longer than a look takes."""

    def __init__(self, slots: int = SLOTS, clock: Callable[[], float] = time.time) -> None:
        self._slots = slots
        self._clock = clock
        self._memory = mmap.mmap(-1, slots * _SLOT.size)
        self._file = os.memfd_create("metamcp-counters", os.MFD_CLOEXEC)  # what is locked
        self._thread = threading.Lock()  # a lock of a file does not hold between threads of one process

    def add(self, key: str, seconds: float, amount: int) -> int:
        """The count after it. ``seconds``: how long the window is, if this begins it."""
        with self._locked():
            at, count, until = self._find(key)
            until = until if count else self._clock() + seconds
            _SLOT.pack_into(self._memory, at, _digest(key), until, count + amount)
            return count + amount

    def get(self, key: str) -> tuple[int, float]:
        """The count, and the end of its window; (0, now) when there is none."""
        with self._locked():
            _, count, until = self._find(key)
            return (count, until) if count else (0, self._clock())

    def reset(self) -> None:
        with self._locked():
            self._memory[:] = bytes(len(self._memory))

    def close(self) -> None:
        self._memory.close()
        os.close(self._file)

    def _find(self, key: str) -> tuple[int, int, float]:
        """Where ``key`` is or may be put, its count, and when that ends; a count of 0 means that it is not there."""
        digest, now = _digest(key), self._clock()
        first = int.from_bytes(digest, "big")
        best, soonest = 0, math.inf
        for probe in range(_PROBES):
            at = (first + probe) % self._slots * _SLOT.size
            found, until, count = _SLOT.unpack_from(self._memory, at)
            if found == digest and until > now:
                return at, count, until
            if until < soonest:
                best, soonest = at, until
        return best, 0, 0.0

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._thread:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()


SHARED = SharedCounters()
"""Of this process and those that it forks after it has loaded this module."""
