"""Reading from a client with a deadline for all of it, however slowly its bytes come."""

from __future__ import annotations

import io
import socket
import time

LEAST_RATE = 16 * 1024
"""Bytes of a body that have to come in a second, on the whole."""


class PatientReader(io.RawIOBase):
    """The raw reader of one connection. Raises TimeoutError once the deadline has passed, and from then on always.

    Works on plain sockets and, patched, on gevent's.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._until: float | None = None
        self._rate = 0.0
        self._expired = False

    def allow(self, seconds: float, rate: float = 0.0) -> None:
        """From now on: so many seconds, and one more for each ``rate`` bytes that come."""
        self._until = time.monotonic() + seconds
        self._rate = rate

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._expired:
            raise TimeoutError("the client is too slow")
        try:
            self._connection.settimeout(self._left())
            count = self._connection.recv_into(buffer)
        except TimeoutError:
            self._expired = True
            raise
        finally:
            self._connection.settimeout(None)
        if self._rate and self._until is not None:
            self._until += count / self._rate
        return count

    def _left(self) -> float | None:
        if self._until is None:
            return None
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the client is too slow")
        return left
