"""The HTTP server of a web worker: who is let in, what waits for a next request, and how all of it ends.

Only gunicorn loads this. Nothing of a worker may be imported here that has to be patched first.
"""

from __future__ import annotations

import socket
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gunicorn.workers.ggevent import PyWSGIServer

from metamcp.errors import TooManyRequests
from metamcp.protocol import http_head
from metamcp.telemetry.edge import EDGE
from metamcp.web.http_handler import Handler
from metamcp.web.parking import Parking


@dataclass(frozen=True, slots=True)
class Edge:
    """What a worker asks of its clients. ``client_seconds``: for one that neither sends nor reads; ``idle_seconds``:
    for the next request of a connection, once it is parked; ``most_of_one_address``: connections; None: no bound, as
    behind a proxy."""

    client_seconds: float
    idle_seconds: float
    most_of_one_address: int | None


class Server(PyWSGIServer):  # type: ignore[misc]  # gunicorn has no types
    edge: Edge
    running: list[Server]
    """Of this worker's process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.running.append(self)
        self.logs_access: bool = self.log.access_log_enabled
        self.waiting: set[Handler] = set()
        self.draining = False
        self.connections: dict[socket.socket, str] = {}
        """Those that were let in, and their addresses."""
        self.addresses: Counter[str] = Counter()
        self.parking = Parking(self.pool.size, self.edge.idle_seconds, self.do_handle, self.do_close)

    def handle(self, sock: socket.socket, address: Any) -> None:
        """A new connection, or one that was parked."""
        if sock in self.connections or self._let_in(sock, address):
            self._count()
            super().handle(sock, address)

    def do_close(self, sock: socket.socket, *address: Any) -> None:
        """After its handler, however that ended."""
        if sock in self.parking:
            return
        name = self.connections.pop(sock, None)
        if name is not None:
            self.addresses[name] -= 1
            if not self.addresses[name]:
                del self.addresses[name]
        self._count()
        super().do_close(sock, *address)

    def park(self, sock: socket.socket, address: Any) -> bool:
        """Nobody waits for the next request of this connection any more, but the event loop; False when somebody has
        to. What was decrypted already cannot be seen by it."""
        if self.draining or self.ssl_enabled:
            return False
        self.parking.park(sock, address)
        self._count()
        return True

    def _count(self) -> None:
        idle = len(self.parking)
        EDGE.connections(len(self.connections) - idle, idle)

    def _let_in(self, sock: socket.socket, address: Any) -> bool:
        """One client must not have all connections of a worker. Behind proxies all have the proxy's address."""
        name, most = address[0] if address else "", self.edge.most_of_one_address
        if most is not None and name and self.addresses[name] >= most:
            EDGE.refused("connections", TooManyRequests.http_status)
            with suppress(OSError):
                sock.sendall(http_head.refusal(TooManyRequests("too many connections from one address")))
            return False
        self.connections[sock] = name
        self.addresses[name] += 1
        if sock.family != socket.AF_UNIX:
            # Each event is written at once and whole: waiting for more to send with it would only delay it.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return True

    def close(self) -> None:
        """Stop accepting, and hang up where nobody is being served. May be called twice."""
        super().close()
        self.draining = True
        self.parking.close()
        for handler in tuple(self.waiting):
            with suppress(OSError):
                handler.socket.shutdown(socket.SHUT_RD)
