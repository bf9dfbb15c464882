"""What the supervisor remembers over restarts, and by what: files of the state directory, ids of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.saving import Saving
from metamcp.concurrency.tasks import Workers
from metamcp.gateway import catalog_memory
from metamcp.gateway.catalog_memory import Kept
from metamcp.runtime.engine import Engine
from metamcp.upstream import era_memory
from metamcp.upstream.era import Verdict


class Remembering:
    """``catalog.put`` and ``eras.put`` are for the reactor's thread; ``recall_…`` blocks, before that runs."""

    def __init__(self, reactor: Reactor, workers: Workers, state_dir: Path) -> None:
        self._state_dir = state_dir
        self.catalog = Saving[tuple[Kept, ...]](reactor, workers, lambda kept: catalog_memory.keep(state_dir, kept))
        self.eras = Saving[Mapping[str, Verdict]](
            reactor, workers, lambda verdicts: era_memory.keep(state_dir, verdicts)
        )

    def recall_catalog(self) -> dict[str, Kept]:
        return catalog_memory.recall(self._state_dir)

    def recall_eras(self) -> dict[str, Verdict]:
        return era_memory.recall(self._state_dir)

    def flush(self) -> None:
        """At the end: hand what is not written yet to the workers."""
        self.catalog.flush()
        self.eras.flush()


def image_id(engine: Engine, reference: str) -> str | None:
    """None when the engine does not have it. Blocks. Raises EngineUnavailable."""
    facts = engine.image(reference)
    return facts.id if facts else None
