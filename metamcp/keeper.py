"""Keeps a supervisor process running beside gunicorn's master (all-in-one mode).

Where both are one user, the master does it itself. Where the web tier is another user, a process of its own does it,
which knows the environment with the secrets and does what the master says through a channel. It is this file as a
program (``separation.py`` starts it), so it loads little.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping

from metamcp.config.settings import Settings
from metamcp.telemetry import logs

PARENT_VARIABLE = "METAMCP_PARENT_PID"
"""Set for the supervisor: when the process with this id is gone, the supervisor ends too."""

_STOP_SECONDS = 10.0
_KILL_SECONDS = 5.0
_START, _RELOAD = b"s", b"r"  # what the channel carries; its end means stop
_RESTART_FIRST, _RESTART_MOST, _STEADY_SECONDS = 0.5, 15.0, 30.0


class Keeper:
    """Keeps one supervisor process running, for the gunicorn master. Thread-safe; one thread of its own.

    The master reaps unknown children by itself (``waitpid(-1)``), so the exit status may be lost to it; the end is
    seen through a pidfd all the same.
    """

    lost = False
    """It lives as long as its process (compare DistantKeeper)."""

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
                process.wait(_KILL_SECONDS)
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


class DistantKeeper:
    """The master's end of the channel to the keeper, with the same methods. One thread, which sees the keeper's end;
    ``on_lost`` is called there when nobody asked for it."""

    def __init__(self, channel: int, on_lost: Callable[[], None]) -> None:
        self._channel = socket.socket(fileno=channel)
        self._channel.set_inheritable(False)
        self._on_lost = on_lost
        self._ending = threading.Event()
        self._gone = threading.Event()
        self.lost = False
        """The keeper ended by itself."""

    def start(self) -> None:
        self._say(_START)
        threading.Thread(target=self._watch, name="keeper-watch", daemon=True).start()

    def reload(self) -> None:
        """SIGHUP for the supervisor."""
        self._say(_RELOAD)

    def stop(self) -> None:
        """Returns when supervisor and keeper are gone, after a bounded time at most."""
        self._ending.set()
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)
        self._gone.wait(_STOP_SECONDS + 2 * _KILL_SECONDS)

    def forget(self) -> None:
        """In a worker: the channel is the master's, and must end with it."""
        self._channel.close()

    def _say(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # it is gone, which the thread sees
            self._channel.sendall(word)

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            self._channel.recv(1)  # the keeper never says anything
        self.lost = not self._ending.is_set()
        self._gone.set()
        if self.lost:
            self._on_lost()


def keep(channel: socket.socket, environ: Mapping[str, str], log: Callable[[str], None]) -> None:
    """Do what a master says through ``channel`` until it ends; then the supervisor is ended, too."""
    keeper: Keeper | None = None
    while word := channel.recv(1):
        if word == _START and keeper is None:
            keeper = Keeper(environ, log)
            keeper.start()
        elif word == _RELOAD and keeper is not None:
            keeper.reload()
    if keeper is not None:
        keeper.stop()


def main() -> None:
    """``python -m metamcp.keeper CHANNEL``, the descriptor of a socket whose other end the master has."""
    settings = Settings.from_env(os.environ)
    logs.configure(settings.log_level, settings.log_format)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        channel.set_inheritable(False)
        keep(channel, os.environ, logs.get("keeper").warning)


if __name__ == "__main__":
    main()
