"""Who hears what of the engine's events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from metamcp.runtime.facts import EngineEvent
from metamcp.runtime.inquest import Inquest
from metamcp.runtime.reaper import Reaper
from metamcp.runtime.supervisor import Supervisor
from metamcp.runtime.teardown import Teardown


@dataclass(frozen=True, slots=True)
class Audience:
    """On the reactor's thread, as all that it calls.

    ``engine_back``: the engine can be used, for the first time or again. What could not start for want of an engine
    may be tried at once.
    ``images_changed``: an image was made, fetched, named anew or removed, or may have been while no events came. It is
    called for each event, and events come in bursts: whoever does something costly collects them.
    """

    supervisor: Supervisor
    inquest: Inquest
    teardown: Teardown
    reaper: Reaper
    engine_back: Callable[[], None]
    images_changed: Callable[[], None]

    def engine_connected(self) -> None:
        self.inquest.watching = True
        self.clean_up()
        self.engine_back()
        self.images_changed()

    def engine_lost(self) -> None:
        self.inquest.watching = False

    def container_event(self, event: EngineEvent) -> None:
        self.supervisor.hear(event)

    def image_event(self, event: EngineEvent) -> None:
        self.images_changed()

    def clean_up(self) -> None:
        """At every (re)connection, and now and then: an engine whose events cannot be had is looked after as well."""
        self.teardown.retry()
        self.reaper.reap()
