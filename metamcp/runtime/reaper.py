"""Removes what earlier generations of this instance left behind, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from metamcp.runtime.facts import ContainerFacts
from metamcp.runtime.labels import GENERATION, INSTANCE, Identity


class ContainerStore(Protocol):
    """The part of the engine that a sweep needs."""

    def containers(self, labels: Mapping[str, str], all: bool = True) -> list[ContainerFacts]: ...

    def remove(self, container_id: str) -> bool: ...


def orphans(containers: Iterable[ContainerFacts], identity: Identity) -> list[ContainerFacts]:
    """The containers of *this* instance whose generation is over (docker.md section 1).

    A container without a generation was not started by a gateway: it is left alone.
    """
    return [item for item in containers if _is_orphan(item.labels, identity)]


def sweep(engine: ContainerStore, identity: Identity) -> list[str]:
    """Remove the orphans; returns the ids that are gone, which the engine was asked again to confirm.

    One that the engine cannot remove now is not in the answer; the next sweep finds it again.
    Raises EngineUnavailable when the engine cannot be asked.
    """
    found = _find(engine, identity)
    for container_id in found:
        engine.remove(container_id)
    left = set(_find(engine, identity)) if found else set()
    return [container_id for container_id in found if container_id not in left]


def _find(engine: ContainerStore, identity: Identity) -> list[str]:
    mine = engine.containers({INSTANCE: identity.instance}, all=True)
    return [item.id for item in orphans(mine, identity)]


def _is_orphan(labels: Mapping[str, str], identity: Identity) -> bool:
    generation = labels.get(GENERATION, "")
    return labels.get(INSTANCE) == identity.instance and generation not in ("", identity.generation)
