"""A process of the operating system: a plain server, or ``docker run`` that stands for its container."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable

from metamcp.concurrency.crew import Crew
from metamcp.concurrency.reactor import Reactor
from metamcp.runtime.command.launch import LaunchPlan
from metamcp.runtime.process.interface import CHUNK, READS_PER_TURN, Hears, Start


class CommandLine:
    """Plans are run by their argv."""

    crews: tuple[Crew, ...] = ()

    def start(self, plan: LaunchPlan, start: Start) -> None:
        start.begun(OsProcess(_popen(plan)))

    def close(self) -> None:
        """There is nothing of its own."""


class OsProcess:
    """A ``docker run`` forwards SIGTERM to its container, whose init (``--init``) passes it on."""

    container_id = ""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin and process.stdout and process.stderr  # noqa: S101  opened as pipes by _popen
        self._process = process
        self._pipes = (process.stdin, process.stdout, process.stderr)
        self.pid: int | None = process.pid
        self.stdin = process.stdin.fileno()
        self._pidfd = -1
        self._reactor: Reactor | None = None
        self._hears: Hears | None = None

    def watch(self, reactor: Reactor, hears: Hears) -> None:
        self._reactor, self._hears = reactor, hears
        for pipe in self._pipes:
            os.set_blocking(pipe.fileno(), False)
        self._pidfd = os.pidfd_open(self._process.pid)
        reactor.watch_read(self._pipes[1].fileno(), lambda: self._pump(1, hears.stdout, READS_PER_TURN))
        reactor.watch_read(self._pipes[2].fileno(), lambda: self._pump(2, hears.stderr, READS_PER_TURN))
        reactor.watch_read(self._pidfd, self._ended)

    def close_stdin(self) -> None:
        self._close_pipe(0)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        if self._reactor is not None and self._pidfd >= 0:
            self._reactor.forget(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        for number in range(3):
            self._close_pipe(number)

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd >= 0:
            signal.pidfd_send_signal(self._pidfd, number)

    def _close_pipe(self, number: int) -> None:
        pipe = self._pipes[number]
        if self._reactor is not None and not pipe.closed:
            self._reactor.forget(pipe.fileno())
            pipe.close()

    def _pump(self, number: int, consume: Callable[[bytes], None], most: int) -> None:
        pipe = self._pipes[number]
        for _ in range(0 if pipe.closed else most):
            try:
                chunk = os.read(pipe.fileno(), CHUNK)
            except BlockingIOError:
                return
            if not chunk:
                if self._reactor is not None:
                    self._reactor.forget(pipe.fileno())
                return
            consume(chunk)
            if len(chunk) < CHUNK:
                return

    def _ended(self) -> None:
        if self._hears is None or self._pidfd < 0:
            return
        status = self._process.wait(timeout=1)
        # What was written before death is still in the pipes. A grandchild may hold them open for ever, so
        # read what is there and do not wait for the end of file.
        for number, consume in ((2, self._hears.stderr), (1, self._hears.stdout)):
            self._pump(number, consume, READS_PER_TURN * 64)
        self._hears.ended(status)


def _popen(plan: LaunchPlan) -> subprocess.Popen[bytes]:
    """A session of its own: a Ctrl-C at the operator's terminal is for the gateway, which then stops its children."""
    return subprocess.Popen(
        plan.argv,
        env=dict(plan.env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )
