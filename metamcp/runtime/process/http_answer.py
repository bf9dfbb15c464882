"""One HTTP/1.1 answer as it comes, in chunks of whatever sizes. Pure.

Needed beside the SDK where a connection outlives its answer: the upgraded one of ``attach``, and that of ``wait``,
whose head comes at once and whose body when the container has ended.
"""

from __future__ import annotations

from typing import Literal

MOST = 1024 * 1024
"""Bytes of a head, and of a body. The engine's are a few hundred."""

_UPGRADED = 101
_NO_BODY = (204, 304)

_How = Literal["head", "length", "size", "chunk", "trailer", "to-end", "done"]


class BadAnswerError(ValueError):
    """This is not HTTP/1.1, or too much of it."""


class Answer:
    """``upgraded``: the head is all that is HTTP; what follows is ``rest``."""

    def __init__(self, upgraded: bool = False) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.rest = b""
        self._upgraded = upgraded
        self._how: _How = "head"
        self._buffer = b""
        self._left = 0

    @property
    def has_head(self) -> bool:
        return self._how != "head"

    @property
    def complete(self) -> bool:
        return self._how == "done"

    def feed(self, data: bytes) -> None:
        """Raises BadAnswerError."""
        self._buffer += data
        while self._step():
            pass
        if len(self._buffer) > MOST or len(self.body) > MOST:
            raise BadAnswerError("an answer of the engine is larger than 1 MiB")

    def end(self) -> None:
        """The other side has closed the connection. Raises BadAnswerError when something is missing."""
        if self._how == "to-end":
            self._how = "done"
        if not self.complete:
            raise BadAnswerError("unexpected EOF")

    # --- inside ----------------------------------------------------------------------------------------

    def _step(self) -> bool:
        """Something was understood, and there may be more."""
        if self._how == "done":
            self.rest, self._buffer = self.rest + self._buffer, b""
            return False
        if self._how == "to-end":
            self.body, self._buffer = self.body + self._buffer, b""
            return False
        if self._how in ("length", "chunk"):
            return self._take()
        line_end = b"\r\n\r\n" if self._how == "head" else b"\r\n"
        line, found, rest = self._buffer.partition(line_end)
        if found:
            self._buffer = rest
            self._understand(line)
        return bool(found)

    def _understand(self, line: bytes) -> None:
        if self._how == "head":
            self._read_head(line.decode("latin-1"))
        elif self._how == "size":
            self._left = _hexadecimal(line) + len(b"\r\n")
            self._how = "trailer" if self._left == len(b"\r\n") else "chunk"
        elif not line:
            self._how = "done"  # after the trailer

    def _read_head(self, text: str) -> None:
        first, *fields = text.split("\r\n")
        version, _, rest = first.partition(" ")
        code = rest.partition(" ")[0]
        if not version.startswith("HTTP/1.") or len(code) != 3 or not (code.isascii() and code.isdecimal()):
            raise BadAnswerError("what answers is no HTTP server")
        self.status = int(code)
        pairs = (field.partition(":") for field in fields)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        self._how = self._length()

    def _length(self) -> _How:
        """RFC 9112, section 6.3."""
        if self._upgraded and self.status in (_UPGRADED, 200):
            return "done"
        if self.status in _NO_BODY:
            return "done"
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            return "size"
        length = self.headers.get("content-length")
        if length is None:
            return "to-end"
        if not (length.isascii() and length.isdecimal()):
            raise BadAnswerError("an answer of the engine has no length")
        self._left = int(length)
        return "length" if self._left else "done"

    def _take(self) -> bool:
        if self._left > MOST:
            raise BadAnswerError("an answer of the engine is larger than 1 MiB")
        if len(self._buffer) < self._left:
            return False
        taken, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
        if self._how == "length":
            self.body, self._how = taken, "done"
        else:
            self.body, self._how = self.body + taken[:-2], "size"
        return True


def _hexadecimal(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        raise BadAnswerError("a chunk of the engine has no size") from None
