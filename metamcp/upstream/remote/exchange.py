"""HTTP requests to one remote server, on threads, which can be ended from outside at any time.

Everything that is heard of a request is told on the reactor's thread; after it was aborted, nothing more is.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urljoin

import requests

from metamcp.concurrency.crew import Crew
from metamcp.concurrency.reactor import Reactor
from metamcp.protocol.http_rules import SSE
from metamcp.protocol.sse import EventReader, EventTooLong, ServerEvent
from metamcp.upstream.remote import wire
from metamcp.upstream.remote.address import same_origin
from metamcp.upstream.remote.wire import FAILURES, Trouble, trouble_of

CONNECT_SECONDS = 10.0
WAITING_LIMIT = 64 * 1024 * 1024
"""Bytes of request bodies on their way or waiting for it, as for a process that does not read its input."""

_QUEUE = 1024
_HOPS = 3
_MOVED = (301, 302, 307, 308)
_CHUNK = 65536
_UNHEARD = 16  # things that a server said and the reactor has not heard yet: more, and its threads wait

Lane = Literal["calls", "words", "streams"]
"""Which threads: what a client waits for; what needs no answer, one after the other; streams that stay open."""

_LANES: Mapping[Lane, int] = {"calls": 32, "words": 1, "streams": 16}


@dataclass(frozen=True, slots=True)
class Ask:
    """One HTTP request. ``silence``: seconds without a byte from the server after which it is given up. ``last_id``:
    of the event stream that it resumes."""

    verb: str
    url: str
    headers: Mapping[str, str | bytes]
    silence: float
    body: bytes = b""
    last_id: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """What stands above a body. ``kind`` is the media type alone, in lower case."""

    status: int
    kind: str = ""
    session: str = ""
    location: str = ""

    @property
    def streams(self) -> bool:
        return self.status == 200 and self.kind == SSE


@dataclass(frozen=True, slots=True)
class Over:
    """How a request ended. Without ``head`` there was no answer; with ``trouble`` it was not complete. ``detail``
    is safe to show. ``last_id`` and ``retry_ms`` are of the stream, if it was one."""

    head: Head | None = None
    body: bytes = b""
    trouble: Trouble | None = None
    detail: str = ""
    last_id: str = ""
    retry_ms: int | None = None

    @property
    def status(self) -> int:
        """0 when there was no answer."""
        return self.head.status if self.head else 0


class Hears(Protocol):
    """Who hears what comes of a request: ``opened`` and ``event`` of a stream only, ``over`` once at the end."""

    def opened(self, head: Head) -> None: ...

    def event(self, event: ServerEvent) -> None: ...

    def over(self, over: Over) -> None: ...


class Exchange:
    """One request under way. ``run`` is for its thread; it tells through ``tell`` and, at the end, ``ended``."""

    def __init__(
        self,
        ask: Ask,
        hears: Hears,
        tell: Callable[[Exchange, Callable[[], None]], None],
        ended: Callable[[Exchange, Over], None],
    ) -> None:
        self.ask = ask
        self.hears = hears
        self.aborted = False
        self._tell = tell
        self._ended = ended
        self._line: socket.socket | None = None
        self._lock = threading.Lock()

    def abort(self) -> None:
        """Whatever it waits for ends now, except the making of a connection, which has its own deadline."""
        with self._lock:
            self.aborted = True
            if self._line is not None:
                with contextlib.suppress(OSError):
                    self._line.shutdown(socket.SHUT_RDWR)

    def run(self, http: requests.Session, limit: int) -> None:
        if self.aborted:
            return
        wire.thread.uses = self._uses
        try:
            over = self._talk(http, limit)
        except FAILURES as error:
            over = self._failed(error)
        finally:
            wire.thread.uses = None
            self._let_go()
        self._ended(self, over)

    def _uses(self, line: socket.socket) -> None:
        """Remember the connection by a descriptor of our own: the library may close and reuse its own at any time.
        Raises OSError when the request was aborted meanwhile."""
        self._let_go()
        with self._lock:
            if self.aborted:
                raise ConnectionAbortedError("aborted")
            self._line = socket.socket(fileno=os.dup(line.fileno()))

    def _let_go(self) -> None:
        with self._lock:
            if self._line is not None:
                self._line.close()
                self._line = None

    def _talk(self, http: requests.Session, limit: int) -> Over:
        url = self.ask.url
        for _ in range(_HOPS):
            with self._request(http, url) as response:
                head = _head(response)
                target = urljoin(url, head.location) if head.status in _MOVED else url
                if target == url or not same_origin(url, target):
                    return self._stream(head, response, limit) if head.streams else _whole(head, response, limit)
            url = target
        return Over(trouble="address", detail="it redirects again and again")

    def _request(self, http: requests.Session, url: str) -> requests.Response:
        ask = self.ask
        return http.request(
            ask.verb, url, data=ask.body, headers=ask.headers, stream=True, allow_redirects=False,
            timeout=(CONNECT_SECONDS, ask.silence),
        )  # fmt: skip

    def _stream(self, head: Head, response: requests.Response, limit: int) -> Over:
        """Every event as it comes. A stream that breaks is over, too, and its last id counts."""
        self._tell(self, lambda: self.hears.opened(head))
        reader = EventReader(limit, self.ask.last_id)
        trouble: Trouble | None = None
        detail = ""
        try:
            while (chunk := response.raw.read1(_CHUNK, decode_content=True)) and not self.aborted:
                for event in reader.feed(chunk):
                    self._tell(self, lambda event=event: self.hears.event(event))  # type: ignore[misc]
        except EventTooLong as error:
            trouble, detail = "too-large", f"it wrote {error}"
        except FAILURES as error:
            trouble, detail = trouble_of(error, CONNECT_SECONDS, self.ask.silence)
        return Over(head, b"", trouble, detail, reader.last_id, reader.retry_ms)

    def _failed(self, error: Exception) -> Over:
        trouble, detail = trouble_of(error, CONNECT_SECONDS, self.ask.silence)
        return Over(trouble=trouble, detail=detail)


class Exchanges:
    """Every request to one server. Owned by the reactor's thread. ``on_idle`` is called there, each time the last
    thread of a lane has nothing left to do. ``limit``: bytes of one message of the server."""

    def __init__(self, reactor: Reactor, server: str, limit: int, on_idle: Callable[[], None]) -> None:
        self._reactor = reactor
        self._limit = limit
        self._closed = False
        self._crews = {
            lane: Crew(f"remote-{server}-{lane}", most, _QUEUE, lambda: self._call_soon(on_idle))
            for lane, most in _LANES.items()
        }
        self._http = wire.session(_LANES["calls"])
        self._live: set[Exchange] = set()
        self._waiting = 0
        self._unheard = threading.Semaphore(_UNHEARD)

    @property
    def busy(self) -> bool:
        return any(crew.busy for crew in self._crews.values())

    def work(self, job: Callable[[], None]) -> None:
        """Something else that blocks, before there are requests."""
        self._crews["words"].submit(job)

    def begin(self, ask: Ask, hears: Hears, lane: Lane) -> Exchange:
        """Send ``ask``; nothing of it is told before this call has returned."""
        exchange = Exchange(ask, hears, self._tell, self._tell_over)
        self._live.add(exchange)
        self._waiting += len(ask.body)
        full = self._waiting > max(WAITING_LIMIT, len(ask.body))
        if full or not self._crews[lane].submit(lambda: exchange.run(self._http, self._limit)):
            busy = Over(trouble="busy", detail="too many requests to it are waiting")
            self._reactor.call_soon(lambda: self._over(exchange, busy))
        return exchange

    def abort(self, exchange: Exchange) -> None:
        exchange.abort()
        self._forget(exchange)

    def abort_all(self) -> None:
        """End every request, begun or not."""
        for crew in self._crews.values():
            crew.drop()
        for exchange in tuple(self._live):
            self.abort(exchange)

    def close(self) -> None:
        """End everything, and the connections that were kept for further requests."""
        self._closed = True
        self.abort_all()
        self._http.close()

    # --- from the threads to the reactor -----------------------------------------------------------------

    def _tell(self, exchange: Exchange, word: Callable[[], None]) -> None:
        """A server that says more than can be heard is read more slowly."""
        while not self._unheard.acquire(timeout=1.0):
            if exchange.aborted:
                return

        def heard() -> None:
            self._unheard.release()
            if not exchange.aborted:
                word()

        self._call_soon(heard)

    def _call_soon(self, callback: Callable[[], None]) -> None:
        """A thread may outlive its child, in a name server for instance, and then finds no reactor any more."""
        if not self._closed:
            self._reactor.call_soon(callback)

    def _tell_over(self, exchange: Exchange, over: Over) -> None:
        self._tell(exchange, lambda: self._over(exchange, over))

    def _over(self, exchange: Exchange, over: Over) -> None:
        if not exchange.aborted:
            self._forget(exchange)
            exchange.hears.over(over)

    def _forget(self, exchange: Exchange) -> None:
        if exchange in self._live:
            self._live.remove(exchange)
            self._waiting -= len(exchange.ask.body)


# --- what came back -----------------------------------------------------------------------------------------


def _head(response: requests.Response) -> Head:
    headers = response.headers
    kind = headers.get("Content-Type", "").split(";", 1)[0].strip().lower()
    session, location = headers.get("Mcp-Session-Id", ""), headers.get("Location", "")
    return Head(response.status_code, kind, session, location)


def _whole(head: Head, response: requests.Response, limit: int) -> Over:
    parts: list[bytes] = []
    size = 0
    while chunk := response.raw.read1(_CHUNK, decode_content=True):
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            return Over(head, trouble="too-large", detail=f"its answer has more than {limit} bytes")
    return Over(head, b"".join(parts))
