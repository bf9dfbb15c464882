"""Writing what changes often: the newest state only, one write at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers

T = TypeVar("T")

PAUSE_SECONDS = 1.0
"""From a change to its write, and at least so long from write to write."""


def replace_file(path: Path, pieces: Iterable[bytes]) -> None:
    """The file as a whole, or not at all, also after a loss of power. Blocks. Raises OSError."""
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


class Saving(Generic[T]):
    """Owned by the reactor's thread. ``write`` runs on a worker with a value that nobody changes any more."""

    def __init__(self, reactor: Reactor, workers: Workers, write: Callable[[T], None]) -> None:
        self._reactor = reactor
        self._workers = workers
        self._write = write
        self._newest: list[T] = []  # what is not written yet: one or none
        self._waiting = False
        self._writing = False

    def put(self, value: T) -> None:
        """Write ``value`` soon, unless a newer one comes before that."""
        self._newest = [value]
        self._plan()

    def flush(self) -> None:
        """Hand what is not written yet to the workers now, unless a write is under way."""
        if self._newest and not self._writing:
            self._begin()

    def _plan(self) -> None:
        if not self._waiting and not self._writing:
            self._waiting = True
            self._reactor.call_later(PAUSE_SECONDS, self._due)

    def _due(self) -> None:
        self._waiting = False
        self.flush()

    def _begin(self) -> None:
        value = self._newest[0]
        self._writing = self._workers.submit(lambda: self._run(value))
        if self._writing:
            self._newest = []
        else:
            self._plan()  # too much to do at the moment

    def _run(self, value: T) -> None:
        try:
            self._write(value)
        finally:
            self._reactor.call_soon(self._written)

    def _written(self) -> None:
        self._writing = False
        if self._newest:
            self._plan()
