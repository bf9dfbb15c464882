"""The web tier's end of the link: one connection per worker, shared by all its requests, reconnecting.

Runs on plain threads or, patched by gunicorn's worker, on gevent: it only uses ``socket`` and ``threading``.
"""

from __future__ import annotations

import itertools
import socket
import threading
from pathlib import Path

from metamcp.errors import SupervisorAway
from metamcp.gateway.interface import Request, Unanswered
from metamcp.gateway.local import QueuedExchange
from metamcp.link.frames import Close, Frame, FrameInvalid, FrameReader, Item, Open, encode
from metamcp.telemetry import logs
from metamcp.telemetry.edge import EDGE

_CHUNK = 65536
_RETRY_FIRST, _RETRY_MOST = 0.05, 1.0  # seconds between attempts to connect
_log = logs.get("link.client")


class LinkClient:
    """A Gateway. ``start`` before use, ``close`` at the end; ``exchange`` from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._streams = itertools.count(1)
        self._exchanges: dict[int, tuple[QueuedExchange, Unanswered]] = {}
        self._socket: socket.socket | None = None
        self._sending = threading.Lock()  # frames must not interleave; held over a send, never over anything else
        self._ending = threading.Event()
        self._connected = threading.Event()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_connected(self, timeout: float) -> bool:
        return self._connected.wait(timeout)

    def close(self) -> None:
        """End the connection and the thread; open exchanges fail."""
        self._ending.set()
        self._hang_up()
        self._thread.join(5.0)

    def exchange(self, request: Request) -> QueuedExchange:
        stream = next(self._streams)
        exchange, unanswered = QueuedExchange(lambda: self._give_up(stream)), Unanswered(request)
        if not self._connected.is_set():
            exchange.put(unanswered.failed(_away()))
            return exchange
        self._exchanges[stream] = exchange, unanswered
        if not self._send(Open(stream, request)):
            self._lose(stream)
        return exchange

    # --- out -------------------------------------------------------------------------------------------

    def _send(self, frame: Frame) -> bool:
        data = encode(frame)
        with self._sending:
            connection = self._socket
            # An exchange that failed with an earlier connection must not begin on this one.
            if connection is None or (isinstance(frame, Open) and frame.stream not in self._exchanges):
                return False
            try:
                sent = connection.send(data)
                if sent < len(data):
                    connection.sendall(memoryview(data)[sent:])
            except OSError:
                return False
        return True

    def _give_up(self, stream: int) -> None:
        if self._exchanges.pop(stream, None) is not None:
            self._send(Close(stream))

    # --- in --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = _RETRY_FIRST
        while not self._ending.is_set():
            connection = self._connect()
            if connection is None:
                self._ending.wait(pause)
                pause = min(pause * 2, _RETRY_MOST)
                continue
            pause = _RETRY_FIRST
            self._serve(connection)

    def _connect(self) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(self._path))
        except OSError:
            connection.close()
            return None
        return connection

    def _serve(self, connection: socket.socket) -> None:
        self._socket = connection
        self._connected.set()
        _log.info("link-connected")
        try:
            self._read(connection)
        except (OSError, FrameInvalid) as error:
            _log.warning("link-failed", extra=logs.fields(error=str(error)))
        finally:
            self._disconnected(connection)

    def _read(self, connection: socket.socket) -> None:
        reader = FrameReader()
        # ``close`` cannot hang up a connection that was made at the same moment.
        while not self._ending.is_set() and (chunk := connection.recv(_CHUNK)):
            for frame in reader.feed(chunk):
                if isinstance(frame, Item):
                    self._deliver(frame)

    def _deliver(self, item: Item) -> None:
        found = self._exchanges.get(item.stream)
        if found is None:
            return
        if item.outbound.final:
            self._exchanges.pop(item.stream, None)  # its owner may close it at the same moment
        if not found[0].put(item.outbound):
            self._give_up(item.stream)

    def _disconnected(self, connection: socket.socket) -> None:
        self._connected.clear()
        with self._sending:
            self._socket = None
        connection.close()
        if not self._ending.is_set():
            EDGE.link_lost()
        _log.warning("link-lost", extra=logs.fields(exchanges=len(self._exchanges)))
        for stream in tuple(self._exchanges):
            self._lose(stream)

    def _lose(self, stream: int) -> None:
        if found := self._exchanges.pop(stream, None):
            exchange, unanswered = found
            exchange.put(unanswered.failed(_away()))

    def _hang_up(self) -> None:
        connection = self._socket
        if connection is not None:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is down already


def _away() -> SupervisorAway:
    text = "the supervisor is not reachable; it is being restarted, try again in a second"
    return SupervisorAway(text, state="STARTING", reason=text, retryAfterMs=1000)
