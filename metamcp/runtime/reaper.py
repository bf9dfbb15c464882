"""Removes containers of this instance that no living child stands for, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.errors import EngineUnavailable
from metamcp.runtime.facts import ContainerFacts
from metamcp.runtime.labels import CONFIG, GENERATION, INSTANCE, PROBE, Identity
from metamcp.telemetry import logs

_log = logs.get("runtime.reaper")


class ContainerStore(Protocol):
    """The part of the engine that a sweep needs."""

    def containers(self, labels: Mapping[str, str], all: bool = True) -> list[ContainerFacts]: ...

    def remove(self, container_id: str) -> bool: ...


def orphans(containers: Iterable[ContainerFacts], identity: Identity) -> list[ContainerFacts]:
    """The containers of *this* instance whose generation is over (docker.md section 1).

    A container without a generation was not started by a gateway: it is left alone.
    """
    return [item for item in containers if _generation(item, identity) not in ("", identity.generation)]


def strays(containers: Iterable[ContainerFacts], identity: Identity, living: Collection[str]) -> list[ContainerFacts]:
    """Those of this very generation whose names are not among ``living``: their children are gone, or their command
    line was killed before it could start them. A diagnosis removes its own probe."""
    mine = (item for item in containers if _generation(item, identity) == identity.generation)
    return [item for item in mine if item.name not in living and item.labels.get(CONFIG) != PROBE]


def clear(engine: ContainerStore, identity: Identity, doomed: Iterable[ContainerFacts]) -> list[str]:
    """Remove them; returns the names of those that are gone, which the engine was asked again to confirm.

    One that the engine cannot remove now is not in the answer; the next sweep finds it again. Blocks.
    Raises EngineUnavailable when the engine cannot be asked.
    """
    names = {item.id: item.name for item in doomed}
    for container_id in names:
        engine.remove(container_id)
    left = {item.id for item in engine.containers({INSTANCE: identity.instance}, all=True)} if names else set()
    return [name for container_id, name in names.items() if container_id not in left]


class Reaper:
    """Owned by the reactor's thread; one sweep at a time.

    ``living`` gives the names of the containers that are accounted for. It is asked on the reactor's thread *after*
    the engine has listed what there is, and a name is registered there before its process is spawned: whatever is in
    the list was registered before, so a container that is being started is never taken for a stray.
    """

    def __init__(
        self,
        reactor: Reactor,
        workers: Workers,
        engine: ContainerStore,
        identity: Identity,
        living: Callable[[], Collection[str]],
        seen: Callable[[ContainerFacts], None],
        removed: Callable[[int], None],
    ) -> None:
        self._reactor = reactor
        self._workers = workers
        self._engine = engine
        self._identity = identity
        self._living = living
        self._seen = seen
        self._removed = removed
        self._busy = False
        self._again = False

    def reap(self) -> None:
        """Sweep now, or once more when the present sweep is over. ``seen`` hears of every container of this
        generation, ``removed`` of how many are gone."""
        if self._busy:
            self._again = True
        else:
            self._busy = self._workers.submit(self._list)

    def _list(self) -> None:
        """On a worker's thread, as ``_clear``."""
        try:
            found = self._engine.containers({INSTANCE: self._identity.instance}, all=True)
        except EngineUnavailable as error:
            self._failed(error)
        else:
            self._reactor.call_soon(lambda: self._judge(found))

    def _judge(self, found: list[ContainerFacts]) -> None:
        for item in found:
            if _generation(item, self._identity) == self._identity.generation:
                self._seen(item)
        doomed = [*orphans(found, self._identity), *strays(found, self._identity, self._living())]
        if not doomed or not self._workers.submit(lambda: self._clear(doomed)):
            self._over()

    def _clear(self, doomed: list[ContainerFacts]) -> None:
        try:
            gone = clear(self._engine, self._identity, doomed)
        except EngineUnavailable as error:
            self._failed(error)
            return
        _log.warning("orphans-removed", extra=logs.fields(count=len(gone), containers=",".join(gone)))
        self._reactor.call_soon(lambda: self._removed(len(gone)))
        self._reactor.call_soon(self._over)

    def _failed(self, error: EngineUnavailable) -> None:
        # The watch tells that the engine is away, once; it reaps again when it is back.
        _log.debug("sweep-failed", extra=logs.fields(error=error.text, hint=error.hint))
        self._reactor.call_soon(self._over)

    def _over(self) -> None:
        again, self._busy, self._again = self._again, False, False
        if again:
            self.reap()


def _generation(item: ContainerFacts, identity: Identity) -> str:
    """The generation of a container of this instance; "" for every other one."""
    return item.labels.get(GENERATION, "") if item.labels.get(INSTANCE) == identity.instance else ""
