"""What stands between a ``Child`` and whatever runs its server: bytes, an end, and three orders.

A ``Runtime`` starts what a plan says, on a starter's thread, and gives a ``Process``: the operating system's own
(``os_process``), or a container that is attached to over the Engine API (``attached``). ``Child`` and ``Supervisor``
do not know which.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from metamcp.concurrency.crew import Crew
from metamcp.concurrency.reactor import Reactor
from metamcp.errors import MetaMCPError
from metamcp.runtime.command.launch import LaunchPlan

REFUSED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127
ENGINE_REFUSED = (REFUSED, NOT_EXECUTABLE, NOT_FOUND)
"""Exit codes of ``docker run`` that are the engine's own: the container, or its command, could not be started."""

CHUNK = 65536  # the capacity of a pipe; a larger buffer would only be allocated in vain
READS_PER_TURN = 16  # 1 MiB: one loud server must not starve the others


@dataclass(frozen=True, slots=True)
class Hears:
    """Called on the reactor's thread. ``ended(status)`` once, after the last bytes: the exit status, or minus the
    number of the signal that ended the process itself."""

    stdout: Callable[[bytes], None]
    stderr: Callable[[bytes], None]
    ended: Callable[[int], None]


class Process(Protocol):
    """Something that runs. Owned by the reactor's thread from ``watch`` on; nothing here blocks."""

    @property
    def pid(self) -> int | None:
        """Of a process that is ours; None when there is none."""

    @property
    def container_id(self) -> str:
        """"" while it is unknown, and for what is no container."""

    @property
    def stdin(self) -> int:
        """A non-blocking descriptor to write to."""

    def watch(self, reactor: Reactor, hears: Hears) -> None:
        """Begin to read, and to wait for the end."""

    def close_stdin(self) -> None:
        """End of input."""

    def terminate(self) -> None:
        """SIGTERM to the server."""

    def kill(self) -> None:
        """It ends now, as far as we are concerned. Of a container the engine is told by others (``Teardown``)."""

    def close(self) -> None:
        """After ``ended``: free the descriptors."""


class NotStarted(Exception):
    """The engine refused: ``code`` is the exit status that ``docker run`` has for it, ``text`` what it says; empty
    when the start was given up."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Start:
    """One start under way, for its thread and for the reactor's, which may give it up. ``begun`` and ``failed`` may
    be called from any thread, one of them once."""

    def __init__(
        self, begun: Callable[[Process], None], failed: Callable[[NotStarted | MetaMCPError], None]
    ) -> None:
        self.begun = begun
        self.failed = failed
        self._lock = threading.Lock()
        self._abort: Callable[[], None] | None = None
        self._given_up = False

    @property
    def given_up(self) -> bool:
        return self._given_up

    def give_up(self) -> None:
        """Nobody wants it any more: what waits for the engine is cut short. It is ``failed`` or ``begun`` soon."""
        with self._lock:
            self._given_up = True
            if self._abort is not None:
                self._abort()

    @contextmanager
    def abortable(self, abort: Callable[[], None]) -> Iterator[None]:
        """``abort`` must not block; it is called when the start is given up meanwhile. Raises NotStarted when it
        already is."""
        with self._lock:
            if self._given_up:
                raise NotStarted(REFUSED, "")
            self._abort = abort
        try:
            yield
        finally:
            with self._lock:
                self._abort = None


class Runtime(Protocol):
    """Starts what plans say. ``crews``: threads of its own, and what waits for them."""

    @property
    def crews(self) -> tuple[Crew, ...]: ...

    def start(self, plan: LaunchPlan, start: Start) -> None:
        """For a starter's thread; what takes long goes on elsewhere. Raises NotStarted, MetaMCPError, OSError, or
        ValueError for what no process can be given, and then calls neither ``begun`` nor ``failed``."""

    def close(self) -> None:
        """Begin nothing more."""


class ByKind:
    """Containers by one runtime, plain processes by another."""

    def __init__(self, plain: Runtime, containers: Runtime) -> None:
        self._plain = plain
        self._containers = containers

    @property
    def crews(self) -> tuple[Crew, ...]:
        return (*self._plain.crews, *self._containers.crews)

    def start(self, plan: LaunchPlan, start: Start) -> None:
        (self._containers if plan.container_name else self._plain).start(plan, start)

    def close(self) -> None:
        self._containers.close()
