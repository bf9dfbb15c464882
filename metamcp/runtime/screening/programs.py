"""External programs that judge an image: no shell, a deadline, and a bound on what they may write."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

_TAIL = 600
_END_SECONDS = 5.0


class ProgramFailedError(Exception):
    """It could not be started, took too long, or wrote too much; the text says which."""


@dataclass(frozen=True, slots=True)
class Ran:
    """``tail``: the end of its standard error."""

    code: int
    output: bytes
    tail: str


class Programs:
    """For any thread. None outlives ``close``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def run(self, argv: Sequence[str], env: Mapping[str, str], seconds: float, most_bytes: int) -> Ran:
        """Run ``argv`` to its end. Blocks, at most ``seconds`` and some to end it. Raises ProgramFailedError."""
        with tempfile.TemporaryFile() as errors:
            process = self._begin(argv, env, errors)
            try:
                output = _read(process, time.monotonic() + seconds, most_bytes, argv[0])
                if self._closed:
                    raise ProgramFailedError(f"{argv[0]} was ended with the gateway")
                return Ran(process.returncode, output, _tail(errors))
            finally:
                self._end(process)

    def close(self) -> None:
        """End those that run, with whatever they started; later ones are refused. Does not block."""
        with self._lock:
            self._closed = True
            for process in self._running:
                _kill(process)

    def _begin(self, argv: Sequence[str], env: Mapping[str, str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise ProgramFailedError(f"{argv[0]} is not started any more: the gateway is shutting down")
            try:
                process = subprocess.Popen(
                    argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                    start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise ProgramFailedError(f"{argv[0]} cannot be started: {error.strerror}") from error
            self._running.add(process)
            return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(process)
            _kill(process)
        process.wait(_END_SECONDS)
        if process.stdout is not None:
            process.stdout.close()


def _read(process: subprocess.Popen[bytes], until: float, most_bytes: int, name: str) -> bytes:
    output = bytearray()
    assert process.stdout is not None  # noqa: S101 - for the type checker
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, until - time.monotonic())):
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                break
            output += chunk
            if len(output) > most_bytes:
                raise ProgramFailedError(f"{name} wrote more than {most_bytes >> 20} MiB")
    try:
        process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise ProgramFailedError(f"{name} did not end in time") from None
    return bytes(output)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With whatever it started: they are one process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _tail(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _TAIL))
    return errors.read(_TAIL).decode("utf-8", "replace").strip()
