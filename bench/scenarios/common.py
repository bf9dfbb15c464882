"""What every scenario needs: whom it measures, and many sessions at once."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from bench.accounting.containers import containers
from bench.accounting.pauses import PauseSampler
from bench.accounting.processes import memory
from bench.accounting.window import Window
from bench.client.factory import Factory, make_factory
from bench.client.session import FAILURES, NOW, Json, Session, Settings, why

_CLOSE_SECONDS = 30.0
_SHOWN = 160
LISTENING = {"http": "http-listen", "sse": "sse", "http-listen": "http-listen"}
"""The transport by which a client of another one waits for messages."""


@dataclass(frozen=True)
class Target:
    """Who is measured.

    ``url``: as ``make_factory`` takes it. ``pids``: root processes of the gateway. ``engine``: count the Docker engine,
    too. ``labels``: all of which its containers carry, as ``name=value``. ``parallel``: sessions opened at a time.
    """

    transport: str
    url: str
    settings: Settings = field(default_factory=Settings)
    headers: Sequence[str] = ()
    pids: Sequence[int] = ()
    engine: bool = False
    labels: Sequence[str] = ()
    parallel: int = 4

    def factory(self, receive_buffer: int | None = None) -> Factory:
        labels = dict(label.split("=", 1) for label in self.labels)
        return make_factory(
            self.transport, self.url, self.settings, headers=self.headers, labels=labels, receive_buffer=receive_buffer
        )

    def listening(self) -> Target:
        """The same, by clients that hold a stream open. Raises KeyError without HTTP."""
        return replace(self, transport=LISTENING[self.transport])

    def watch(self) -> Watch:
        return Watch(self)

    def memory(self) -> dict[str, dict[str, float]]:
        return memory(self.pids)

    def containers(self) -> set[str]:
        """Ids of the running ones."""
        return containers(self.labels)

    def accounts(self) -> Json:
        """Memory, where processes are known, and the number of containers, where labels are."""
        found: Json = {"memory_mib": self.memory()} if self.pids else {}
        return found | ({"containers": len(self.containers())} if self.labels else {})


class Watch:
    """CPU, and the pauses of the machine, between its making and ``stop``, within a ``with``."""

    def __init__(self, target: Target) -> None:
        self._pauses: PauseSampler | None = PauseSampler()
        self._window = Window(target.pids, target.engine)
        self.used: dict[str, float] = {}
        """CPU seconds by part, known after ``stop``."""
        self.state: Json = {}
        """``machine`` as Window has it and ``pauses`` as PauseSampler has them, known after ``stop``."""

    def stop(self) -> None:
        self.used, machine = self._window.stop()
        if self._pauses is not None:
            pauses, self._pauses = self._pauses, None
            self.state = {"machine": machine, "pauses": pauses.stop()}

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass(frozen=True)
class Opened:
    """``failures``: how many by what they said. ``seconds``: how long all of it took."""

    sessions: list[Session]
    failures: dict[str, int]
    seconds: float


async def open_sessions(factory: Factory, count: int, parallel: int) -> Opened:
    """That many, a few at a time."""
    gate = asyncio.Semaphore(parallel)
    sessions: list[Session] = []
    failures: collections.Counter[str] = collections.Counter()

    async def one() -> None:
        async with gate:
            session = factory()
            try:
                await session.open()
            except FAILURES as error:
                failures[why(error)[:_SHOWN]] += 1
                await close_quietly(session)
            else:
                sessions.append(session)

    begun = NOW()
    await asyncio.gather(*(one() for _ in range(count)))
    return Opened(sessions, dict(failures), round(NOW() - begun, 3))


async def close_quietly(session: Session, graceful: bool = True) -> None:
    """Whatever comes of it, within a bound."""
    with suppress(*FAILURES):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await session.close(graceful)


async def close_all(sessions: Sequence[Session], graceful: bool = True, parallel: int = 16) -> None:
    gate = asyncio.Semaphore(parallel)

    async def one(session: Session) -> None:
        async with gate:
            await close_quietly(session, graceful)

    await asyncio.gather(*(one(session) for session in sessions))
