"""Reading from a client with a deadline for all of it, however slowly its bytes come."""

from __future__ import annotations

import io
import socket
import time
from typing import Protocol

LEAST_RATE = 16 * 1024
"""Bytes of a body that have to come in a second, on the whole."""


class Alarm(Protocol):
    def set(self, until: float) -> None:
        """Raise TimeoutError from what the caller waits for, at ``until`` by ``time.monotonic``."""

    def clear(self) -> None:
        """The wait is over."""


class PatientReader(io.RawIOBase):
    """The raw reader of one connection, which nobody else reads. Raises TimeoutError once the deadline has passed, and
    from then on always."""

    def __init__(self, connection: socket.socket, alarm: Alarm) -> None:
        self._connection = connection
        self._alarm = alarm
        self._until = 0.0
        self._rate = 0.0
        self._expired = False

    def allow(self, seconds: float, rate: float = 0.0) -> None:
        """From now on: so many seconds, and one more for each ``rate`` bytes that come. Before that, none."""
        self._until = time.monotonic() + seconds
        self._rate = rate

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self._until - time.monotonic()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._expired or self.left <= 0:
            self._expired = True
            raise TimeoutError("the client is too slow")
        self._alarm.set(self._until)
        try:
            count = self._connection.recv_into(buffer)
        except TimeoutError:
            self._expired = True
            raise
        finally:
            self._alarm.clear()
        if self._rate:
            self._until += count / self._rate
        return count
