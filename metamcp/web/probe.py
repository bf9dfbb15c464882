"""A stream of the gateway's own beside each stream of MCP: what reaches its client, and when, shows what proxies do.

Nothing of it passes the supervisor, and nothing is sent but its events: no heartbeat, so its silence is real.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from flask import Blueprint

from metamcp.errors import InvalidRequest, TooManyRequests
from metamcp.gateway.interface import Exchange, Is, Outbound
from metamcp.protocol import sse
from metamcp.web import streaming
from metamcp.web.hangup import Watched
from metamcp.web.incoming import Incoming
from metamcp.web.outgoing import Outgoing
from metamcp.web.present import serve
from metamcp.web.state import WebState

MOST_EVENTS = 10
MOST_SECONDS = 900.0
"""Of one stream, in all."""

blueprint = Blueprint("probe", __name__)


def stream(incoming: Incoming, endpoint: str, kind: str) -> Outgoing:
    """``events`` (2 to 10) events, the first at once, the others ``every`` seconds. Behind the paths of the streams,
    since proxies treat paths by their beginning. Raises InvalidRequest, TooManyRequests."""
    events, every = _number(incoming, "events", 2, MOST_EVENTS), _number(incoming, "every", 0.01, MOST_SECONDS)
    if (events - 1) * every > MOST_SECONDS:
        raise InvalidRequest(f"a probe takes {MOST_SECONDS:g} s at most")
    if incoming.method == "HEAD":
        return streaming.head()
    if not incoming.state.probes.acquire(blocking=False):
        raise TooManyRequests("too many probes of streams at once", limit="probes", retryAfterMs=1000)
    return streaming.events(Probe(incoming.state, int(events), every, Watched(Silence(), incoming.connection)))


serve(blueprint, "GET", "<any(sse,mcp):kind>/probe", stream, strict=True)


def _number(incoming: Incoming, name: str, least: float, most: float) -> float:
    try:
        value = float(incoming.argument(name) or "")
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise InvalidRequest(f"the query parameter {name} must be a number from {least:g} to {most:g}")
    return value


class Silence:
    """An Exchange in which nothing happens, until it is closed."""

    def __init__(self) -> None:
        self._closed = threading.Event()

    def next(self, timeout: float) -> Outbound | None:
        return Outbound(Is.ENDED) if self._closed.wait(timeout) else None

    def close(self) -> None:
        self._closed.set()


class Probe:
    """A response body; it ends early when its client hangs up, or when this worker ends."""

    def __init__(self, state: WebState, events: int, every: float, silence: Exchange) -> None:
        self._events = events
        self._every = every
        self._silence = silence
        self._state = state
        self._state.streams.add(silence)
        self._open = True

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self._events):
            if number and self._silence.next(self._every) is not None:
                return
            yield sse.event(b'{"number":%d}' % number, "probe")

    def close(self) -> None:
        """PEP 3333: called by the server at the end of the response, however it ended."""
        if self._open:
            self._open = False
            self._silence.close()
            self._state.streams.remove(self._silence)
            self._state.probes.release()
