"""The GET stream of a Streamable HTTP session: what the server says that belongs to no request."""

from __future__ import annotations

from collections.abc import Callable

from metamcp.concurrency.reactor import Timer
from metamcp.protocol.http_rules import SSE
from metamcp.protocol.sse import ServerEvent
from metamcp.telemetry import logs
from metamcp.upstream.remote.exchange import Ask, Exchange, Head, Over
from metamcp.upstream.remote.faults import fault
from metamcp.upstream.remote.message import messages
from metamcp.upstream.remote.transport import STREAM_SECONDS, Speaker, pause

_TRIES = 8  # in a row, without anything heard: about two minutes
_LASTED = 10.0  # seconds after which a stream counts as one that had worked

_log = logs.get("upstream.remote")


class Listening:
    """A server need not offer this stream; one that did is asked for it again whenever it ends. ``lost`` is told
    when the session turns out to be unknown."""

    def __init__(
        self,
        speaker: Speaker,
        headers: Callable[[str], dict[str, str | bytes]],
        lost: Callable[[], None],
    ) -> None:
        self._speaker = speaker
        self._headers = headers
        self._lost = lost
        self._exchange: Exchange | None = None
        self._timer: Timer | None = None
        self._last_id = ""
        self._retry: int | None = None
        self._worked = False
        self._opened_at = 0.0
        self._tries = 0

    def start(self) -> None:
        """Of a new session: former ids mean nothing in it."""
        self.stop()
        self._last_id, self._retry, self._worked, self._tries = "", None, False, 0
        self._open()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._exchange is not None:
            self._speaker.abort(self._exchange)

    def _open(self) -> None:
        self._opened_at = self._speaker.now()
        headers = self._headers(self._last_id) | {"Accept": SSE}
        ask = Ask("GET", self._speaker.url, headers, STREAM_SECONDS, last_id=self._last_id)
        self._exchange = self._speaker.begin(ask, self, "streams")

    def opened(self, head: Head) -> None:
        self._worked = True

    def event(self, event: ServerEvent) -> None:
        self._tries = 0
        for line in messages(event.data):
            self._speaker.deliver(line)

    def over(self, over: Over) -> None:
        if over.status == 404 and self._worked:
            self._lost()
        elif over.head is None or over.head.streams or over.status >= 500:
            self._again(over)
        elif over.status != 405:
            _log.warning("no-stream", extra=logs.fields(server=self._speaker.server, status=over.status))

    def _again(self, over: Over) -> None:
        """A stream that ends at once, each time, is none; a server that cannot be reached for long is gone."""
        self._last_id = over.last_id or self._last_id
        self._retry = over.retry_ms if over.retry_ms is not None else self._retry
        if self._worked and self._speaker.now() - self._opened_at > _LASTED:
            self._tries = 0
        self._tries += 1
        if self._tries <= _TRIES:
            self._timer = self._speaker.later(pause(self._tries, self._retry), self._open)
        elif over.trouble is None:
            _log.warning("no-stream", extra=logs.fields(server=self._speaker.server, status=over.status or None))
        else:
            self._speaker.die(fault(self._speaker.server, self._speaker.url, over))
