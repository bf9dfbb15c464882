"""Requests whose client must not hang up unnoticed: WSGI itself shows it only at the second write after that.

For MCP 2026-07-28 a disconnect is the cancellation; the stream of HTTP+SSE is the session.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import termios
import threading

from metamcp.gateway.interface import Exchange, Outbound

PATIENCE = 0.05
"""Seconds without an item before anybody watches: most answers come sooner, and a watch costs a thread."""


class Watched:
    """An exchange that is closed at once when the client hangs up, whether or not anything is being written.

    ``connection`` is the client's socket, with the request read to its end; None where the WSGI server does not give
    it: a hang-up then shows when the server fails to write.
    """

    def __init__(self, exchange: Exchange, connection: socket.socket | None) -> None:
        self._exchange = exchange
        self._connection = connection
        self._lock = threading.Lock()  # a worker that drains closes from another thread
        self._watch: _Watch | None = None
        self._closed = False

    def next(self, timeout: float) -> Outbound | None:
        if self._connection is not None and self._watch is None:
            item = self._exchange.next(min(PATIENCE, timeout))
            if item is not None:
                return item
            self._begin(self._connection)
            timeout = max(0.0, timeout - PATIENCE)
        return self._exchange.next(timeout)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()
        self._exchange.close()

    def _begin(self, connection: socket.socket) -> None:
        with self._lock:
            if not self._closed:
                self._watch = _Watch(self._exchange, connection)


class _Watch:
    """A thread that waits for the end of a connection, or for ``stop``."""

    def __init__(self, exchange: Exchange, connection: socket.socket) -> None:
        self._exchange = exchange
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, args=(connection,), name="hangup", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Once. Joined, so that nobody looks at the socket when the server reads the next request from it."""
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        os.close(self._wake)

    def _run(self, connection: socket.socket) -> None:
        try:
            if self._hung_up(connection.fileno()):
                self._exchange.close()
        except (OSError, ValueError):
            self._exchange.close()  # the socket was closed under us

    def _hung_up(self, fd: int) -> bool:
        """Waits. False when told to stop, or when the next request is there already: behind its bytes the end of
        the connection cannot be seen."""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        ready = {ready for ready, _ in poll.poll()}
        return self._wake not in ready and not _unread(fd)


def _unread(fd: int) -> int:
    """Bytes that wait to be read; none on a readable connection means that it has ended. Unlike a peek it cannot
    block, and it works beneath TLS and beneath gevent's sockets."""
    (count,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, struct.pack("i", 0)))
    return int(count)
