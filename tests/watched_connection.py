"""A connection as the web tier watches it, on a plain socket and a thread: what the web worker does with gevent."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable


class WatchedConnection:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def fileno(self) -> int:
        return self._connection.fileno()

    def watch(self, on_readable: Callable[[], None]) -> Callable[[], None]:
        if self.fileno() < 0:
            raise OSError("closed")
        wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        poll.register(wake, select.POLLIN)

        def wait() -> None:
            if wake not in {ready for ready, _ in poll.poll()}:
                on_readable()

        def stop() -> None:
            os.eventfd_write(wake, 1)
            thread.join()
            os.close(wake)

        thread = threading.Thread(target=wait, name="hangup", daemon=True)
        thread.start()
        return stop
