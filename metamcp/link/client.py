"""The web tier's end of the link: one connection per worker, shared by all its requests, reconnecting.

Runs on plain threads or, patched by gunicorn's worker, on gevent: it only uses ``socket`` and ``threading``.
"""

from __future__ import annotations

import itertools
import queue
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from metamcp.errors import SupervisorAway
from metamcp.gateway.interface import Request, Unanswered
from metamcp.gateway.local import QueuedExchange
from metamcp.link.frames import Close, FrameInvalid, FrameReader, Item, Open, encode
from metamcp.telemetry import logs
from metamcp.telemetry.edge import EDGE

_CHUNK = 65536
_RETRY_FIRST, _RETRY_MOST = 0.05, 0.2  # seconds between attempts to connect; one costs next to nothing
_FLUSH_SECONDS = 1.0
MOST_WAITING = 256 * 1024 * 1024
"""Bytes that may wait for the supervisor. It reads at once whatever its servers do, so it is stuck."""

_log = logs.get("link.client")


class _Sending(NamedTuple):
    """A frame for the connection that was there when its exchange was begun or given up."""

    connection: socket.socket
    stream: int
    data: bytes


class LinkClient:
    """A Gateway. ``start`` before use, ``close`` at the end; ``exchange`` from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._streams = itertools.count(1)
        self._exchanges: dict[int, tuple[QueuedExchange, Unanswered]] = {}
        self._socket: socket.socket | None = None
        self._outgoing: queue.SimpleQueue[_Sending | None] = queue.SimpleQueue()
        self._waiting = 0  # bytes in it, those that are being sent included
        self._ending = threading.Event()
        self._connected = threading.Event()
        self._reading = threading.Thread(target=self._run, name="link", daemon=True)
        self._sending = threading.Thread(target=self._send_all, name="link-out", daemon=True)

    def start(self) -> None:
        self._reading.start()
        self._sending.start()

    def wait_connected(self, timeout: float) -> bool:
        return self._connected.wait(timeout)

    def close(self) -> None:
        """Send what waits, then end the connection and the threads; open exchanges fail."""
        self._ending.set()
        self._outgoing.put(None)
        self._sending.join(_FLUSH_SECONDS)
        self._hang_up()
        self._reading.join(5.0)

    def exchange(self, request: Request) -> QueuedExchange:
        stream = next(self._streams)
        exchange, unanswered = QueuedExchange(lambda: self._give_up(stream)), Unanswered(request)
        connection = self._socket
        if connection is None:
            exchange.put(unanswered.failed(_away()))
            return exchange
        data = encode(Open(stream, request))
        if self._waiting and self._waiting + len(data) > MOST_WAITING:
            exchange.put(unanswered.failed(_away("the supervisor does not take what it is asked")))
            return exchange
        self._exchanges[stream] = exchange, unanswered
        self._put(_Sending(connection, stream, data))
        return exchange

    # --- out -------------------------------------------------------------------------------------------

    def _give_up(self, stream: int) -> None:
        connection = self._socket
        if self._exchanges.pop(stream, None) is not None and connection is not None:
            self._put(_Sending(connection, stream, encode(Close(stream))))

    def _put(self, sending: _Sending) -> None:
        self._waiting += len(sending.data)
        self._outgoing.put(sending)

    def _send_all(self) -> None:
        """What several requests have to say meanwhile goes out in one write."""
        while (first := self._outgoing.get()) is not None:
            batch, size = [first], len(first.data)
            while size < _CHUNK and not self._outgoing.empty():
                further = self._outgoing.get()
                if further is None:
                    self._outgoing.put(None)
                    break
                batch.append(further)
                size += len(further.data)
            self._send(batch)
            self._waiting -= size

    def _send(self, batch: list[_Sending]) -> None:
        connection = self._socket
        # An exchange that failed with an earlier connection must not begin on this one.
        now = [one for one in batch if one.connection is connection]
        sent = False
        if connection is not None and now:
            data = now[0].data if len(now) == 1 else b"".join([one.data for one in now])
            with suppress(OSError):
                count = connection.send(data)
                if count < len(data):
                    connection.sendall(memoryview(data)[count:])
                sent = True
        for one in batch:
            if not sent or one.connection is not connection:
                self._lose(one.stream)

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


_AWAY = "the supervisor is not reachable; it is being restarted, try again in a second"


def _away(text: str = _AWAY) -> SupervisorAway:
    return SupervisorAway(text, state="STARTING", reason=text, retryAfterMs=1000)
