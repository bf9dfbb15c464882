"""Standard output and standard error of a container out of one stream (Engine API, "Attach to a container"). Pure.

Each frame is a header of eight bytes, the stream's number, three zeros and the payload's length, and the payload.
"""

from __future__ import annotations

from collections.abc import Iterator

STDOUT, STDERR = 1, 2
_STREAMS = (b"\0\0\0\0", b"\1\0\0\0", b"\2\0\0\0", b"\3\0\0\0")
_TARGETS = (STDOUT, STDOUT, STDERR, STDERR)  # 0 is input that comes back, 3 the engine's own errors
_HEADER = 8


class NotMultiplexedError(ValueError):
    """What came is no frame: the container has a terminal, or somebody else answers."""


class Multiplexed:
    """Chunks in, of whatever sizes; pieces of payload out. A chunk that lies within one payload is passed on as it is,
    so long lines are copied once at most."""

    def __init__(self) -> None:
        self._header = b""  # the beginning of one
        self._stream = STDOUT
        self._left = 0  # bytes of the payload still to come

    def split(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """(STDOUT or STDERR, some of its bytes), in order. Raises NotMultiplexedError."""
        at = 0
        while at < len(chunk):
            if not self._left:
                at = self._read_header(chunk, at)
                continue
            end = min(len(chunk), at + self._left)
            self._left -= end - at
            yield self._stream, chunk if end - at == len(chunk) else chunk[at:end]
            at = end

    def _read_header(self, chunk: bytes, at: int) -> int:
        """Where the chunk goes on; the header may not be complete yet."""
        end = at + _HEADER - len(self._header)
        self._header += chunk[at:end]
        if len(self._header) == _HEADER:
            kind = self._header[:4]
            if kind not in _STREAMS:
                raise NotMultiplexedError(f"{kind!r} is no frame of an attached container")
            self._stream = _TARGETS[kind[0]]
            self._left = int.from_bytes(self._header[4:], "big")
            self._header = b""
        return min(end, len(chunk))
