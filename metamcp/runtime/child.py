"""One server that runs, as a process or in a container. Born once, dies once; knows bytes and exits.

The stop ladder: end of input -> grace -> SIGTERM -> grace -> the container is removed by force and the process
killed. A container that ignores both is ended by the engine (``Teardown``). What carries the bytes is a ``Process``
(``process.interface``).
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

from metamcp.concurrency.outflow import Outflow
from metamcp.concurrency.reactor import Reactor, Timer
from metamcp.errors import MetaMCPError
from metamcp.runtime.command.launch import LaunchPlan
from metamcp.runtime.process.interface import Hears, NotStarted, Process
from metamcp.runtime.states import OVER, ChildState, may_follow
from metamcp.runtime.stderr import StderrRing
from metamcp.telemetry import logs

STDIN_LIMIT = 64 * 1024 * 1024
"""Bytes that may wait for a server that does not read its input, before the child is given up."""

_SHORT_ID = 12
_SHORT_SESSION = 8  # its id is a secret
_KILLED = 128 + signal.SIGKILL
_CLI_CHATTER = ("Run 'docker", "See 'docker", "Run 'podman", "See 'podman")
"""What the CLI says after every error of its own, and after the line that tells what is wrong."""


_log = logs.get("runtime.child")


@dataclass(frozen=True, slots=True)
class Grace:
    """Seconds on each rung of the stop ladder."""

    eof: float = 1.5
    term: float = 1.5
    kill: float = 3.0


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended. ``code`` is the exit code, or None when the process itself died by ``signal``."""

    code: int | None
    signal: str | None
    stderr: tuple[str, ...] = ()
    reason: str = ""  # why we or somebody else ended it, or why it could not start; empty when it ended by itself
    oom_killed: bool = False
    hint: str = ""  # what to change, where it was our own confinement that stopped it

    @property
    def last_words(self) -> str:
        """The last line of standard error that says something; empty when there is none."""
        said = (line.strip() for line in reversed(self.stderr) if not line.startswith(_CLI_CHATTER))
        return next((line for line in said if line), "")

    def describe(self) -> str:
        """One phrase for logs and errors."""
        if self.reason:
            return self.reason
        if self.code is not None and self.signal is None:
            return f"it exited with code {self.code}"
        return f"it was ended by {self.signal}"


class Child:
    """Owned by the reactor's thread. ``on_data(bytes)`` gets standard output in chunks; ``on_exit(Exit)`` is
    called exactly once, after the last chunk. ``explain(exit, tell)`` is asked what the death of a container was that
    nobody here wanted, and calls ``tell`` soon."""

    def __init__(
        self,
        reactor: Reactor,
        server: str,
        session: str,
        grace: Grace,
        remove: Callable[[Child], None],
    ) -> None:
        self.server = server
        self.session = session
        self.state = ChildState.STARTING
        self.since = reactor.clock()
        self.born = self.since
        self.begun = self.since  # when its start was allowed to begin
        self.plan: LaunchPlan | None = None
        self.command: list[str] | None = None  # what was run, secrets masked; None until it is known
        self.pid: int | None = None
        self.container_id = ""  # "" while unknown
        self.exit: Exit | None = None
        self.error: MetaMCPError | None = None  # why it could not be started
        self.stderr = StderrRing()
        self.on_data: Callable[[bytes], None] = lambda _chunk: None
        self.on_exit: Callable[[Exit], None] = lambda _exit: None
        self.on_change: Callable[[], None] = lambda: None  # its state is another one
        self.explain: Callable[[Exit, Callable[[Exit], None]], None] = lambda ended, tell: tell(ended)
        self.queued = False  # its start waits for its turn
        self.give_up: Callable[[], None] = lambda: None  # cut its start short
        self._reactor = reactor
        self._grace = grace
        self._remove = remove
        self._process: Process | None = None
        self._stdin: Outflow | None = None
        self._unsent: list[bytes] = []
        self._rung: Timer | None = None
        self._reason = ""

    # --- life ------------------------------------------------------------------------------------------

    def adopt(self, plan: LaunchPlan, process: Process) -> None:
        """It runs: watch what it says, and its end."""
        self.plan, self._process, self.pid = plan, process, process.pid
        self.container_id = self.container_id or process.container_id
        process.watch(self._reactor, Hears(lambda chunk: self.on_data(chunk), self.stderr.feed, self._ended))
        self._stdin = Outflow(self._reactor, process.stdin, STDIN_LIMIT, self._stdin_lost)
        _log.info(
            "child-born",
            extra=logs.fields(
                server=self.server, pid=self.pid, container=plan.container_name or None,
                id=process.container_id[:_SHORT_ID] or None, session=self.short_session or None, command=plan.shown,
            ),
        )
        for data in self._unsent:
            self._stdin.write(data)
        self._unsent.clear()
        if self.state is ChildState.STOPPING:
            self._close_stdin()

    def not_started(self, refusal: NotStarted) -> None:
        """The engine did not start it, for a reason that the engine gives."""
        self.stderr.feed(f"{refusal.text}\n".encode() if refusal.text else b"")
        self.stderr.end()
        self._look_into(Exit(refusal.code, None, self.stderr.tail(), self._reason))

    def fail(self, error: MetaMCPError) -> None:
        """It could not be started at all."""
        self.error = error
        self._finish(Exit(None, None, (), error.text))

    def write(self, data: bytes) -> None:
        """Bytes for standard input, in order. Silently dropped once the child is stopping."""
        if self.state in OVER:
            return
        if self._stdin is None:
            self._unsent.append(data)
        else:
            self._stdin.write(data)

    @property
    def container_name(self) -> str:
        """"" while unknown, and for what is no container."""
        return self.plan.container_name if self.plan is not None else ""

    @property
    def short_session(self) -> str:
        """Of the session that it is for, as it may be shown."""
        return self.session[:_SHORT_SESSION]

    @property
    def _advice(self) -> str:
        """Where it could not be started: what to do, if the reason does not say that itself."""
        advice = self.error.advice if self.error is not None else ""
        return "" if self.error is None or advice in self.error.text else advice

    @property
    def _unborn_command(self) -> str | None:
        """What would have told its birth, where there was none."""
        return self.plan.shown if self.plan is not None and self._process is None else None

    def become(self, state: ChildState) -> None:
        if state is not self.state and may_follow(self.state, state):
            self.state, self.since = state, self._reactor.clock()
            self.on_change()

    @property
    def runs(self) -> bool:
        """It has been started, and has not ended."""
        return self._process is not None and self.exit is None

    @property
    def unread(self) -> int:
        """Bytes that wait for its server to read its input, or to run."""
        return self._stdin.pending if self._stdin is not None else sum(map(len, self._unsent))

    # --- the stop ladder -------------------------------------------------------------------------------

    def stop(self, reason: str = "") -> None:
        """Climb the ladder; ``on_exit`` tells when it is over. Idempotent; the first reason stays."""
        if self.state in OVER:
            return
        self._reason = reason
        self.become(ChildState.STOPPING)
        if self._process is not None:
            self._close_stdin()
        elif self.queued:
            self._reactor.call_soon(lambda: self._finish(Exit(None, None, (), reason)))
        else:
            self.give_up()

    def _close_stdin(self) -> None:
        if self._stdin is not None and self._process is not None:
            self._stdin.close()
            self._process.close_stdin()
        self._rung = self._reactor.call_later(self._grace.eof, self._terminate)

    def _terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()
        self._rung = self._reactor.call_later(self._grace.term, self._kill)

    def _kill(self) -> None:
        if self.is_container:
            # The engine ends the container, and the process that stands for it then ends by itself; killed first, it
            # could not.
            self._remove(self)
            self._rung = self._reactor.call_later(self._grace.kill, self._kill_process)
        else:
            self._kill_process()

    def _kill_process(self) -> None:
        if self._process is not None:
            self._process.kill()

    @property
    def is_container(self) -> bool:
        return bool(self.container_name)

    # --- its end ---------------------------------------------------------------------------------------

    def _stdin_lost(self, reason: str) -> None:
        # A dead reader shows as EPIPE before the exit does; then the exit tells the story better than we can.
        self._reactor.call_later(0.5, lambda: self.stop(f"it no longer reads its input: {reason}"))

    def _ended(self, status: int) -> None:
        if self._stdin is not None:
            self._stdin.close()
        if self._process is not None:
            self._process.close()
        self.stderr.end()
        self._look_into(_exit_of(status, self.is_container, self.stderr.tail(), self._reason))

    def _look_into(self, ended: Exit) -> None:
        if self.is_container and self.state is not ChildState.STOPPING:
            self.become(ChildState.STOPPING)  # it takes no more, while its end is looked into
            self.explain(ended, self._finish)
        else:
            self._finish(ended)

    def _finish(self, ended: Exit) -> None:
        if self.exit is not None:
            return
        self.exit = ended
        if self._rung is not None:
            self._rung.cancel()
        self.become(ChildState.EXITED)
        _log.info(
            "child-died",
            extra=logs.fields(
                server=self.server, pid=self.pid, container=self.container_name or None,
                session=self.short_session or None, exit_code=ended.code, signal=ended.signal,
                reason=ended.reason or None, oom_killed=ended.oom_killed or None,
                seconds=round(self.since - self.born, 3), stderr=" | ".join(ended.stderr[-5:]) or None,
                hint=ended.hint or self._advice or None, command=self._unborn_command,
            ),
        )
        self.on_exit(ended)


def _exit_of(status: int, container: bool, stderr: tuple[str, ...], reason: str) -> Exit:
    """A container that was ended by a signal shows it as 128 + number, a process shows the signal itself."""
    if status < 0:
        return Exit(None, signal.Signals(-status).name, stderr, reason)
    if container and status == _KILLED:
        return Exit(status, signal.SIGKILL.name, stderr, reason)
    return Exit(status, None, stderr, reason)
