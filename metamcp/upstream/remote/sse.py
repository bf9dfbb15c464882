"""HTTP+SSE: one stream for all that the server says, and a URL of its choice for what it is told.

MCP 2024-11-05, Transports: HTTP with SSE.
"""

from __future__ import annotations

from metamcp.errors import MethodNotFound, RemoteRefused, ServerDied
from metamcp.protocol.http_rules import JSON, SSE
from metamcp.protocol.sse import ServerEvent
from metamcp.upstream.remote.address import endpoint
from metamcp.upstream.remote.exchange import Ask, Exchange, Head, Over
from metamcp.upstream.remote.faults import fault
from metamcp.upstream.remote.message import Outgoing, messages
from metamcp.upstream.remote.transport import STREAM_SECONDS, WORD_SECONDS, Speaker, Word, note

_INITIALIZED = "notifications/initialized"


class HttpSse:
    """Owned by the reactor's thread. The stream is the session: its end is the end of the child."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._stream: Exchange | None = None
        self._to = ""  # where messages go
        self._confirming = False
        self._held: list[Outgoing] = []

    def send(self, out: Outgoing) -> None:
        if out.version:
            self._no_era(out)
        elif not self._to or self._confirming:
            self._held.append(out)
            self._open()
        elif out.kind == "request":
            _Sent(self._speaker, out).begin(self._ask(out))
        elif out.method == _INITIALIZED:
            self._confirm(out)
        else:
            Word(self._speaker, self._ask(out), lambda over: note(self._speaker, out, over))

    def farewell(self) -> None:
        """The end of the stream says it."""

    def _no_era(self, out: Outgoing) -> None:
        """2026-07-28 has no such transport: a server need not be asked to know that it will not understand."""
        if out.kind == "request":
            error = MethodNotFound(f"{out.method} of revision {out.version} cannot be sent over HTTP+SSE")
            self._speaker.later(0, lambda: self._speaker.refuse(out.id, error))

    def _open(self) -> None:
        if self._stream is None:
            ask = Ask("GET", self._speaker.url, {"Accept": SSE, "Cache-Control": "no-store"}, STREAM_SECONDS)
            self._stream = self._speaker.begin(ask, self, "streams")

    def _ask(self, out: Outgoing) -> Ask:
        headers = {"Content-Type": JSON, "Accept": f"{JSON}, {SSE}", **out.trace}
        return Ask("POST", self._to, headers, WORD_SECONDS, out.body)

    def _confirm(self, out: Outgoing) -> None:
        """Requests follow when the server has taken ``initialized``: two POSTs may overtake each other."""
        self._confirming = True

        def done(over: Over) -> None:
            note(self._speaker, out, over)
            self._confirming = False
            self._send_held()

        Word(self._speaker, self._ask(out), done)

    def _send_held(self) -> None:
        held, self._held = self._held, []
        for out in held:
            self.send(out)

    # --- the stream --------------------------------------------------------------------------------------

    def opened(self, head: Head) -> None:
        """The first event matters, not the status."""

    def event(self, event: ServerEvent) -> None:
        if event.name == "endpoint":
            self._endpoint(event.data.decode("utf-8", "replace"))
        else:
            for line in messages(event.data):
                self._speaker.deliver(line)

    def _endpoint(self, written: str) -> None:
        found = endpoint(self._speaker.url, written)
        server = self._speaker.server
        if found is None:
            reason = "it wants messages at another address than its own, which would get the configured headers"
            self._speaker.die(RemoteRefused(f"server {server!r}: {reason}", server=server, reason=reason))
        elif not self._to:
            self._to = found
            self._send_held()

    def over(self, over: Over) -> None:
        server = self._speaker.server
        if self._to:
            reason = f"its event stream broke off: {over.detail}" if over.detail else "it closed its event stream"
            self._speaker.die(ServerDied(f"server {server!r}: {reason}", server=server, reason=reason))
        else:
            self._speaker.die(fault(server, self._speaker.url, over, opening=True))


class _Sent:
    """One request: its POST only says whether the server took it; the answer comes on the stream."""

    def __init__(self, speaker: Speaker, out: Outgoing) -> None:
        self._speaker = speaker
        self._out = out
        self._exchange: Exchange | None = None

    def begin(self, ask: Ask) -> None:
        self._exchange = self._speaker.begin(ask, self, "calls")

    def opened(self, head: Head) -> None:
        """Not meant by the protocol, and the answer comes on the other stream."""
        if self._exchange is not None:
            self._speaker.abort(self._exchange)

    def event(self, event: ServerEvent) -> None:
        """Not after ``opened``."""

    def over(self, over: Over) -> None:
        if over.trouble is None and 200 <= over.status < 300:
            return
        error = fault(self._speaker.server, self._speaker.url, over)
        if self._out.method == "initialize":
            self._speaker.die(error)
        else:
            self._speaker.refuse(self._out.id, error)
