"""The audit log: JSON lines appended to a file by a thread of its own, so that no disk can hold up a call.

The file belongs to the operator: it may be moved away or removed at any time (logrotate), and is made anew then. What
cannot be written is counted, said once in the gateway's log, and said again with the count when writing works again.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from metamcp.telemetry import logs

QUEUE_LINES = 10_000
_BATCH_LINES = 256

_log = logs.get("telemetry.audit")


class AuditLog:
    """Usable from any thread. ``wall``: Unix seconds. Raises OSError when the file cannot be opened at the start;
    ``path`` None: nothing is written."""

    def __init__(self, path: Path | None, wall: Callable[[], float] = time.time, size: int = QUEUE_LINES) -> None:
        self._path = path
        self._wall = wall
        self._queue: queue.Queue[bytes | None] = queue.Queue(size)
        self._file = _File(path) if path is not None else None
        self._lost = 0
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        if self._file is not None:
            self._thread.start()

    @property
    def lost(self) -> int:
        """Lines that were not written since the last one that was."""
        return self._lost

    def write(self, event: str, **members: object) -> None:
        """Append one line. Never blocks; with the queue full the line is lost and counted."""
        if self._file is None:
            return
        said = {name: value for name, value in members.items() if value not in ("", None)}
        line = json.dumps({"time": round(self._wall(), 3), "event": event, **said}).encode() + b"\n"
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self._lose(1, "its queue is full")

    def close(self, timeout: float = 2.0) -> None:
        """Write what waits, as far as that works within ``timeout`` seconds."""
        if self._file is not None:
            with suppress(queue.Full):
                self._queue.put(None, timeout=timeout)
            self._thread.join(timeout)

    # --- the writer's thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        assert self._file is not None  # noqa: S101  else there is no thread
        while lines := self._batch():
            ended = lines[-1] is None
            written = [line for line in lines if line is not None]
            try:
                self._file.append(b"".join(written))
                self._regain()
            except OSError as error:
                self._lose(len(written), error.strerror or "it cannot be written")
            if ended:
                break
        self._file.close()

    def _batch(self) -> list[bytes | None]:
        lines = [self._queue.get()]
        while len(lines) < _BATCH_LINES and lines[-1] is not None:
            try:
                lines.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return lines

    def _lose(self, count: int, reason: str) -> None:
        with self._counting:
            first, self._lost = not self._lost, self._lost + count
        if first and count:
            _log.error("audit-not-written", extra=logs.fields(path=self._path, reason=reason))

    def _regain(self) -> None:
        with self._counting:
            lost, self._lost = self._lost, 0
        if lost:
            _log.warning("audit-written-again", extra=logs.fields(path=self._path, lost=lost))


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
