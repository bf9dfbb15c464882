"""How much memory the containers use: asked of the engine when somebody wants to know, and then kept for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Protocol

from metamcp.concurrency.reactor import Reactor, Timer
from metamcp.concurrency.tasks import Workers
from metamcp.errors import EngineUnavailable

KEPT_SECONDS = 5.0
"""A measurement is good for so long."""

WAIT_SECONDS = 1.0
"""So long a question may take, whatever the engine does; what is not known by then is unknown."""


class Statistics(Protocol):
    """The part of the engine that is asked."""

    def stats_memory(self, container_id: str) -> int | None:
        """Blocks. Raises EngineUnavailable."""


class ContainerMemory:
    """Owned by the reactor's thread. ``names`` gives the containers of living children."""

    def __init__(
        self, reactor: Reactor, workers: Workers, engine: Statistics, names: Callable[[], Collection[str]]
    ) -> None:
        self._reactor = reactor
        self._workers = workers
        self._engine = engine
        self._names = names
        self._known: dict[str, int | None] = {}
        self._measured = float("-inf")
        self._asking = False
        self._waiting: list[Callable[[], None]] = []
        self._limit: Timer | None = None

    def of(self, name: str) -> int | None:
        """Bytes in use; None when they are not known, or no longer."""
        fresh = self._reactor.clock() - self._measured <= KEPT_SECONDS + WAIT_SECONDS
        return self._known.get(name) if fresh else None

    def when_known(self, then: Callable[[], None]) -> None:
        """Call back when the figures are as fresh as they get: at once, or within WAIT_SECONDS."""
        names = self._names()
        if not names or self._reactor.clock() - self._measured < KEPT_SECONDS:
            then()
            return
        self._waiting.append(then)
        if len(self._waiting) == 1:
            self._limit = self._reactor.call_later(WAIT_SECONDS, self._answer)
        if not self._asking:
            self._asking = self._workers.submit(lambda: self._ask(names))

    def _ask(self, names: Collection[str]) -> None:
        """On a worker's thread. With many containers, as many as there is time for."""
        found: dict[str, int | None] = {}
        until = time.monotonic() + WAIT_SECONDS
        try:
            for name in names:
                if time.monotonic() < until:
                    found[name] = self._engine.stats_memory(name)
        except EngineUnavailable:
            pass  # whoever asks sees that nothing is known
        self._reactor.call_soon(lambda: self._take(found))

    def _take(self, found: dict[str, int | None]) -> None:
        self._asking = False
        self._known, self._measured = found, self._reactor.clock()
        self._answer()

    def _answer(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then()
