"""What the two HTTP transports share: the child that they speak for, and messages that need no answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from metamcp.concurrency.reactor import Timer
from metamcp.config.model import Timeouts
from metamcp.errors import MetaMCPError
from metamcp.protocol.sse import ServerEvent
from metamcp.telemetry import logs
from metamcp.upstream.remote.exchange import Ask, Exchange, Head, Hears, Lane, Over
from metamcp.upstream.remote.message import Outgoing

WORD_SECONDS = 30.0
"""For a message that needs no answer: until the server says that it has it."""

STREAM_SECONDS = 3600.0
"""Without a byte on a stream that stays open; then it is opened again. Servers need not send comments."""

SLACK_SECONDS = 10.0
"""Beyond a call's own deadline, which ends it first as a rule."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
_log = logs.get("upstream.remote")


class Speaker(Protocol):
    """The child as its transport sees it. Everything is for the reactor's thread."""

    server: str
    timeouts: Timeouts

    @property
    def url(self) -> str: ...

    def begin(self, ask: Ask, hears: Hears, lane: Lane) -> Exchange:
        """Send a request, with the configured headers besides its own."""

    def abort(self, exchange: Exchange) -> None: ...

    def later(self, seconds: float, callback: Callable[[], None]) -> Timer: ...

    def now(self) -> float: ...

    def deliver(self, data: bytes) -> None:
        """What the server said: one message, or several in an array."""

    def refuse(self, identifier: bytes, error: MetaMCPError) -> None:
        """Answer a request in the place of the server."""

    def die(self, error: MetaMCPError) -> None:
        """The server cannot be used any more."""


class Transport(Protocol):
    def send(self, out: Outgoing) -> None: ...

    def farewell(self) -> Ask | None:
        """What tells the server that we leave; None when it would not know us."""


class Word:
    """A message that needs no answer, on its way; ``done`` gets how it went, once."""

    def __init__(self, speaker: Speaker, ask: Ask, done: Callable[[Over], None]) -> None:
        self._speaker = speaker
        self._done = done
        self._exchange = speaker.begin(ask, self, "words")

    def opened(self, head: Head) -> None:
        """Some servers open a stream even for that. Nothing is expected on it, and others wait for their turn."""
        self._speaker.abort(self._exchange)
        self._done(Over(head))

    def event(self, event: ServerEvent) -> None:
        """Not after ``opened``."""

    def over(self, over: Over) -> None:
        self._done(over)


def note(speaker: Speaker, out: Outgoing, over: Over) -> None:
    """Nobody waits for what becomes of a notification or an answer; the log tells when it was not taken."""
    if over.trouble is not None or over.status >= 300:
        _log.warning(
            "not-taken",
            extra=logs.fields(
                server=speaker.server,
                method=out.method or "an answer",
                status=over.status or None,
                reason=over.detail or None,
            ),
        )


def pause(attempt: int, retry_ms: int | None = None) -> float:
    """Seconds before the ``attempt``-th try in a row; the server's own ``retry`` counts, within reason."""
    if attempt <= 1 and retry_ms is not None:
        return min(LONGEST_PAUSE, retry_ms / 1000)
    return min(LONGEST_PAUSE, max((retry_ms or 0) / 1000, FIRST_PAUSE * 2.0 ** min(attempt - 1, 10)))
