"""Server-sent events (WHATWG HTML, section 9.2): writing one, and reading a stream in whatever chunks arrive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

RETRY_MS = 1000
"""How long a client waits before it opens a lost stream again."""

HEARTBEAT = b": heartbeat\n\n"
"""A comment: clients drop it, proxies and dead connections notice it."""

_BOM = b"\xef\xbb\xbf"
_RETRY_DIGITS = 9  # milliseconds with more digits mean "never" anyway


def event(data: bytes, name: str = "message", event_id: str = "", retry_ms: int | None = None) -> bytes:
    """One event with one ``data`` line. JSON on the wire has no line end, so ``data`` must not either: a
    pretty-printed message of a server would otherwise be cut into lines that not every client joins."""
    head = f"event: {name}\n"
    if event_id:
        head += f"id: {event_id}\n"
    if retry_ms is not None:
        head += f"retry: {retry_ms}\n"
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r", b" ").replace(b"\n", b" ")
    return head.encode() + b"data: " + data + b"\n\n"


def priming(event_id: str) -> bytes:
    """The first event of a stream that can be resumed: an id and no data (2025-11-25, Transports, Sending Messages).
    Clients of older revisions take the empty data for a broken message."""
    return event(b"", event_id=event_id, retry_ms=RETRY_MS)


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event as it was read; ``data`` joins its lines with ``\\n``. ``id`` is the stream's last event id by then."""

    name: str
    data: bytes
    id: str


class EventTooLong(Exception):
    """An event passed the limit before it ended; ``size`` is what had come by then, in bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"an event of more than {size} bytes")
        self.size = size


class EventReader:
    """Bytes in, events out. ``limit`` bounds one event in bytes, and so the memory held for it.

    ``last_id`` and ``retry_ms`` are what a new connection has to respect; an event without data sets them, too
    (MCP 2025-11-25, Transports: a stream opens with an id and no data)."""

    def __init__(self, limit: int, last_id: str = "") -> None:
        self.last_id = last_id
        self.retry_ms: int | None = None
        self._limit = limit
        self._parts: list[bytes] = []  # of the line that has not ended yet
        self._line_size = 0
        self._data: list[bytes] = []
        self._data_size = 0
        self._id = last_id
        self._name = ""
        self._first_line = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that ``chunk`` completes. Raises EventTooLong; the stream cannot be read on after that."""
        if not chunk:
            return []
        if self._after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
        self._after_cr = chunk[-1:] == b"\r"
        found = [self._line(line) for line in self._lines(chunk)]
        return [one for one in found if one is not None]

    def _lines(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that end within ``chunk``; what is left waits for its end."""
        # Of bytes, splitlines knows CR, LF and CRLF only, which is what the standard wants.
        for piece in chunk.splitlines(keepends=True):
            part = piece.rstrip(b"\r\n")
            self._parts.append(part)
            self._line_size += len(part)
            self._check_size()
            if len(part) < len(piece):
                line = b"".join(self._parts)
                self._parts.clear()
                self._line_size = 0
                yield line

    def _check_size(self) -> None:
        size = self._line_size + self._data_size
        if size > self._limit:
            raise EventTooLong(size)

    def _line(self, line: bytes) -> ServerEvent | None:
        if self._first_line:
            line, self._first_line = line.removeprefix(_BOM), False
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._data_size += len(value) + 1
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit():
            self.retry_ms = int(value) if len(value) <= _RETRY_DIGITS else 10**_RETRY_DIGITS
        return None

    def _dispatch(self) -> ServerEvent | None:
        self.last_id = self._id
        found = ServerEvent(self._name or "message", b"\n".join(self._data), self._id) if self._data else None
        self._data.clear()
        self._name, self._data_size = "", 0
        return found
