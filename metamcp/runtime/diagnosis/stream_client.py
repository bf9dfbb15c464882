"""A client of the gateway's probe stream (``web/probe.py``), through whatever stands in front: when did what arrive?

No library that pools, retries or follows redirects: what is judged is the way of these very bytes.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

SUFFIX = "/probe"
NOTHING_MORE = "nothing more came in time"

_EVENT_END = b"\n\n"
_CHUNK = 4096
_MOST_BYTES = 64 * 1024
_MOST_BODY = 400
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """``events`` with ``every`` seconds of silence between them."""

    events: int
    every: float

    @property
    def seconds(self) -> float:
        return (self.events - 1) * self.every

    @property
    def query(self) -> str:
        return urlencode({"events": self.events, "every": f"{self.every:g}"})


@dataclass(frozen=True, slots=True)
class Seen:
    """Seconds since the request was sent: of the head (None: none came), of each event, and of the end. ``trouble``:
    how it ended, if not properly. ``said``: the beginning of a body that is no event stream."""

    status: int = 0
    content_type: str = ""
    head: float | None = None
    events: tuple[float, ...] = ()
    end: float = 0.0
    trouble: str = ""
    said: str = ""

    @property
    def is_stream(self) -> bool:
        return self.status == 200 and self.content_type.startswith("text/event-stream")


def observe(
    url: str,
    headers: Mapping[str, str],
    wanted: Wanted,
    slack: float = 5.0,
    clock: Callable[[], float] = time.monotonic,
) -> Seen:
    """Open the stream at ``url`` and read it to its end, ``slack`` seconds longer than it should take at most. Blocks.
    Never raises for what the other side does. Redirects are not followed."""
    parts = urlsplit(url)
    connection = _connection(parts.scheme, parts.hostname or "", parts.port)
    reading = _Reading(clock, wanted, slack)
    try:
        connection.connect()
        connection.request("GET", f"{parts.path}?{wanted.query}", headers=_headers(headers))
        reading.begin()
        reading.read(connection)
    except (OSError, http.client.HTTPException, zlib.error) as error:
        reading.trouble = _words(error)
    finally:
        connection.close()
    return reading.seen()


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=_CONNECT_SECONDS, context=context)
    return http.client.HTTPConnection(host, port, timeout=_CONNECT_SECONDS)


def _headers(more: Mapping[str, str]) -> dict[str, str]:
    """As clients ask: many proxies compress what they may, and hold it back for that."""
    return {"Accept": "text/event-stream", "Accept-Encoding": "gzip, deflate", "Cache-Control": "no-store", **more}


class _Reading:
    def __init__(self, clock: Callable[[], float], wanted: Wanted, slack: float) -> None:
        self.trouble = ""
        self._clock = clock
        self._wanted = wanted
        self._slack = slack
        self._begun = clock()
        self._head: tuple[float, int, str] | None = None
        self._events: list[float] = []
        self._body = b""

    def begin(self) -> None:
        self._begun = self._clock()

    def read(self, connection: http.client.HTTPConnection) -> None:
        sock = connection.sock  # after a head with Connection: close the response alone has it
        self._bound(sock)
        with connection.getresponse() as response:
            self._head = (self._since(), response.status, response.headers.get_content_type())
            unpack = _unpacker(response.headers.get("Content-Encoding", ""))
            while len(self._body) < _MOST_BYTES:
                self._bound(sock)
                chunk = response.read1(_CHUNK)
                if not chunk:
                    break
                self._take(unpack(chunk))
        if len(self._events) < self._wanted.events and self._head[1] == 200:
            self.trouble = "the connection was closed"

    def seen(self) -> Seen:
        head, status, kind = self._head or (None, 0, "")
        found = Seen(status, kind, head, tuple(self._events), self._since(), self.trouble)
        text = "" if found.is_stream else self._body[:_MOST_BODY].decode("utf-8", "replace")
        return Seen(status, kind, head, found.events, found.end, found.trouble, " ".join(text.split()))

    def _take(self, data: bytes) -> None:
        before = self._body.count(_EVENT_END)
        self._body += data
        self._events += [self._since()] * (self._body.count(_EVENT_END) - before)

    def _since(self) -> float:
        return self._clock() - self._begun

    def _bound(self, sock: socket.socket) -> None:
        """What is left of the whole. Raises TimeoutError."""
        left = self._wanted.seconds + self._slack - self._since()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)


def _unpacker(coding: str) -> Callable[[bytes], bytes]:
    if coding in ("gzip", "deflate"):
        return zlib.decompressobj(32 + zlib.MAX_WBITS).decompress
    return lambda data: data


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return NOTHING_MORE
    if isinstance(error, http.client.IncompleteRead | http.client.RemoteDisconnected | ConnectionError):
        return "the connection was cut"
    return str(getattr(error, "strerror", None) or error)
