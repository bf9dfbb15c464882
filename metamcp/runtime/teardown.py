"""Sees to it that the container of a child that ended is really gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, Protocol

from metamcp.concurrency.reactor import Reactor, Timer
from metamcp.concurrency.tasks import Workers
from metamcp.errors import EngineUnavailable
from metamcp.telemetry import logs

Finding = Literal["absent", "removed", "left"]

AGAIN_SECONDS = 0.5
"""Before the next look at a container that is still there."""

_LOOKS = 20
_MOST_REMEMBERED = 1000  # what is forgotten is found by the next sweep, by its labels

_log = logs.get("runtime.teardown")


class Containers(Protocol):
    """The part of the engine that a teardown needs. Both raise EngineUnavailable."""

    def inspect(self, container_id: str) -> dict[str, Any] | None: ...

    def remove(self, container_id: str) -> bool: ...


def make_gone(engine: Containers, name: str) -> Finding:
    """Look for the container, remove it by force if there is one, and look again. Blocks; one request in the usual
    case. Raises EngineUnavailable."""
    if engine.inspect(name) is None:
        return "absent"
    engine.remove(name)
    return "removed" if engine.inspect(name) is None else "left"


class Teardown:
    """Owned by the reactor's thread. What cannot be asked because the engine is away is remembered (``retry``)."""

    def __init__(self, reactor: Reactor, workers: Workers, engine: Containers) -> None:
        self._reactor = reactor
        self._workers = workers
        self._engine = engine
        self._under_way: Counter[str] = Counter()
        self._remembered: dict[str, str] = {}  # container -> server
        self._on_idle: Callable[[], None] | None = None

    @property
    def names(self) -> frozenset[str]:
        """Containers that are still to be verified."""
        return frozenset(self._under_way) | frozenset(self._remembered)

    def verify(self, server: str, name: str) -> None:
        """Find out that the container is gone, or remove it."""
        self._under_way[name] += 1
        self._look(server, name, _LOOKS)

    def retry(self) -> None:
        """The engine may be back: ask again for what could not be verified."""
        remembered, self._remembered = self._remembered, {}
        for name, server in remembered.items():
            self.verify(server, name)

    def when_idle(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back once, when nothing is being verified any more, or after ``seconds``."""
        limit: Timer | None = None

        def over() -> None:
            self._on_idle = None
            if limit is not None:
                limit.cancel()
            callback()

        if self._under_way:
            self._on_idle = over
            limit = self._reactor.call_later(seconds, over)
        else:
            over()

    def _look(self, server: str, name: str, looks: int) -> None:
        if not self._workers.submit(lambda: self._ask(server, name, looks)):
            self._remember(server, name)

    def _ask(self, server: str, name: str, looks: int) -> None:
        """On a worker's thread."""
        try:
            found = make_gone(self._engine, name)
        except EngineUnavailable as error:
            _log.debug("container-not-verified", extra=logs.fields(server=server, container=name, error=error.told))
            self._reactor.call_soon(lambda: self._remember(server, name))
        else:
            self._reactor.call_soon(lambda: self._found(server, name, found, looks - 1))

    def _found(self, server: str, name: str, found: Finding, looks: int) -> None:
        if found == "left" and looks:
            self._reactor.call_later(AGAIN_SECONDS, lambda: self._look(server, name, looks))
            return
        if found == "left":
            _log.error("container-not-removed", extra=logs.fields(server=server, container=name))
        elif found == "removed":
            _log.info("container-removed", extra=logs.fields(server=server, container=name))
        self._over(name)

    def _remember(self, server: str, name: str) -> None:
        if len(self._remembered) < _MOST_REMEMBERED:
            self._remembered[name] = server
        self._over(name)

    def _over(self, name: str) -> None:
        self._under_way[name] -= 1
        if not self._under_way[name]:
            del self._under_way[name]
        if not self._under_way and self._on_idle is not None:
            self._on_idle()
