"""The body of one request as ``wsgi.input``: by its length or in chunks, with no leniency about either.

An extension of a chunk, a trailer, or a line that does not end with CR LF is what proxies and servers have read
differently; no known MCP client sends any of them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_LONGEST_LINE = 10
_PIECE = 64 * 1024


class RequestBody(io.RawIOBase):
    """``length`` None: in chunks. ``before`` is called once, when the first byte is wanted of a body that is not empty.
    ``complete``: read to its end, so that the next request of the connection can be told from it."""

    def __init__(self, source: io.BufferedReader, length: int | None, before: Callable[[], None]) -> None:
        self._source = source
        self._chunked = length is None
        self._left = length or 0  # of the body, or of the present chunk
        self._before: Callable[[], None] | None = before
        self._broken = False
        self.complete = length == 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Raises OSError for a body that ends early, comes too slowly or is malformed."""
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """As ``readinto``, without a buffer between; fewer than ``size`` bytes do not mean that there are no more."""
        return self._next(size) if size >= 0 else super().read()

    def _next(self, most: int) -> bytes:
        """Empty at the end."""
        if self.complete or most == 0:
            return b""
        if self._broken:
            raise OSError("the body cannot be read")
        self._broken = True  # unless the following succeeds
        if self._before is not None:
            before, self._before = self._before, None
            before()
        data = self._piece(most)
        self._broken = False
        return data

    def _piece(self, most: int) -> bytes:
        if self._chunked and self._left == 0 and not self._begin_chunk():
            return b""
        data = self._source.read1(min(most, self._left, _PIECE))
        if not data:
            raise OSError("the body ends before its length")
        self._left -= len(data)
        if self._left == 0:
            self._end()
        return data

    def _begin_chunk(self) -> bool:
        found = _SIZE.fullmatch(self._source.readline(_LONGEST_LINE))
        if found is None:
            raise OSError("a chunk must begin with its size alone on a line")
        self._left = int(found[1], 16)
        if self._left == 0:
            self._line_end()
            self.complete = True
        return self._left > 0

    def _end(self) -> None:
        if self._chunked:
            self._line_end()
        else:
            self.complete = True

    def _line_end(self) -> None:
        if self._source.read(2) != b"\r\n":
            raise OSError("a chunk must end with CR LF, and the last one without a trailer")

    def _discard(self) -> None:
        """Called by the WSGI server after the response. What is left is not read: the connection is closed."""
