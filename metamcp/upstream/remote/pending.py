"""One request to a Streamable HTTP server until it has its answer, over as many streams as that takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from metamcp.concurrency.reactor import Timer
from metamcp.errors import MetaMCPError
from metamcp.protocol.http_rules import SSE
from metamcp.protocol.sse import ServerEvent
from metamcp.upstream.remote.exchange import Ask, Exchange, Head, Over
from metamcp.upstream.remote.faults import fault
from metamcp.upstream.remote.message import Outgoing, answers, messages
from metamcp.upstream.remote.transport import SLACK_SECONDS, STREAM_SECONDS, Speaker, pause

_RESUMES = 3  # in a row, without a new event: some seconds, for which a client waits


class Dialog(Protocol):
    """The conversation that the request belongs to."""

    speaker: Speaker

    def headers(self, out: Outgoing) -> dict[str, str | bytes]: ...

    def reading(self, last_id: str = "") -> dict[str, str | bytes]:
        """Headers of a GET."""

    def met(self, head: Head, out: Outgoing) -> None:
        """The server has begun to answer ``out``."""

    def lost(self, pending: Pending) -> bool:
        """The session is unknown (404). True: it will be opened anew, and ``pending`` sent again."""


class Pending:
    """``on_answer`` gets the response as a line, ``on_failed`` the reason why there is none: one of them, once.
    Everything else that comes on the request's streams goes to the speaker."""

    def __init__(
        self,
        dialog: Dialog,
        out: Outgoing,
        on_answer: Callable[[bytes], None],
        on_failed: Callable[[MetaMCPError], None],
    ) -> None:
        self.out = out
        self.begun = False
        self.session = ""  # the one that it was sent in
        self.repeated = False  # in a new session
        self._dialog = dialog
        self._speaker = dialog.speaker
        self._on_answer = on_answer
        self._on_failed = on_failed
        self._ended = False
        self._exchange: Exchange | None = None
        self._timer: Timer | None = None
        self._last_id = ""
        self._retry: int | None = None
        self._attempts = 0

    def begin(self) -> None:
        """POST it, for the first time or once more."""
        self.begun = True
        ask = Ask("POST", self._speaker.url, self._dialog.headers(self.out), self._silence, self.out.body)
        self._exchange = self._speaker.begin(ask, self, "streams" if self._stays_open else "calls")

    def drop(self) -> None:
        """Nobody waits for it any more."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        if self._exchange is not None:
            self._speaker.abort(self._exchange)

    @property
    def _stays_open(self) -> bool:
        return self.out.method == "subscriptions/listen"

    @property
    def _silence(self) -> float:
        timeouts = self._speaker.timeouts
        if self._stays_open:
            return STREAM_SECONDS
        return SLACK_SECONDS + (timeouts.start if self.out.method == "initialize" else timeouts.total)

    # --- what comes of it --------------------------------------------------------------------------------

    def opened(self, head: Head) -> None:
        self._dialog.met(head, self.out)

    def event(self, event: ServerEvent) -> None:
        self._take(event.data)

    def over(self, over: Over) -> None:
        if self._ended:
            return
        if over.status == 404 and not self._last_id and self._dialog.lost(self):
            return  # it was not carried out, so it may be sent again
        if over.head is not None and not over.head.streams:
            self._dialog.met(over.head, self.out)
            self._take_answer(over)
        if not self._ended and not self._resumed(over):
            self._fail(over)

    def _take(self, data: bytes) -> None:
        for line in messages(data):
            if not self._ended and answers(line, self.out.key):
                self._ended = True
                self._on_answer(line)
            else:
                self._speaker.deliver(line)

    def _take_answer(self, over: Over) -> None:
        """A body is handed on if the answer is in it, whatever the status; some servers put errors under 400."""
        if any(answers(line, self.out.key) for line in messages(over.body)):
            self._take(over.body)

    def _fail(self, over: Over) -> None:
        self._ended = True
        opening = self.out.method in ("initialize", "server/discover")
        self._on_failed(fault(self._speaker.server, self._speaker.url, over, opening))

    # --- a stream that ended early (2025-11-25, Transports: Resumability and Redelivery) ---------------------

    def _resumed(self, over: Over) -> bool:
        """Is the rest of the answer going to be fetched? Only where the server gave its events ids, and goes on
        to understand them."""
        if over.last_id and over.last_id != self._last_id:
            self._last_id, self._attempts = over.last_id, 0
        if over.retry_ms is not None:
            self._retry = over.retry_ms
        closed = over.trouble is None and over.head is not None and over.head.streams
        ended_early = closed or over.trouble in ("broken", "silent", "unreachable")
        if self.out.version or not self._last_id or not ended_early or self._attempts >= _RESUMES:
            return False
        self._attempts += 1
        self._timer = self._speaker.later(pause(self._attempts, self._retry), self._resume)
        return True

    def _resume(self) -> None:
        headers = self._dialog.reading(self._last_id) | {"Accept": SSE}
        ask = Ask("GET", self._speaker.url, headers, self._silence, last_id=self._last_id)
        self._exchange = self._speaker.begin(ask, self, "calls")
