"""Streams of Streamable HTTP that outlive the connections that carry them (2025-11-25, Resumability and Redelivery).

A stream belongs to one POST with a request, or to GET. What it says is numbered and kept for a while, so a client
that lost the connection can go on behind the last event that it has seen. A session keeps a bounded window over all
its streams; the oldest events give way, whatever stream they belong to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from metamcp.telemetry import logs

MAX_EVENTS, MAX_BYTES = 256, 1024 * 1024
"""The window of one session. The newest event is kept whatever its size: it may be the answer to a call."""

KEPT_SECONDS = 300.0
"""How long a stream that has ended can still be asked for."""

UNSEEN_SECONDS = 5.0
"""An answer that comes sooner, as the first word of its stream, is a plain JSON body: there is nothing to resume.
Must be below the heartbeat of the web tier, with which a silent stream begins."""

_log = logs.get("downstream.streams")


class Carrier(Protocol):
    """One HTTP response: a ``Reply`` of the gateway. ``number``: of the event within its stream, 0 for none."""

    def event(self, data: bytes, number: int = 0) -> None: ...

    def answer(self, data: bytes, session: str = "", status: int = 200, number: int = 0) -> None: ...

    def end(self, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Event:
    stream: str
    number: int  # from 1; the priming event, which only the web tier sees, is 0
    data: bytes
    final: bool


class Window:
    """The last events of one session, and the streams that can be resumed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._streams: dict[str, Stream] = {}

    def __len__(self) -> int:
        return len(self._events)

    def keep(self, event: Event) -> None:
        self._events.append(event)
        self._bytes += len(event.data)
        while len(self._events) > 1 and (len(self._events) > MAX_EVENTS or self._bytes > MAX_BYTES):
            self._bytes -= len(self._events.popleft().data)

    def after(self, stream: str, number: int) -> list[Event]:
        return [event for event in self._events if event.stream == stream and event.number > number]

    def enter(self, stream: Stream) -> None:
        """From now on ``stream`` can be asked for."""
        self._streams[stream.name] = stream

    def find(self, name: str) -> Stream | None:
        return self._streams.get(name)

    def sweep(self) -> None:
        """Forget what ended long ago."""
        old = self.clock() - KEPT_SECONDS
        gone = {name for name, stream in self._streams.items() if stream.left_at is not None and stream.left_at <= old}
        if gone:
            self._streams = {name: stream for name, stream in self._streams.items() if name not in gone}
            self._events = deque(event for event in self._events if event.stream not in gone)
            self._bytes = sum(len(event.data) for event in self._events)


class Stream:
    """``resumable``: its client may have learned its name without an event (it was primed). ``left_at``: when nobody
    carried it any more, or it ended; None while somebody does."""

    __slots__ = ("_born", "_carrier", "_last", "_resumable", "_window", "ended", "left_at", "name", "takes_events")

    def __init__(
        self, name: str, carrier: Carrier, window: Window, *, takes_events: bool = True, resumable: bool = False
    ) -> None:
        self.name = name
        self.takes_events = takes_events
        self.ended = False
        self.left_at: float | None = None
        self._carrier: Carrier | None = carrier
        self._window = window
        self._resumable = resumable
        self._last = 0
        self._born = window.clock()

    @property
    def carried(self) -> bool:
        return self._carrier is not None

    @property
    def reachable(self) -> bool:
        """What it says now reaches its client, perhaps later."""
        return self.takes_events and (self.carried or self._resumable or self._last > 0)

    def event(self, data: bytes) -> None:
        if self.takes_events and not self.ended:
            number = self._keep(data, final=False)
            if self._carrier is not None:
                self._carrier.event(data, number)

    def answer(self, data: bytes, session: str = "") -> None:
        """Its last word. ``session``: the id of the session that it opens."""
        unseen = self._last == 0 and self._window.clock() - self._born < UNSEEN_SECONDS
        plain = (unseen and self._carrier is not None) or not self.reachable
        number = 0 if plain else self._keep(data, final=True)
        carrier = self._finish()
        if carrier is not None:
            carrier.answer(data, session, number=number)

    def end(self, reason: str) -> None:
        """Over without an answer."""
        carrier = self._finish()
        if carrier is not None:
            carrier.end(reason)

    def lost(self, carrier: Carrier) -> None:
        """The client of ``carrier`` went away. The stream goes on without it, as far as it can be asked for."""
        if self._carrier is carrier:
            self._carrier = None
            self.left_at = self._window.clock()
            if self._resumable and self.takes_events:
                self._window.enter(self)

    def resume(self, carrier: Carrier, seen: int) -> None:
        """``carrier`` goes on behind event ``seen``; whoever carried the stream until now does so no more."""
        former, self._carrier, self.left_at = self._carrier, carrier, None
        if former is not None:
            former.end("resumed elsewhere")
        events = self._window.after(self.name, seen)
        if (events[0].number if events else self._last + 1) != seen + 1:
            _log.warning("events-lost", extra=logs.fields(stream=self.name, seen=seen, last=self._last))
        for event in events:
            if event.final:
                self._finish()
                carrier.answer(event.data, number=event.number)
            else:
                carrier.event(event.data, event.number)
        if self.ended and self._carrier is not None:
            self._finish()
            carrier.end("complete")

    def _keep(self, data: bytes, final: bool) -> int:
        self._last += 1
        if self._last == 1:
            self._window.enter(self)
        self._window.keep(Event(self.name, self._last, data, final))
        return self._last

    def _finish(self) -> Carrier | None:
        carrier, self._carrier = self._carrier, None
        self.ended, self.left_at = True, self._window.clock()
        return carrier


def parse_event_id(text: str) -> tuple[str, int] | None:
    """``<stream>:<number>`` as the web tier writes it; None for anything else."""
    name, _, number = text.rpartition(":")
    if not name or not number.isascii() or not number.isdigit() or len(number) > 15:
        return None
    return name, int(number)
