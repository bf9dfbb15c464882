"""Keeps a supervisor process running beside gunicorn's master (all-in-one mode)."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping

PARENT_VARIABLE = "METAMCP_PARENT_PID"
"""Set for the supervisor: when the process with this id is gone, the supervisor ends too."""

_STOP_SECONDS = 10.0
_RESTART_FIRST, _RESTART_MOST, _STEADY_SECONDS = 0.5, 15.0, 30.0


class Keeper:
    """Keeps one supervisor process running, for the gunicorn master. Thread-safe; one thread of its own.

    The master reaps unknown children by itself (``waitpid(-1)``), so the exit status may be lost to it; the end is
    seen through a pidfd all the same.
    """

    def __init__(self, environ: Mapping[str, str], log: Callable[[str], None]) -> None:
        self._environ = dict(environ) | {PARENT_VARIABLE: str(os.getpid())}
        self._log = log
        self._ending = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def start(self) -> None:
        self._spawn()
        self._thread.start()

    def stop(self, timeout: float = _STOP_SECONDS) -> None:
        """SIGTERM, and SIGKILL after ``timeout`` seconds."""
        self._ending.set()
        process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._log("the supervisor did not end in time; killing it")
                process.kill()
                process.wait(5)
        self._thread.join(1.0)

    def reload(self) -> None:
        """SIGHUP: read the configuration again."""
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def _spawn(self) -> None:
        # Held back until the process handles it: before that, it would end it. The mask is this thread's alone.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            # A session of its own: Ctrl-C is for the master, which stops the web workers first and us last.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "metamcp", "supervisor"], env=self._environ, start_new_session=True
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)

    def _keep(self) -> None:
        pause = _RESTART_FIRST
        while not self._ending.is_set():
            begun = time.monotonic()
            pid = self._wait_for_end()
            if time.monotonic() - begun > _STEADY_SECONDS:
                pause = _RESTART_FIRST
            if self._ending.wait(pause):
                return
            self._log(f"the supervisor (pid {pid}) ended; starting a new one")
            pause = min(pause * 2, _RESTART_MOST)
            self._spawn()

    def _wait_for_end(self) -> int:
        process = self._process
        assert process is not None  # noqa: S101  spawned by start
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return process.pid  # it ended, and the master reaped it already
        try:
            select.select([descriptor], [], [])
        finally:
            os.close(descriptor)
        return process.pid
