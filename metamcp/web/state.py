"""What the views of one Flask application share."""

from __future__ import annotations

import itertools
import secrets
import threading
from dataclasses import dataclass, field
from typing import cast

from flask import Flask, current_app

from metamcp.access.keyfile import KeyFile
from metamcp.gateway.interface import Exchange, Gateway
from metamcp.telemetry.spans import Traces
from metamcp.web.budget import Budget
from metamcp.web.doors import Doors
from metamcp.web.refusals import Refusals
from metamcp.web.request_ids import RequestIds

MOST_PROBES = 4
"""In one worker at once: nobody needs more, and they cost as much as streams of clients."""

_KEY = "metamcp"


class OpenStreams:
    """The streams of this worker: their names, and those that live long. A worker that is told to end must end them
    itself: gunicorn would wait its whole graceful timeout for them, and their clients would learn of it last."""

    def __init__(self) -> None:
        self._streams: set[Exchange] = set()
        self._prefix = secrets.token_hex(4)  # two workers, or a worker and its successor, must not use one name twice
        self._serial = itertools.count(1)
        self.draining = False

    def name(self) -> str:
        """For a stream that may be resumed, also through another worker."""
        return f"{self._prefix}-{next(self._serial)}"

    def add(self, stream: Exchange) -> None:
        self._streams.add(stream)
        if self.draining:
            stream.close()

    def remove(self, stream: Exchange) -> None:
        self._streams.discard(stream)

    def drain(self) -> None:
        """End all of them now, and every later one at once."""
        self.draining = True
        for stream in tuple(self._streams):
            stream.close()


@dataclass(frozen=True, slots=True)
class WebState:
    """``heartbeat`` is in seconds; ``traces`` None: none are wanted; the others are as in docs/configuration.md."""

    gateway: Gateway
    allowed_hosts: frozenset[str]
    allowed_origins: frozenset[str]
    keys: KeyFile
    doors: Doors
    public_url: str = ""
    heartbeat: float = 15.0
    trusted_proxies: int = 0
    rate_limit: str = ""
    traces: Traces | None = None
    streams: OpenStreams = field(default_factory=OpenStreams)
    bodies: Budget = field(default_factory=Budget)
    refusals: Refusals = field(default_factory=Refusals)
    request_ids: RequestIds = field(default_factory=RequestIds)
    probes: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(MOST_PROBES))

    def install(self, app: Flask) -> None:
        app.extensions[_KEY] = self


def web_state(app: Flask | None = None) -> WebState:
    """Of ``app``, or of the application that handles the present request."""
    return cast("WebState", (app or current_app).extensions[_KEY])
