"""Which image the engine has now for each server: what servers are remembered by, and how a new image is noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.config.model import ServerSpec
from metamcp.errors import EngineUnavailable
from metamcp.runtime.command.grammar import is_container_command
from metamcp.telemetry import logs

RECHECK_SECONDS = 30.0
"""Between two rounds when nobody says that something changed. A round costs some milliseconds per reference."""

_PAUSE = 1.0  # seconds before a round that was wanted during another one: events of the engine come in bursts
_PATIENCE = 2  # questions in a row that the engine does not answer end the round; each may take its whole timeout

_log = logs.get("runtime.image_ids")

Refer = Callable[[ServerSpec], str | None]
"""The reference that the engine is given at a start; None when it must not run. Blocks."""

Ask = Callable[[str], str | None]
"""reference -> image id, None when the engine does not have it. Blocks. Raises EngineUnavailable."""


@dataclass(slots=True, eq=False)
class _Image:
    spec: ServerSpec
    asked: bool = False  # a round is over, whether or not the engine answered
    id: str | None = None
    reference: str | None = None  # that the id is of


class ImageIds:
    """Owned by the reactor's thread. ``known(server)`` is called once for each server that is a container: after the
    first round; ``changed(server)`` when its image became another one, or is there now and was not."""

    def __init__(
        self,
        reactor: Reactor,
        workers: Workers,
        refer: Refer,
        ask: Ask,
        servers: Iterable[ServerSpec],
        known: Callable[[str], None],
        changed: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._workers = workers
        self._refer = refer
        self._ask = ask
        self._known = known
        self._changed = changed
        self._images = {spec.name: _Image(spec) for spec in servers if _watched(spec)}
        self._under_way = False
        self._again = False

    def known(self, server: str) -> bool:
        """Whether ``id`` says something; a plain process has no image to wait for."""
        image = self._images.get(server)
        return image is None or image.asked

    def id(self, server: str) -> str | None:
        """``sha256:…``; None for what is no container, and for an image that is not there or may not run."""
        image = self._images.get(server)
        return image.id if image else None

    def reference(self, server: str) -> str | None:
        """What ``id`` was asked for."""
        image = self._images.get(server)
        return image.reference if image else None

    def watches(self, server: str) -> bool:
        """Whether it will show here that the server became another one."""
        return server in self._images

    def key(self, spec: ServerSpec) -> str:
        """What is known of ``spec`` is remembered by this; "" when it must not be remembered."""
        image = self._images.get(spec.name)
        if image is None:
            return spec.fingerprint()
        return f"{image.id} {spec.fingerprint()}" if image.id else ""

    def put(self, spec: ServerSpec) -> None:
        """Add a server, or replace one whose configuration changed; the next round asks for it."""
        self._images.pop(spec.name, None)
        if _watched(spec):
            self._images[spec.name] = _Image(spec)
            self.recheck()

    def remove(self, server: str) -> None:
        self._images.pop(server, None)

    def recheck(self) -> None:
        """Ask the engine, once for each reference. During a round: once more after it."""
        if self._under_way:
            self._again = True
            return
        images = tuple(self._images.values())
        if images:
            self._under_way = self._workers.submit(lambda: self._round(images))

    # --- a worker thread -------------------------------------------------------------------------------

    def _round(self, images: tuple[_Image, ...]) -> None:
        try:
            self._ask_for(images)
        finally:
            self._reactor.call_soon(lambda: self._over(images))

    def _ask_for(self, images: tuple[_Image, ...]) -> None:
        engine = _Questions(self._ask)
        for image in images:
            reference = self._refer(image.spec)
            if reference is None:
                self._report(image, None, None)
            elif engine.answers(reference):
                self._report(image, reference, engine.found[reference])

    def _report(self, image: _Image, reference: str | None, found: str | None) -> None:
        self._reactor.call_soon(lambda: self._take(image, reference, found))

    # --- the reactor's thread --------------------------------------------------------------------------

    def _take(self, image: _Image, reference: str | None, found: str | None) -> None:
        before, image.id, image.reference = image.id, found, reference
        if self._images.get(image.spec.name) is not image:
            return  # configured anew meanwhile
        if not image.asked:
            image.asked = True
            self._known(image.spec.name)
        elif found and found != before:
            _log.info("image-changed", extra=logs.fields(server=image.spec.name, before=before, now=found))
            self._changed(image.spec.name)

    def _over(self, images: tuple[_Image, ...]) -> None:
        """Those that the engine was not asked for, or did not answer, stay as they are."""
        self._under_way = False
        for image in images:
            if not image.asked:
                self._take(image, image.reference, image.id)
        if self._again:
            self._again = False
            self._reactor.call_later(_PAUSE, self.recheck)


class _Questions:
    """Of one round, for its worker: one for each reference, and an end when the engine does not answer."""

    def __init__(self, ask: Ask) -> None:
        self.found: dict[str, str | None] = {}
        self._ask = ask
        self._refused: set[str] = set()
        self._in_a_row = 0

    def answers(self, reference: str) -> bool:
        if reference not in self.found and reference not in self._refused and self._in_a_row < _PATIENCE:
            self._put(reference)
        return reference in self.found

    def _put(self, reference: str) -> None:
        try:
            self.found[reference] = self._ask(reference)
            self._in_a_row = 0
        except EngineUnavailable as error:
            self._refused.add(reference)
            self._in_a_row += 1
            _log.info("image-not-asked", extra=logs.fields(image=reference, error=error.told))


def _watched(spec: ServerSpec) -> bool:
    return spec.enabled and not spec.url and is_container_command(spec.command)
