"""A container that is attached to over the Engine API: one upgraded connection for its three streams, and one on which
the engine tells its end."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

from metamcp.concurrency.reactor import Reactor, Timer
from metamcp.runtime.process.http_answer import Answer, BadAnswerError
from metamcp.runtime.process.interface import CHUNK, READS_PER_TURN, Hears
from metamcp.runtime.process.multiplexed import STDERR, Multiplexed, NotMultiplexedError

LAST_WORDS_SECONDS = 1.0
"""For the streams to end after the engine has told the container's end."""

_LOST = 125
"""What ``docker run`` ends with when it loses the engine."""


class AttachedContainer:
    """``streams`` is the connection of ``attach``, ``early`` what came on it already. On ``waiting`` comes the rest of
    ``answer``, to ``wait``. ``terminate`` has SIGTERM sent by somebody who may block."""

    pid: int | None = None

    def __init__(
        self,
        container_id: str,
        streams: socket.socket,
        early: bytes,
        waiting: socket.socket,
        answer: Answer,
        terminate: Callable[[], None],
    ) -> None:
        self.container_id = container_id
        self.stdin = streams.fileno()
        self.terminate = terminate
        self._streams = streams
        self._early = early
        self._waiting = waiting
        self._answer = answer
        self._frames = Multiplexed()
        self._reactor: Reactor | None = None
        self._hears: Hears | None = None
        self._silent = False  # nothing more comes on ``streams``
        self._status: int | None = None
        self._patience: Timer | None = None
        self._over = False

    def watch(self, reactor: Reactor, hears: Hears) -> None:
        self._reactor, self._hears = reactor, hears
        for sock in (self._streams, self._waiting):
            sock.setblocking(False)
        self._split(self._early)
        reactor.watch_read(self._streams.fileno(), self._read_streams)
        reactor.watch_read(self._waiting.fileno(), self._read_end)
        if self._answer.complete:
            self._take_end()

    def close_stdin(self) -> None:
        """The container's standard input ends with ours (StdinOnce)."""
        if self._reactor is not None and not self._over:
            self._reactor.watch_write(self._streams.fileno(), None)
            with suppress(OSError):  # the other side has closed it altogether
                self._streams.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """The connections are given up."""
        self._finish(-signal.SIGKILL)

    def close(self) -> None:
        self._over = True
        self._forget()
        for sock in (self._streams, self._waiting):
            sock.close()

    # --- inside ----------------------------------------------------------------------------------------

    def _read_streams(self) -> None:
        self._pump(READS_PER_TURN)

    def _pump(self, most: int) -> None:
        for _ in range(most):
            chunk = None if self._silent else _received(self._streams)
            if chunk is None:
                return
            if not chunk:
                self._fall_silent()
                return
            self._split(chunk)
            if len(chunk) < CHUNK:
                return

    def _split(self, chunk: bytes) -> None:
        if self._hears is None:
            return
        try:
            for stream, piece in self._frames.split(chunk):
                (self._hears.stderr if stream == STDERR else self._hears.stdout)(piece)
        except NotMultiplexedError as error:
            self._silent = True  # what follows cannot be understood either
            self._hears.stderr(f"{error}\n".encode())
            self._finish(_LOST)

    def _fall_silent(self) -> None:
        self._silent = True
        if self._reactor is not None:
            self._reactor.forget(self._streams.fileno())
        if self._status is not None:
            self._finish(self._status)

    def _read_end(self) -> None:
        chunk = _received(self._waiting)
        if chunk is None:
            return
        try:
            self._answer.feed(chunk) if chunk else self._answer.end()
        except BadAnswerError as error:
            self._lose(str(error))
        else:
            if self._answer.complete:
                self._take_end()

    def _take_end(self) -> None:
        """What was written before the end may still be on its way."""
        status, problem = _told(self._answer)
        if problem:
            self._lose(problem)
            return
        self._status = status
        if self._reactor is None:
            return
        self._reactor.forget(self._waiting.fileno())
        if self._silent:
            self._finish(status)
        else:
            self._patience = self._reactor.call_later(LAST_WORDS_SECONDS, lambda: self._finish(status))

    def _lose(self, why: str) -> None:
        if self._hears is not None and not self._over:
            self._hears.stderr(f"error waiting for container: {why}\n".encode())
        self._finish(_LOST)

    def _finish(self, status: int) -> None:
        if self._over or self._hears is None:
            return
        self._pump(READS_PER_TURN * 64)
        if self._patience is not None:
            self._patience.cancel()
        if not self._over:
            self._over = True
            self._forget()
            self._hears.ended(status)

    def _forget(self) -> None:
        for sock in (self._streams, self._waiting):
            if self._reactor is not None and sock.fileno() >= 0:
                self._reactor.forget(sock.fileno())


def _received(sock: socket.socket) -> bytes | None:
    """None: nothing for now; empty: it is over."""
    try:
        return sock.recv(CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _told(answer: Answer) -> tuple[int, str]:
    """(exit status, what went wrong with the question)."""
    try:
        said = json.loads(answer.body)
        problem = (said.get("Error") or {}).get("Message") or said.get("message") or ""
        return int(said.get("StatusCode", _LOST)), str(problem)
    except (ValueError, TypeError, AttributeError):
        return _LOST, "the engine's answer cannot be understood"
