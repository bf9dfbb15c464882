"""Requests whose client must not hang up unnoticed: WSGI itself shows it only at the second write after that.

For MCP 2026-07-28 a disconnect is the cancellation; the stream of HTTP+SSE is the session.
"""

from __future__ import annotations

import fcntl
import struct
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from metamcp.gateway.interface import Exchange, Outbound

PATIENCE = 0.05
"""Seconds without an item before anybody watches: most answers come sooner."""


class Connection(Protocol):
    """The client's, with the request read to its end; the WSGI server gives it (``web/http_handler.py``)."""

    def fileno(self) -> int: ...

    def watch(self, on_readable: Callable[[], None]) -> Callable[[], None]:
        """Call back once, from anywhere, when there is something to read, the end included. The result ends the watch
        before it returns; it is called once, also after the callback. Raises OSError when it was closed already."""


class Watched:
    """An exchange that is closed at once when the client hangs up, whether or not anything is being written.

    ``connection`` None, where the WSGI server does not give it: a hang-up then shows when the server fails to write.
    """

    __slots__ = ("_closed", "_connection", "_exchange", "_lock", "_stop")

    def __init__(self, exchange: Exchange, connection: Connection | None) -> None:
        self._exchange = exchange
        self._connection = connection
        self._lock = threading.Lock()  # a worker that drains closes from another thread
        self._stop: Callable[[], None] | None = None
        self._closed = False

    def next(self, timeout: float) -> Outbound | None:
        if self._connection is not None and self._stop is None:
            item = self._exchange.next(min(PATIENCE, timeout))
            if item is not None:
                return item
            self._begin(self._connection)
            timeout = max(0.0, timeout - PATIENCE)
        return self._exchange.next(timeout)

    def close(self) -> None:
        """The watch has ended when this returns, so that nobody looks at the socket when the server reads the next
        request from it."""
        with self._lock:
            self._closed = True
            stop, self._stop = self._stop, None
        if stop is not None:
            stop()
        self._exchange.close()

    def _begin(self, connection: Connection) -> None:
        with self._lock:
            if self._closed:
                return
            try:
                self._stop = connection.watch(lambda: self._look(connection))
            except OSError:
                self._exchange.close()  # the socket was closed under us

    def _look(self, connection: Connection) -> None:
        """Bytes that can be read are the next request: behind them the end of the connection cannot be seen."""
        with self._lock:
            gone = not self._closed
            with suppress(OSError, ValueError):
                gone = gone and not _unread(connection.fileno())
        if gone:
            self._exchange.close()


def _unread(fd: int) -> int:
    """Bytes that wait to be read; none on a readable connection means that it has ended. Unlike a peek it cannot
    block, and it works beneath TLS and beneath gevent's sockets."""
    (count,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, struct.pack("i", 0)))
    return int(count)
