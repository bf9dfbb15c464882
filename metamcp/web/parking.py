"""Connections that wait for their client's next request, watched by the event loop.

A handler has a greenlet with its stack, a buffer and a head: some 20 KiB for a connection that nothing happens on, and
each client of HTTP+SSE keeps one beside its stream. Like ``web/http_server.py``, only gunicorn loads this.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gevent

READ = 1
"""Of libev's events."""

Parked = Callable[[socket.socket, Any], None]
"""(connection, address)"""


class _Wait(NamedTuple):
    address: Any
    until: float
    watcher: Any


class Parking:
    """``resume`` is called with a connection that can be read, ``leave`` with one that was silent for ``seconds``, or
    that waited longest when there are more than ``most``; each in a greenlet of its own. For the thread of the event
    loop."""

    def __init__(self, most: int, seconds: float, resume: Parked, leave: Parked) -> None:
        self._most = most
        self._seconds = seconds
        self._resume = resume
        self._leave = leave
        self._waiting: dict[socket.socket, _Wait] = {}  # the longest first, since all wait for the same time
        self._timer: Any = None

    def __contains__(self, connection: socket.socket) -> bool:
        return connection in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def park(self, connection: socket.socket, address: Any) -> None:
        """Nobody else uses ``connection`` from now on."""
        if len(self._waiting) >= self._most:
            self._end(next(iter(self._waiting)), self._leave)
        watcher = gevent.get_hub().loop.io(connection.fileno(), READ)
        self._waiting[connection] = _Wait(address, time.monotonic() + self._seconds, watcher)
        watcher.start(self._end, connection, self._resume)
        if self._timer is None:
            self._wait(self._seconds)

    def close(self) -> None:
        """All of them leave."""
        for connection in tuple(self._waiting):
            self._end(connection, self._leave)
        self._stop_timer()

    def _end(self, connection: socket.socket, whither: Parked) -> None:
        wait = self._waiting.pop(connection)
        wait.watcher.stop()
        wait.watcher.close()
        gevent.spawn(whither, connection, wait.address)  # what is called in the hub must not wait

    def _wait(self, seconds: float) -> None:
        self._timer = gevent.get_hub().loop.timer(seconds)
        self._timer.start(self._sweep)

    def _sweep(self) -> None:
        self._stop_timer()
        now = time.monotonic()
        while self._waiting:
            connection, wait = next(iter(self._waiting.items()))
            if wait.until > now:
                self._wait(wait.until - now)
                return
            self._end(connection, self._leave)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None
