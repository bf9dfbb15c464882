"""A subscription to the engine's events that one thread reads and any thread may end."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from metamcp.runtime.facts import EngineEvent, engine_event

# However the connection breaks, the stream is over. What requests raises is an OSError, and the SDK's parser raises
# a RuntimeError when the last event is cut.
_ENDS = (StopIteration, OSError, RuntimeError, ValueError, TypeError, AttributeError, KeyError)


class Closable(Protocol):
    def close(self) -> None: ...


class EventStream(Iterator[EngineEvent]):
    """Read by one thread, closed by any."""

    def __init__(self, client: Closable, raw: Any, forget: Callable[[EventStream], None]) -> None:
        self._client = client
        self._raw = raw
        self._forget = forget
        self._lock = threading.Lock()
        self._reading = False
        self._closed = False
        self._response = raw._response  # the SDK's own close() breaks when the reader ends at the same time
        self._socket: socket.socket = self._response.raw._fp.fp.raw._sock
        self._socket.settimeout(None)  # silence is normal from here on

    def __next__(self) -> EngineEvent:
        with self._lock:
            if self._closed:
                raise StopIteration
            self._reading = True
        event = self._read()
        with self._lock:
            self._reading = False
            closed = self._closed = self._closed or event is None
        if closed:
            self._release()
        if event is None:
            raise StopIteration
        return event

    @property
    def reading(self) -> bool:
        """Whether somebody waits for the next event."""
        return self._reading

    def close(self) -> None:
        """Wakes the reader, which then ends; without one, frees the connection itself."""
        with self._lock:
            idle = not self._reading and not self._closed
            self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if idle:
            self._release()

    def _read(self) -> EngineEvent | None:
        try:
            return engine_event(next(self._raw))
        except _ENDS:
            return None

    def _release(self) -> None:
        self._response.close()
        self._client.close()
        self._forget(self)
