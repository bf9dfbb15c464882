"""Server-sent events."""

from __future__ import annotations

from collections.abc import Callable

OnEvent = Callable[[bytes, bytes], None]


class SseParser:
    """Cuts a byte stream into events and hands on (name, data)."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._pieces: list[bytes] = []
        self._tail = b""  # the last bytes of the pieces, where an event's end may begin

    def feed(self, data: bytes) -> None:
        # Only new bytes are searched for an event's end: large events come in many pieces, and to search all of
        # them each time would be quadratic.
        seam = self._tail + data
        if b"\n\n" not in seam and b"\n\r\n" not in seam:
            self._pieces.append(data)
            self._tail = seam[-3:]
            return
        buffer = self._cut(b"".join(self._pieces) + data)
        self._pieces = [buffer] if buffer else []
        self._tail = buffer[-3:]

    def _cut(self, buffer: bytes) -> bytes:
        position = 0
        while True:
            ends = [end for mark in (b"\n\n", b"\n\r\n") if (end := buffer.find(mark, position)) >= 0]
            if not ends:
                return buffer[position:]
            end = min(ends)
            self._event(buffer[position:end])
            position = end + (2 if buffer[end + 1 : end + 2] == b"\n" else 3)

    def _event(self, block: bytes) -> None:
        name, data = b"message", []
        for line in block.split(b"\n"):
            field, _, value = line.rstrip(b"\r").partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value
        if data:
            self._on_event(name, b"\n".join(data))
