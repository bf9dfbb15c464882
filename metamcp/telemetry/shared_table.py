"""Numbers that several processes count, each in a place of its own, and any of them adds up: anonymous memory that is
made before they are forked.

One writer for each number, so that counting is an addition without a lock and loses nothing. Who writes where is told
by a lock of the kernel's on the place: it ends with its process, however that ends, and the next one goes on there.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator

SLOTS = 1024
"""Processes at once: four times as many as there may be web workers (``config/settings.py``), for while they are
replaced there are two of each."""

_CELL = 8
_FLOCK = "hhqqi0q"  # struct flock (fcntl(2)); padded to whole words


class SharedTable:
    """``cells`` signed 64-bit numbers for each process; the last ``gauges`` of them are true only while it lives."""

    def __init__(self, cells: int, gauges: int, slots: int = SLOTS) -> None:
        self.cells = cells
        self.gauges = gauges
        self.creator = os.getpid()
        self._slots = slots
        self._stride = cells + 1  # before them is the pid of whoever counts there, or did last
        self._memory = mmap.mmap(-1, slots * self._stride * _CELL)
        self._numbers = memoryview(self._memory).cast("q")
        self._locks = os.memfd_create("metamcp-table", os.MFD_CLOEXEC)

    def claim(self) -> memoryview:
        """The numbers of this process; the same ones each time. Not for a process that only reads."""
        for slot in range(self._slots):
            if self._lock(slot):
                own = self._of(slot)
                own[self.cells - self.gauges :] = memoryview(bytes(self.gauges * _CELL)).cast("q")
                self._numbers[slot * self._stride] = os.getpid()
                return own
        return memoryview(bytearray(self.cells * _CELL)).cast("q")  # more processes than anybody foresaw: not counted

    def totals(self) -> list[int]:
        """Each number, of all processes there ever were; gauges of those that live."""
        found = [0] * self.cells
        counters = self.cells - self.gauges
        for slot in self._used():
            numbers = self._of(slot)
            for place in range(self.cells if self._held(slot) else counters):
                found[place] += numbers[place]
        return found

    def living(self) -> dict[int, int]:
        """The processes that count now: slot -> pid."""
        return {slot: self._numbers[slot * self._stride] for slot in self._used() if self._held(slot)}

    def close(self) -> None:
        """After whoever counts has dropped its numbers."""
        self._numbers.release()
        self._memory.close()
        os.close(self._locks)

    def _of(self, slot: int) -> memoryview:
        first = slot * self._stride + 1
        return self._numbers[first : first + self.cells]

    def _used(self) -> Iterator[int]:
        """The first ones, for the first that is free is taken."""
        for slot in range(self._slots):
            if not self._numbers[slot * self._stride]:
                return
            yield slot

    def _lock(self, slot: int) -> bool:
        try:
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
        except OSError:
            return False
        return True

    def _held(self, slot: int) -> bool:
        """By another process, or by this one, which the kernel does not tell of its own."""
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, slot, 1, 0)
        kind = struct.unpack(_FLOCK, fcntl.fcntl(self._locks, fcntl.F_GETLK, asked))[0]
        return kind != fcntl.F_UNLCK or self._numbers[slot * self._stride] == os.getpid()
