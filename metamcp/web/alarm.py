"""Deadlines of a connection's reads by one timer, which is not set anew for each wait.

A timer for each wait, as gevent makes it, is a tenth of what a small request costs. Like ``web/http_server.py``, only
gunicorn loads this.
"""

from __future__ import annotations

import time
from typing import Any

import gevent


class Alarm:
    """Raises TimeoutError in the greenlet that has set it and waits. For one greenlet at a time; ``close`` at the end.

    The timer goes on when the wait is over. When it rings, it looks who waits by then, and for how long yet.
    """

    __slots__ = ("_rings", "_timer", "_until", "_waiting")

    def __init__(self) -> None:
        self._waiting: Any = None
        self._until = 0.0  # by time.monotonic
        self._timer: Any = None
        self._rings = 0.0  # when; no later than any deadline that was set

    def set(self, until: float) -> None:
        """For a wait that begins now; ``until`` by ``time.monotonic``."""
        self._waiting, self._until = gevent.getcurrent(), until
        if self._timer is None or until < self._rings:
            self._start()

    def clear(self) -> None:
        """The wait is over."""
        self._waiting = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def _start(self) -> None:
        self.close()
        self._rings = self._until
        self._timer = gevent.get_hub().loop.timer(max(0.0, self._until - time.monotonic()))
        self._timer.start(self._ring, update=True)  # the loop's own clock stands still while greenlets run

    def _ring(self) -> None:
        self.close()
        waiting = self._waiting
        if waiting is None:
            return
        if self._until > time.monotonic():
            self._start()
            return
        self._waiting = None
        waiting.throw(TimeoutError("the client is too slow"))
