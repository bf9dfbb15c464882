"""The engine's events for as long as the gateway runs, over every absence of the engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Protocol

from metamcp.concurrency.reactor import Reactor
from metamcp.errors import EngineUnavailable
from metamcp.runtime.cuts import CUT_HINT, Cuts
from metamcp.runtime.facts import EngineEvent
from metamcp.runtime.labels import INSTANCE
from metamcp.telemetry import logs

FIRST_PAUSE, MOST_PAUSE = 0.1, 3.2
"""Seconds before the next attempt to subscribe; doubled after each that fails."""

_STEADY = 10.0  # seconds: a subscription that lasted so long was a good one
_KINDS = ("container", "image")
_OF_CONTAINERS = frozenset({"create", "oom", "kill", "die"})
_OF_IMAGES = frozenset({"tag", "pull", "load", "import", "untag", "delete"})

_log = logs.get("runtime.watch")


class Stream(Iterator[EngineEvent], Protocol):
    def close(self) -> None: ...


class EventSource(Protocol):
    """The part of the engine that is watched."""

    def events(
        self, labels: Mapping[str, str], since: float | None, kinds: Collection[str], actions: Collection[str]
    ) -> Stream:
        """Raises EngineUnavailable."""


class Audience(Protocol):
    """Who is told, on the reactor's thread."""

    def engine_connected(self) -> None:
        """Events come from now on; some of the time before may have been missed."""

    def engine_lost(self) -> None:
        """No event comes until ``engine_connected``."""

    def container_event(self, event: EngineEvent) -> None:
        """Of a container of this instance, of whatever generation."""

    def image_event(self, event: EngineEvent) -> None: ...


class Watch:
    """One thread, ``engine-watch``. One subscription without a label filter, since that would keep back what happens
    to images; the containers of others are sorted out here. ``cuts`` learns
    what shows of a proxy on the way."""

    def __init__(
        self,
        source: EventSource,
        reactor: Reactor,
        instance: str,
        audience: Audience,
        cuts: Cuts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._reactor = reactor
        self._instance = instance
        self._audience = audience
        self._clock = clock
        self._cuts = cuts
        self._silent: float | None = None  # seconds, of the stream that has just ended
        self._ending = threading.Event()
        self._stream: Stream | None = None
        self._told_away = False
        self._thread = threading.Thread(target=self._run, name="engine-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float = 1.0) -> None:
        """From any thread. One that waits for an engine that does not answer is left to its own deadline."""
        self._ending.set()
        if self._stream is not None:
            self._stream.close()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    # --- the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._ending.is_set():
            pause = FIRST_PAUSE if self._follow() >= _STEADY else min(pause * 2, MOST_PAUSE)
            self._ending.wait(pause)

    def _follow(self) -> float:
        """One subscription to its end; the seconds that it lasted."""
        try:
            stream = self._source.events({}, None, _KINDS, _OF_CONTAINERS | _OF_IMAGES)
        except EngineUnavailable as error:
            self._missing(error)
            return 0.0
        begun = heard = self._clock()
        self._stream = stream
        if self._ending.is_set():
            stream.close()
        self._found()
        for event in stream:
            heard = self._clock()
            self._tell(event)
        self._stream = None
        self._silent = self._clock() - heard
        self._reactor.call_soon(self._audience.engine_lost)
        return self._clock() - begun

    def _missing(self, error: EngineUnavailable) -> None:
        self._silent = None
        self._cuts.engine_was_away()
        if not self._told_away and not self._ending.is_set():
            self._told_away = True
            _log.warning("engine-away", extra=logs.fields(error=error.text, hint=error.hint))

    def _found(self) -> None:
        if self._told_away:
            self._told_away = False
            _log.warning("engine-back")
        if self._silent is not None and self._cuts.lost(self._silent):
            _log.warning("engine-connections-cut", extra=logs.fields(seconds=round(self._silent), hint=CUT_HINT))
        self._reactor.call_soon(self._audience.engine_connected)

    def _tell(self, event: EngineEvent) -> None:
        if event.kind == "image" and event.action in _OF_IMAGES:
            self._reactor.call_soon(lambda: self._audience.image_event(event))
        elif event.kind == "container" and event.labels.get(INSTANCE) == self._instance:
            self._reactor.call_soon(lambda: self._audience.container_event(event))
