"""What the death of a container was, from what the engine said about it.

With ``--rm`` nothing is left to be inspected afterwards. The events are: ``oom`` when the kernel killed a process of
the container for want of memory, ``kill`` when somebody asked the engine to send a signal, ``die`` with the exit code.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from signal import SIGKILL, SIGTERM, Signals

from metamcp.concurrency.reactor import Reactor, Timer
from metamcp.concurrency.tasks import Workers
from metamcp.errors import EngineUnavailable
from metamcp.runtime.child import Exit
from metamcp.runtime.command.launch import LaunchPlan
from metamcp.runtime.cuts import CUT_HINT
from metamcp.runtime.diagnosis.advice import advice, socket_path
from metamcp.runtime.facts import EngineEvent
from metamcp.runtime.process.interface import ENGINE_REFUSED

ENGINE_WENT = "the Docker engine went away, and this container with it"
KILLED = "somebody had the engine send it"
CONNECTION_CUT = "its connection to the Docker engine was cut, while the engine still answers"

PATIENCE = 1.0
"""Seconds that the exit of a child may wait to be explained."""

OOM_SECONDS = 5.0
"""An ``oom`` further back than this before the death was that of another process, which the server survived. The main
process itself takes up to 0.8 s from its ``oom`` to ``die`` (measured, 20.10, two busy cores)."""

_STOP_SECONDS = 20.0  # between the SIGTERM of whoever stops a container and its end; docker stop: 10, dockerd: 15
_KILLED, _CLI_FAILED = 128 + SIGKILL, 125
_UNTOLD = -1  # Podman does not say which signal it was
_CONNECTION_LOST = re.compile(r"error waiting for container|error during connect|unexpected EOF")
_ENGINE_SAYS = re.compile(r"^(?:docker|podman|Error): |response from daemon|OCI runtime", re.MULTILINE)
_MIB = 1024 * 1024

Tell = Callable[[Exit], None]


@dataclass(slots=True)
class Account:
    """What the engine said about one container. Times are the engine's."""

    tells_memory: bool = True
    oom: float | None = None
    signal: int | None = None  # the last one that somebody had sent through the engine
    signalled: float = 0.0
    died: float | None = None
    exit_code: int | None = None

    def hear(self, event: EngineEvent) -> None:
        if event.action == "oom":
            self.oom = event.time
        elif event.action == "kill":
            self.signal, self.signalled = event.signal or _UNTOLD, event.time
        elif event.action == "die":
            self.died, self.exit_code = event.time, event.exit_code
            if self.signal == _UNTOLD and event.exit_code is not None:
                self.signal = event.exit_code - 128

    @property
    def killed_by(self) -> Signals | None:
        """The signal that was sent through the engine shortly before the end, if one was."""
        if self.signal not in (SIGKILL, SIGTERM) or (self.died or 0.0) - self.signalled > _STOP_SECONDS:
            return None
        return Signals(self.signal)

    @property
    def ran_out_of_memory(self) -> bool:
        """Did it die of the ``oom``? Not when it lived on, ended otherwise, or was killed by somebody after it."""
        if self.oom is None or self.died is None or self.exit_code != _KILLED:
            return False
        killed_after = self.killed_by is SIGKILL and self.signalled >= self.oom
        return not killed_after and self.died - self.oom <= OOM_SECONDS

    @property
    def complete(self) -> bool:
        """Is a death by SIGKILL explained? The engine may tell ``die`` before the ``oom`` that led to it."""
        return self.died is not None and (
            self.exit_code != _KILLED or self.ran_out_of_memory or self.killed_by is not None or not self.tells_memory
        )

    @property
    def killed_by_nobody(self) -> bool:
        """SIGKILL without anybody asking the engine for it, where the engine would not say that memory was lacking."""
        return not self.tells_memory and self.exit_code == _KILLED and self.killed_by is None


@dataclass(slots=True)
class _Case:
    account: Account
    on_complete: Callable[[], None] | None = None


class Inquest:
    """Owned by the reactor's thread. ``ping`` blocks, for a worker; it raises EngineUnavailable. ``tells_memory``: the
    engine has an event for a lack of memory, as Docker does, and Podman does not."""

    def __init__(
        self, reactor: Reactor, workers: Workers, ping: Callable[[], None], tells_memory: bool = True
    ) -> None:
        self.watching = False  # do events come?
        self._reactor = reactor
        self._workers = workers
        self._ping = ping
        self._tells_memory = tells_memory
        self._cases: dict[str, _Case] = {}

    def open(self, name: str) -> None:
        """Remember what is said about the container ``name``, until ``close``."""
        self._cases[name] = _Case(Account(self._tells_memory))

    def close(self, name: str) -> None:
        self._cases.pop(name, None)

    def hear(self, event: EngineEvent) -> None:
        case = self._cases.get(event.name)
        if case is None:
            return
        case.account.hear(event)
        if case.account.complete and case.on_complete is not None:
            case.on_complete()

    def explain(self, plan: LaunchPlan, ended: Exit, tell: Tell) -> None:
        """Call ``tell`` once, within PATIENCE and usually at once, with what ``ended`` really was. For a child that
        ended without being told to."""
        case = self._cases.get(plan.container_name)
        if case is None or ended.code is None:
            tell(ended)  # the CLI itself was killed: that says nothing about the container
            return
        hearing = _Hearing(self._reactor, self._ask_engine, case, plan, ended, tell)
        if ended.code == _CLI_FAILED and any(_CONNECTION_LOST.search(line) for line in ended.stderr):
            hearing.of_lost_connection()
        else:
            hearing.begin(self.watching)

    def _ask_engine(self, answer: Callable[[bool], None]) -> None:
        def ask() -> None:
            try:
                self._ping()
            except EngineUnavailable:
                self._reactor.call_soon(lambda: answer(False))
            else:
                self._reactor.call_soon(lambda: answer(True))

        self._workers.submit(ask)


class _Hearing:
    """One exit on its way to be told."""

    def __init__(
        self,
        reactor: Reactor,
        ask_engine: Callable[[Callable[[bool], None]], None],
        case: _Case,
        plan: LaunchPlan,
        ended: Exit,
        tell: Tell,
    ) -> None:
        self._reactor = reactor
        self._ask_engine = ask_engine
        self._case = case
        self._plan = plan
        self._ended = ended
        self._tell: Tell | None = tell
        self._limit: Timer | None = None

    def begin(self, watching: bool) -> None:
        self._limit = self._reactor.call_later(PATIENCE, self._time_over)
        if watching and self._ended.code == _KILLED and not self._case.account.complete:
            self._case.on_complete = self._judge
        else:
            self._judge()

    def of_lost_connection(self) -> None:
        """At a socket it is the engine that went; on a network somebody between may have cut it."""
        host = self._plan.env.get("DOCKER_HOST", "")
        if not host or socket_path(host) is not None:
            self._conclude(dataclasses.replace(self._ended, reason=ENGINE_WENT))
            return
        self._limit = self._reactor.call_later(PATIENCE, lambda: self._lost(False))
        self._ask_engine(self._lost)

    def _lost(self, there: bool) -> None:
        cut = dataclasses.replace(self._ended, reason=CONNECTION_CUT, hint=CUT_HINT)
        self._conclude(cut if there else dataclasses.replace(self._ended, reason=ENGINE_WENT))

    def _judge(self) -> None:
        said = self._case.account
        if said.ran_out_of_memory:
            self._conclude(dataclasses.replace(self._ended, reason=_of_memory(self._plan), oom_killed=True))
        elif said.killed_by_nobody:
            reason = f"it got SIGKILL, and nobody asked the engine for that: most likely {_of_memory(self._plan)}"
            self._conclude(dataclasses.replace(self._ended, reason=reason))
        elif said.killed_by is not None:
            self._ask_engine(self._answered)  # an engine that is shutting down stops its containers itself
        else:
            self._conclude(_refused(self._plan, self._ended))

    def _answered(self, there: bool) -> None:
        self._conclude(self._killed() if there else dataclasses.replace(self._ended, reason=ENGINE_WENT))

    def _time_over(self) -> None:
        self._conclude(self._killed() if self._case.account.killed_by else self._ended)

    def _killed(self) -> Exit:
        number = self._case.account.killed_by
        reason = f"{KILLED} {number.name if number else 'a signal'} (docker kill, docker stop)"
        return dataclasses.replace(self._ended, reason=reason)

    def _conclude(self, explained: Exit) -> None:
        self._case.on_complete = None
        if self._limit is not None:
            self._limit.cancel()
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(explained)


def _refused(plan: LaunchPlan, ended: Exit) -> Exit:
    """What to do, where it was the engine that refused: a server may end with the same exit codes."""
    said = "\n".join(ended.stderr)
    if ended.code not in ENGINE_REFUSED or not _ENGINE_SAYS.search(said):
        return ended
    return dataclasses.replace(ended, hint=advice(said, plan.env.get("DOCKER_HOST", "")))


def _of_memory(plan: LaunchPlan) -> str:
    limit = f" (limit {round(plan.memory / _MIB, 1):g} MiB)" if plan.memory else ""
    return f"it ran out of memory{limit}; {plan.memory_key} of this server sets the limit"
