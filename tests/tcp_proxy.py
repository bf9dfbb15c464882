"""A TCP proxy in front of an engine's socket, which cuts what is silent for too long, as socket proxies do."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 65536
_TICK = 0.1  # seconds


class CuttingProxy:
    """``silence``: seconds without a byte in either direction after which a connection ends; it may be changed. ``cut``
    counts those."""

    def __init__(self, path: str, silence: float) -> None:
        self.cut = 0
        self._path = path
        self.silence = silence
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.host = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, name="tcp-proxy")]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                thread = threading.Thread(target=self._serve, args=(connection,), name="tcp-proxy-connection")
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        engine = socket.socket(socket.AF_UNIX)
        self._open |= {connection, engine}
        with connection, engine, suppress(OSError, ValueError):  # closed by us
            engine.connect(self._path)
            self._pass_on({connection: engine, engine: connection})
        self._open -= {connection, engine}

    def _pass_on(self, other: dict[socket.socket, socket.socket]) -> None:
        """Until both sides have ended, each direction by itself: the end of a server's input is only half an end."""
        reading, heard = set(other), time.monotonic()
        while reading:
            ready, _, _ = select.select(reading, [], [], _TICK)
            heard = time.monotonic() if ready else heard
            if time.monotonic() - heard > self.silence:
                self.cut += 1
                return
            for side in ready:
                data = side.recv(_CHUNK)
                if data:
                    other[side].sendall(data)
                else:
                    reading.discard(side)
                    other[side].shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


@contextmanager
def cutting_proxy(host: str, silence: float) -> Iterator[CuttingProxy]:
    """In front of ``host``, which is ``unix://…``."""
    proxy = CuttingProxy(host.removeprefix("unix://"), silence)
    try:
        yield proxy
    finally:
        proxy.close()
