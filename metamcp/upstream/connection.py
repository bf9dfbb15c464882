"""One MCP conversation with one server over one child: handshake, calls, and what the server says by itself.

Of every message only the envelope is decoded; results and notifications travel on as the bytes they came in
(MCP 2025-11-25: Lifecycle, Progress, Cancellation; JSON-RPC 2.0).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from metamcp.concurrency.reactor import Reactor, Timer
from metamcp.config.given import NOTHING
from metamcp.config.model import ServerSpec
from metamcp.errors import (
    AtCapacity,
    Cancelled,
    DeadlinePassed,
    InvalidParams,
    InvalidRequest,
    MetaMCPError,
    MethodNotFound,
    ServerDied,
    ServerMisbehaved,
    server_unavailable,
)
from metamcp.protocol import jsonrpc, trace_context
from metamcp.protocol.framing import LineSplitter, LineTooLong
from metamcp.protocol.jsonrpc import JsonObject, Message, NestedTooDeeply, Raw
from metamcp.protocol.peer import Peer
from metamcp.protocol.trace_context import TraceContext
from metamcp.runtime.child import Child, Exit
from metamcp.runtime.diagnosis.advice import advice
from metamcp.runtime.diagnosis.relaxing import relaxing
from metamcp.runtime.process.interface import ENGINE_REFUSED
from metamcp.runtime.states import OVER, PING_EVERY, PING_SECONDS, ChildState
from metamcp.telemetry import logs
from metamcp.telemetry.spans import Span
from metamcp.telemetry.tally import Tally
from metamcp.upstream import spans
from metamcp.upstream.opening import Opening, SpokenEra

MAX_LINE = 32 * 1024 * 1024
"""Bytes of one message of a server; a longer line ends its child."""

MOST_WAITING = 256
"""Calls that may wait for one server's start."""

_BRACKET = ord("[")
_log = logs.get("upstream.connection")

Done = Callable[[bytes | None, bytes | MetaMCPError | None], None]
"""Called once with ``(result, None)``, or ``(None, error)``: the server's error as raw bytes, or ours."""


class Listener(Protocol):
    """Who hears what a server says by itself, on the reactor's thread."""

    def on_ready(self, connection: UpstreamConnection) -> None:
        """The conversation has begun; what is said here is said before any call."""

    def on_request(self, connection: UpstreamConnection, identifier: bytes, method: str, params: Raw) -> None: ...

    def on_withdrawn(self, connection: UpstreamConnection, identifier: bytes) -> None:
        """The server no longer wants an answer to a request that it sent."""

    def on_notification(self, connection: UpstreamConnection, method: str, params: Raw) -> None: ...

    def on_gone(self, connection: UpstreamConnection) -> None:
        """The conversation is over; its calls have been ended."""


@dataclass(slots=True, eq=False)
class UpstreamCall:
    """One request on its way to a server. ``on_event`` gets progress notifications, ready to send; ``on_question``
    the method of what the server asks, where nobody else can be asked and this is the only call in flight. ``cause``:
    the span that it is a part of, where traces are wanted; ``span`` is its own, once it is on its way."""

    method: str
    params: JsonObject
    on_done: Done
    on_event: Callable[[bytes], None] | None = None
    on_question: Callable[[str], None] | None = None
    id: int = 0
    token: bytes = b""  # the client's own progress token, restored in every notification
    deadline: float = 0.0
    last: float = 0.0
    started: float = field(default=0.0)
    sent: float = 0.0  # when it was written; 0.0 where nobody measures how long its answer takes
    unwaited: bool = False  # a subscription, or a ping: it has no deadline, and no client waits for its result
    cause: Span | None = None
    span: Span | None = None

    def end(self, result: bytes | None, error: bytes | MetaMCPError | None) -> None:
        """Once. Who is told knows the call, in most cases; so that no cycle is left, the call forgets them."""
        done, self.on_done = self.on_done, _told
        self.on_event = self.on_question = None
        if self.span is not None:
            spans.end(self.span, self.method, result, error)
        done(result, error)


def _told(_result: bytes | None, _error: bytes | MetaMCPError | None) -> None: ...


class UpstreamConnection:
    """Owned by the reactor's thread. ``listener`` may be exchanged between two calls. Nothing is said to the server
    before ``open``."""

    def __init__(
        self,
        reactor: Reactor,
        spec: ServerSpec,
        child: Child,
        listener: Listener,
        on_closed: Callable[[UpstreamConnection], None],
        tally: Tally,
    ) -> None:
        self.spec = spec
        self.child = child
        self.key = ""  # whom it serves, in the pool's words
        self.principal = ""  # and on whose behalf; "" for nobody in particular
        self.given = NOTHING  # what it was started with for its client alone
        self.spare = False  # nobody uses it yet
        self.opening: Opening | None = None
        self.listener = listener
        self.server_says: JsonObject = {}  # the result of the opening request
        self.objection = b""  # the raw error with which the server answered the opening request
        self.watched = False  # somebody waits for what the server says by itself: it is not idle
        self.last_used = reactor.clock()
        self.started_well = False
        self.retired = ""  # why it takes no call any more, and ends with its last one
        self.unneeded = False  # we ended it, for a reason that does not speak against the server
        self.held = 0  # calls that are between two of their rounds: more of them comes
        self._reactor = reactor
        self._on_closed = on_closed
        self._tally = tally
        self._peer: Peer[UpstreamCall, float] = Peer()  # received: when the server asked
        self._awaited = 0  # of ``sent``, those that a client waits for; counted, for it is asked with each call
        self._waiting: list[UpstreamCall] = []
        self._ready_callbacks: list[Callable[[MetaMCPError | None], None]] = []
        self._lines = LineSplitter(MAX_LINE)
        self._heard_at = reactor.clock()
        self._ping: UpstreamCall | None = None
        self._start_timer: Timer | None = None
        self._opened_at = 0.0
        self._cold = False  # it is spoken to as soon as it runs: how long that takes is its start
        child.on_data = self._on_data
        child.on_exit = self._on_exit

    # --- what others ask -------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Can it take a call?"""
        return self.child.state not in OVER

    @property
    def era(self) -> SpokenEra:
        return self.opening.era if self.opening is not None else "legacy"

    @property
    def in_flight(self) -> int:
        """Calls that wait for this server. A subscription waits for nothing."""
        return self._awaited + len(self._waiting) + self.held

    @property
    def waiting(self) -> int:
        """Calls that wait for its start."""
        return len(self._waiting)

    @property
    def only_call(self) -> UpstreamCall | None:
        """The one call in flight; what the server says now belongs to it. None when there are several."""
        calls = [call for call in self._peer.sent.values() if not call.unwaited]
        return calls[0] if len(calls) == 1 else None

    def capability(self, name: str) -> JsonObject | None:
        """What the server declared under ``name``; None when it did not."""
        try:
            declared = jsonrpc.decode_object(self.server_says.get("capabilities", b""), "capabilities")
            return jsonrpc.decode_object(declared[name], name) if name in declared else None
        except InvalidParams:
            return None

    def open(self, opening: Opening) -> None:
        """Begin the conversation. Once."""
        self.opening, self._opened_at = opening, self._reactor.clock()
        self._cold = self.child.state is ChildState.STARTING
        if self.child.state is ChildState.SPARE and not self.spare:
            self.child.become(ChildState.STARTING)
        self._start_timer = self._reactor.call_later(self.spec.timeouts.start, self._start_too_slow)
        call = UpstreamCall(opening.method, {}, self._opened)
        call.deadline = call.last = float("inf")  # the start timer bounds it
        self._enter(call)
        self._write(jsonrpc.request(b"%d" % call.id, opening.method, opening.params))

    def when_ready(self, callback: Callable[[MetaMCPError | None], None]) -> None:
        """Call back once: with None when initialized, or with the reason why it never will be."""
        if self.started_well:
            callback(None)
        else:
            self._ready_callbacks.append(callback)

    def call(self, call: UpstreamCall) -> None:
        """Send ``call`` now, or when the server is ready. Raises AtCapacity when too many wait already."""
        now = call.started = self._reactor.clock()
        if call.unwaited:
            call.deadline = call.last = float("inf")
        else:
            self.last_used = now
            call.deadline, call.last = now + self.spec.timeouts.call, now + self.spec.timeouts.total
        if self.started_well:
            self._transmit(call, now)
        elif len(self._waiting) >= MOST_WAITING:
            raise AtCapacity(f"{MOST_WAITING} calls wait for {self.spec.name!r} to start", server=self.spec.name)
        else:
            self._waiting.append(call)

    def cancel(self, call: UpstreamCall, params: JsonObject) -> None:
        """The client gave up: tell the server once, and end the call (Cancellation). ``params`` may have a reason."""
        if not self._take(call):
            return
        if call.id:
            self._cancel_upstream(call, params)
        call.end(None, Cancelled("the client cancelled this request"))

    def notify(self, method: str, params: bytes) -> None:
        """A notification for the server; dropped while it has not been initialized."""
        if self.started_well:
            self._write(jsonrpc.notification(method, params))

    def answer(self, identifier: bytes, result: bytes | None, error: bytes | None) -> None:
        """The answer to a request of the server; ``identifier`` as the server wrote it. The time that a person took
        for it does not count against the calls in flight."""
        asked = self._peer.finish(identifier)
        if asked is None:
            return  # answered already, or the server took its question back
        now = self._reactor.clock()
        for call in self._peer.sent.values():
            call.deadline, call.last = max(call.deadline, now + self.spec.timeouts.call), call.last + now - asked
        if error is not None:
            self._write(jsonrpc.error_response(identifier, error))
        else:
            self._write(jsonrpc.result_response(identifier, result or b"{}"))

    def close(self, reason: str) -> None:
        """Nobody needs it any more."""
        self.unneeded = self.unneeded or self.alive
        self.child.stop(reason)

    def expire(self, now: float) -> None:
        """End calls whose time is over, and tell the server to stop working on them. While the server waits for
        an answer of the client, no call is late: whoever relays the question bounds it."""
        if self._peer.received:
            return
        late = [call for call in (*self._peer.sent.values(), *self._waiting) if now >= min(call.deadline, call.last)]
        for call in late:
            if not self._take(call):
                continue
            if call.id:
                self._cancel_upstream(call, {"reason": Raw(b'"deadline passed"')})
            seconds = round(now - call.started, 1)
            text = f"server {self.spec.name!r} did not answer {call.method} within {seconds} s"
            call.end(None, DeadlinePassed(text, server=self.spec.name, seconds=seconds))

    def check(self, now: float) -> None:
        """Ask a server that is silent and has nothing to do whether it is there (2025-11-25, Ping; 2026-07-28 has no
        such request). One that does not answer is ended."""
        if self.era != "legacy" or not self.started_well or not self.alive or self.in_flight:
            return
        if self._ping is None:
            if now - self._heard_at >= PING_EVERY:
                self._ping = UpstreamCall("ping", {}, self._pinged, unwaited=True)
                self.call(self._ping)
        elif now - max(self._ping.started, self.last_used, self._heard_at) >= PING_SECONDS:
            self.child.stop(f"it did not answer ping within {PING_SECONDS:g} s")

    def _pinged(self, _result: bytes | None, _error: bytes | MetaMCPError | None) -> None:
        """An error is an answer, too."""
        self._ping = None

    # --- handshake -------------------------------------------------------------------------------------

    def _opened(self, result: bytes | None, error: bytes | MetaMCPError | None) -> None:
        opening = self.opening
        if isinstance(error, MetaMCPError) or opening is None:
            return  # the child is gone; _on_exit tells everybody
        try:
            self.server_says = jsonrpc.decode_object(result or b"", f"the {opening.method} result")
        except InvalidParams:
            self.server_says = {}
        if not opening.agreed(self.server_says):
            self.objection = error or b""
            detail = logs.redact((error or result or b"").decode("utf-8", "replace"))[:300]
            verdict = "was enough to know its era" if self.unneeded else "is not valid"
            reason = f"its answer to {opening.method} {verdict}: {detail}"
            self.child.stop(reason)
            self._tell_ready(server_unavailable(self.spec.name, "BACKOFF", f"it did not start: {reason}"))
            return
        self._stop_start_timer()
        self.started_well = True
        now = self.last_used = self._reactor.clock()
        if self._cold:
            self._tally.ready(self.spec.name, now - self.child.begun)
        self.child.become(ChildState.SPARE if self.spare else ChildState.READY)
        seconds = round(self._reactor.clock() - self.child.born, 3)
        shown = logs.fields(**self._shown(), era=self.era, spare=self.spare or None, seconds=seconds)
        _log.info("upstream-opened", extra=shown)
        if self.era == "legacy":
            self._write(jsonrpc.notification("notifications/initialized", b""))
        self.listener.on_ready(self)
        self._tell_ready(None)
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            self._transmit(call, now)

    def _start_too_slow(self) -> None:
        if self.started_well or self.opening is None:
            return
        # Its time is counted from when it was its turn to start, or, of a spare, from the first word.
        begun = self._reactor.clock() if self.child.queued else max(self.child.begun, self._opened_at)
        left = begun + self.spec.timeouts.start - self._reactor.clock()
        if left > 0:
            self._start_timer = self._reactor.call_later(left, self._start_too_slow)
        else:
            self.child.stop(f"it did not answer {self.opening.method} within {self.spec.timeouts.start:g} s")

    def _stop_start_timer(self) -> None:
        if self._start_timer is not None:
            self._start_timer.cancel()

    def _tell_ready(self, error: MetaMCPError | None) -> None:
        callbacks, self._ready_callbacks = self._ready_callbacks, []
        for callback in callbacks:
            callback(error)

    # --- out -------------------------------------------------------------------------------------------

    def _transmit(self, call: UpstreamCall, now: float) -> None:
        self._enter(call)
        if not call.unwaited:
            call.sent = now
            self.child.become(ChildState.BUSY)
        params = call.params
        if call.token:
            params = params | {"_meta": _with_token(params["_meta"], call.id)}
        if call.cause is not None:
            call.span = spans.begin(
                call.cause, self.spec.name, self.spec.url, self.child, call.method, params, call.id
            )
            params = trace_context.insert(params, TraceContext(*call.span.carrier))
        self._write(jsonrpc.request(b"%d" % call.id, call.method, jsonrpc.encode(params)))

    def _enter(self, call: UpstreamCall) -> None:
        """From now on an answer may come. Whoever takes it out of the table says so to ``_left``."""
        call.id = self._peer.mint()
        self._peer.send(call.id, call)
        self._awaited += not call.unwaited

    def _cancel_upstream(self, call: UpstreamCall, params: JsonObject) -> None:
        told = params | {"requestId": Raw(b"%d" % call.id)}
        self._write(jsonrpc.notification("notifications/cancelled", jsonrpc.encode(told)))

    def _write(self, message: bytes) -> None:
        if b"\n" in message or b"\r" in message:
            # Of a client that indents its JSON. A line end can only be white space here: in a string it is escaped.
            message = message.replace(b"\r", b" ").replace(b"\n", b" ")
        self.child.write(message + b"\n")

    def _take(self, call: UpstreamCall) -> bool:
        """Claim the right to finish ``call``: whoever gets True ends it, so it ends exactly once."""
        if call in self._waiting:
            self._waiting.remove(call)
            return True
        if self._peer.sent.pop(call.id, None) is None:
            return False
        self._left(call)
        return True

    def _left(self, call: UpstreamCall) -> None:
        if call.unwaited:
            return
        self._awaited -= 1
        self.last_used = self._reactor.clock()
        if self.child.state is ChildState.BUSY and not self.in_flight:
            self.child.become(ChildState.READY)

    # --- in --------------------------------------------------------------------------------------------

    def _on_data(self, chunk: bytes) -> None:
        self._heard_at = self._reactor.clock()
        try:
            lines = self._lines.feed(chunk)
        except LineTooLong as error:
            self.child.on_data = lambda _chunk: None
            self.child.stop(f"it wrote {error}; the limit is {MAX_LINE}")
            return
        for line in lines:
            if line[0] != _BRACKET:
                self._on_line(line)
                continue
            for message in _messages(line):
                self._on_line(message)

    def _on_line(self, line: bytes) -> None:
        try:
            message = jsonrpc.parse(line)
        except NestedTooDeeply as error:
            self._on_unreadable(jsonrpc.id_of_unreadable(line), error)
            return
        except MetaMCPError:
            # Banners and prints on standard output are common; they end nothing (MCP, stdio: they should not be).
            _log.warning(
                "not-a-message",
                extra=logs.fields(server=self.spec.name, line=line[:200].decode("utf-8", "replace")),
            )
            return
        if message.method is None:
            self._on_response(message)
        elif message.kind == "notification":
            self._on_notification(message.method, message.params)
        else:
            self._on_request(message)

    def _on_unreadable(self, identifier: bytes, error: NestedTooDeeply) -> None:
        """Whoever waits for it must not wait until the deadline."""
        name = self.spec.name
        _log.warning("not-a-message", extra=logs.fields(server=name, reason=error.text))
        call = self._peer.answered(identifier)
        if call is not None:
            self._left(call)
            text = f"the answer of server {name!r} cannot be used: {error.text}"
            call.end(None, ServerMisbehaved(text, server=name))

    def _on_response(self, message: Message) -> None:
        call = self._peer.answered(bytes(message.id))
        if call is None:
            _log.debug("answer-to-nothing", extra=logs.fields(server=self.spec.name))
            return
        self._left(call)
        if call.sent:
            self._tally.answered(self.spec.name, call.method, self.last_used - call.sent)
        error = message.failure
        call.end(None if error else bytes(message.result), error or None)

    def _on_request(self, message: Message) -> None:
        identifier = bytes(message.id)
        if message.method == "ping":
            self._write(jsonrpc.result_response(identifier, b"{}"))
            return
        try:
            self._peer.receive(identifier, self._reactor.clock())
        except InvalidRequest as twice:
            self._write(jsonrpc.error_response(identifier, twice.as_jsonrpc()))
        else:
            self.listener.on_request(self, identifier, message.method or "", message.params)

    def refuse(self, identifier: bytes, method: str) -> None:
        """Answer a request of the server that nobody can handle: silence would hang it."""
        error = MethodNotFound(f"{method} is not supported by this client")
        self.answer(identifier, None, jsonrpc.encode(error.as_jsonrpc()))

    def _on_notification(self, method: str, params: Raw) -> None:
        if method == "notifications/progress":
            self._on_progress(params)
        elif method == "notifications/cancelled":
            self._on_cancelled(params)
        else:
            self.listener.on_notification(self, method, params)

    def _on_progress(self, raw: Raw) -> None:
        try:
            params = jsonrpc.decode_object(raw)
        except InvalidParams:
            return
        call = self._call_of(params.get("progressToken"))
        if call is None or not call.token:
            return
        call.deadline = self._reactor.clock() + self.spec.timeouts.call
        if call.on_event is not None:
            params["progressToken"] = Raw(call.token)
            call.on_event(jsonrpc.notification("notifications/progress", jsonrpc.encode(params)))

    def _on_cancelled(self, raw: Raw) -> None:
        """The server takes a question back (Cancellation), or ends a subscription (2026-07-28, Cancellation)."""
        try:
            identifier = jsonrpc.decode_object(raw).get("requestId", Raw(b""))
        except InvalidParams:
            return
        call = self._call_of(identifier)
        if call is not None and call.unwaited:
            self._take(call)
            call.end(b"{}", None)
        elif bytes(identifier) and self._peer.finish(bytes(identifier)) is not None:
            self.listener.on_withdrawn(self, bytes(identifier))

    def _call_of(self, token: Raw | None) -> UpstreamCall | None:
        try:
            return self._peer.sent.get(int(bytes(token or b"")))
        except ValueError:
            return None

    # --- the end ---------------------------------------------------------------------------------------

    def _on_exit(self, ended: Exit) -> None:
        self._stop_start_timer()
        error = self._why_gone(ended)
        calls = [*self._peer.sent.values(), *self._waiting]
        self._peer.sent.clear()
        self._awaited = 0
        self._waiting.clear()
        if self.started_well:
            reason = ended.describe()
            _log.info("upstream-closed", extra=logs.fields(**self._shown(), reason=reason, calls=len(calls) or None))
        self._on_closed(self)
        for call in calls:
            call.end(None, error)
        self._tell_ready(error)
        self.listener.on_gone(self)

    @property
    def engine_refused(self) -> bool:
        """It has ended, because its container could not be started (docker run, exit status)."""
        child = self.child
        return child.is_container and child.exit is not None and child.exit.code in ENGINE_REFUSED

    def advice(self, ended: Exit) -> str:
        """What to do where the engine refused it (docker run, exit status), or the way that it is confined may be what
        stopped it; "" where that is not known."""
        plan = self.child.plan
        if plan is not None and self.engine_refused and ended.last_words:
            return ended.hint or advice("\n".join(ended.stderr), plan.env.get("DOCKER_HOST", ""))
        return ended.hint if self.started_well else self._relaxing(ended)

    def _shown(self) -> dict[str, str | int | None]:
        """What it is told apart by in the log, and on whose behalf it is."""
        child = self.child
        return {
            "server": self.spec.name, "container": child.container_name or None, "pid": child.pid,
            "session": child.short_session or None, "principal": self.principal or None,
        }  # fmt: skip

    def _said(self, ended: Exit) -> list[str]:
        """Its last words, and what to do."""
        if not ended.last_words:
            return []
        hint = self.advice(ended)
        if self.engine_refused:
            return [ended.last_words, hint]
        return [f"Its last words: {ended.last_words}", *([_sentence(hint)] if hint else [])]

    def _relaxing(self, ended: Exit) -> str:
        """Also of one that we ended, because it did not get ready in time."""
        plan = self.child.plan
        confinement = plan.confinement if plan is not None and not ended.oom_killed else None
        return ended.hint or (relaxing(confinement, ended.stderr) if confinement else "")

    def _why_gone(self, ended: Exit) -> MetaMCPError:
        name = self.spec.name
        if self.child.error is not None:
            self.child.error.data.setdefault("server", name)
            return self.child.error
        if not self.started_well:
            said = [f"it did not start: {ended.describe()}", *self._said(ended)]
            reason = " ".join(text if text.endswith((".", "?", "!")) else f"{text}." for text in said)
            unavailable = server_unavailable(name, "BACKOFF", reason)
            unavailable.data |= {"oomKilled": True} if ended.oom_killed else {}
            return unavailable
        stderr = "\n".join(ended.stderr)
        text = f"server {name!r} died during the call: {ended.describe()}"
        told = "\n".join(part for part in (text, stderr.rstrip(), _sentence(ended.hint)) if part)
        return ServerDied(
            told, server=name, exitCode=ended.code, signal=ended.signal,
            oomKilled=ended.oom_killed or None, stderr=stderr or None, advice=ended.hint or None,
        )  # fmt: skip


def _sentence(hint: str) -> str:
    return f"{hint[0].upper()}{hint[1:].rstrip('.')}." if hint else ""


def _messages(line: bytes) -> list[bytes]:
    """Servers of 2025-03-26 may write several messages as one array (Base Protocol, Batching)."""
    try:
        return [bytes(message) for message in jsonrpc.decode_array(line, "a batch")]
    except InvalidParams:
        return [line]  # a log line, most likely


def progress_token(params: JsonObject) -> bytes:
    """The raw ``_meta.progressToken`` of a request, or empty when there is none. What is no token (``null``, of
    clients that write absent members so) is left to the server. Raises InvalidParams."""
    meta = params.get("_meta")
    if meta is None or (b'"progressToken"' not in bytes(meta) and b"\\" not in bytes(meta)):
        return b""  # the usual case, without decoding; a backslash may hide the name
    token = bytes(jsonrpc.decode_object(meta, "_meta").get("progressToken", Raw(b"")))
    return token if token[:1] in b'"-0123456789' else b""


def _with_token(meta: Raw, token: int) -> Raw:
    """``_meta`` with our own token, unique on this connection, instead of the client's."""
    members = jsonrpc.decode_object(meta, "_meta")
    members["progressToken"] = Raw(b"%d" % token)
    return Raw(jsonrpc.encode(members))
