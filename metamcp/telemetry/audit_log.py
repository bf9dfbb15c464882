"""The audit log: JSON lines appended to a file by a thread of its own, so that no disk can hold up a call.

The thread takes what came within ``GATHER_SECONDS`` at once: to be woken for each line would cost a busy gateway more
than the line itself.

The file belongs to the operator: it may be moved away or removed at any time (logrotate), and is made anew then. What
cannot be written is counted, said once in the gateway's log, and said again with the count when writing works again.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from metamcp.telemetry import logs

QUEUE_LINES = 10_000

GATHER_SECONDS = 0.02
"""How long a line may wait for others before it is written."""

_encode = msgspec.json.Encoder().encode
_log = logs.get("telemetry.audit")


class Entry(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One line, its members in their order (docs/operations.md). What is empty is left out."""

    time: float = 0.0  # Unix seconds; the log sets it
    event: str
    principal: str = ""
    address: str = ""
    endpoint: str = ""
    transport: str = ""
    session: str = ""
    request: str = ""
    method: str = ""
    server: str = ""
    tool: str = ""
    scheme: str = ""
    decision: str = ""
    rule: str = ""
    result: str = ""
    code: int | None = None
    seconds: float | None = None
    status: int | None = None
    omitted: int | None = None
    action: str = ""
    about: str = ""

    def said(self) -> dict[str, object]:
        """What the line has."""
        usual = Entry(event="")
        members = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in members if value != getattr(usual, name)}


class AuditLog:
    """Usable from any thread. ``wall``: Unix seconds. Raises OSError when the file cannot be opened at the start;
    ``path`` None: nothing is written."""

    def __init__(self, path: Path | None, wall: Callable[[], float] = time.time, size: int = QUEUE_LINES) -> None:
        self._path = path
        self._wall = wall
        self._size = size
        self._lines: deque[bytes] = deque()
        self._some = threading.Event()  # there are lines, or it is the end
        self._ending = threading.Event()
        self._file = _File(path) if path is not None else None
        self._lost = 0
        self.lost_ever = 0
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        if self._file is not None:
            self._thread.start()

    @property
    def lost(self) -> int:
        """Lines that were not written since the last one that was."""
        return self._lost

    @property
    def waiting(self) -> int:
        """Lines that are to be written."""
        return len(self._lines)

    def write(self, entry: Entry) -> None:
        """Append one line. Never blocks; with the queue full the line is lost and counted."""
        if self._file is None:
            return
        if len(self._lines) >= self._size:
            self._lose(1, "its queue is full")
            return
        entry.time = round(self._wall(), 3)
        self._lines.append(_line(entry))
        if not self._some.is_set():
            self._some.set()

    def close(self, timeout: float = 2.0) -> None:
        """Write what waits, as far as that works within ``timeout`` seconds."""
        if self._file is not None:
            self._ending.set()
            self._some.set()
            self._thread.join(timeout)

    # --- the writer's thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        assert self._file is not None  # noqa: S101  else there is no thread
        while not self._ending.is_set():
            self._some.wait()
            # Nobody has to wake this thread as long as lines come: it looks again by itself.
            while not self._ending.wait(GATHER_SECONDS) and self._lines:
                self._append(self._file)
            self._some.clear()
            if self._lines:  # one came before that, and found it set
                self._some.set()
        self._append(self._file)
        self._file.close()

    def _append(self, file: _File) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        try:
            if lines:
                file.append(b"".join(lines))
                self._regain()
        except OSError as error:
            self._lose(len(lines), error.strerror or "it cannot be written")

    def _lose(self, count: int, reason: str) -> None:
        with self._counting:
            first, self._lost = not self._lost, self._lost + count
            self.lost_ever += count
        if first and count:
            _log.error("audit-not-written", extra=logs.fields(path=self._path, reason=reason))

    def _regain(self) -> None:
        with self._counting:
            lost, self._lost = self._lost, 0
        if lost:
            _log.warning("audit-written-again", extra=logs.fields(path=self._path, lost=lost))


def _line(entry: Entry) -> bytes:
    """In ASCII, so that nothing in a client's text can be taken for an end of line or an order to a terminal."""
    try:
        line = _encode(entry)
    except UnicodeEncodeError:  # half a character
        line = b""
    if not line or not line.isascii():
        line = json.dumps(entry.said(), separators=(",", ":")).encode()
    return line + b"\n"


class _File:
    """Opened anew when its path is another file, or none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._torn = False  # the last line has no end
        self._open()

    def append(self, data: bytes) -> None:
        """All of it, or OSError; a line that was cut off is ended before the next one."""
        self._follow()
        rest = memoryview(b"\n" + data if self._torn else data)
        while rest:
            written = os.write(self._fd, rest)
            self._torn = rest[written - 1] != 0x0A
            rest = rest[written:]

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
        self._torn = False

    def _follow(self) -> None:
        try:
            there, ours = self._path.stat(), os.fstat(self._fd)
            same = (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
        except OSError:
            same = False
        if not same:
            self.close()
            self._open()
