"""Newline-delimited messages of the stdio transport (MCP, Transports: stdio), fed in whatever chunks arrive."""

from __future__ import annotations


class LineTooLong(Exception):
    """A line passed the limit before it ended; ``size`` is what had come by then, in bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"a line of more than {size} bytes")
        self.size = size


class LineSplitter:
    """Bytes in, whole lines out. Bytes are never decoded here, so no chunk boundary can split a character.

    ``limit`` bounds one line in bytes, and so the memory held for a server that never ends its line.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that ``chunk`` completes, without their line ends; empty lines are left out.

        Raises LineTooLong; the conversation cannot be continued after that.
        """
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if lines and self._parts:
            self._parts.append(lines[0])
            lines[0] = b"".join(self._parts)
            self._parts, self._size = [], 0
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
        longest = max(self._size, max(map(len, lines), default=0))
        if longest > self._limit:
            raise LineTooLong(longest)
        return [line.removesuffix(b"\r") for line in lines if line and line != b"\r"]
