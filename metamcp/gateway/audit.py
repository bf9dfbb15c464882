"""Who called what, and what became of it: one line of the audit log for each request of a client, whatever happens.

A ``Record`` is made with the turn of a request and ended with it; the first end counts. Nothing of a request but its
method, and the server and the name that the gateway found for it, is ever written: what a client sends is its own.
Whoever watches calls while they happen is a ``Journal``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from metamcp.errors import (
    AtCapacity,
    Cancelled,
    CommandInvalid,
    DeadlinePassed,
    MetaMCPError,
    RefusedByPolicy,
    ServerDied,
    ShuttingDown,
)
from metamcp.gateway import spans
from metamcp.gateway.interface import Ask, Batch, Client, Post, Refusal, Request, Stateless
from metamcp.gateway.merging import Route
from metamcp.protocol import jsonrpc
from metamcp.telemetry import logs
from metamcp.telemetry.audit_log import Entry
from metamcp.telemetry.spans import Span, Traces
from metamcp.telemetry.sparing import Sparing

_UNRECORDED = frozenset({"ping"})
_REFUSALS = (AtCapacity, RefusedByPolicy, CommandInvalid, ShuttingDown)
"""Of the gateway's own errors those that no client is to blame for, and yet nobody was asked."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,31}(?=:)", re.IGNORECASE)
_LONGEST = 64  # of the name of an endpoint or a server, which need not exist
_NAMED = frozenset({"tools/call", "prompts/get"})
_METHOD = re.compile(r"[a-zA-Z/_$.-]{1,64}")
_REASON = 300  # characters of a failure that the log shows

_log = logs.get("gateway.audit")

Write = Callable[[Entry], None]
"""Takes one line for the log."""

Failed = Callable[[Entry, MetaMCPError], None]
"""Hears of a request that failed, where it was not its client, or an answer of its server, that said so."""


class Journal(Protocol):
    """Hears of every request that is audited: of each ``begun`` exactly one ``ended``."""

    def begun(self, record: Record) -> None: ...

    def ended(self, record: Record, entry: Entry) -> None:
        """Also of one that has not ``begun``, for it was refused before that."""


class NoJournal:
    def begun(self, record: Record) -> None: ...

    def ended(self, record: Record, entry: Entry) -> None: ...


class Record:
    """One request. Owned by the reactor's thread. ``session``: as it may be shown; ``since``: monotonic seconds."""

    __slots__ = (
        "_client", "_ended", "_failed", "_journal", "_write", "clock", "method", "route", "session", "since", "span",
    )  # fmt: skip

    def __init__(
        self, write: Write, failed: Failed, clock: Callable[[], float], client: Client, method: str, session: str,
        journal: Journal,
    ) -> None:  # fmt: skip
        self._write = write
        self._failed = failed
        self._journal = journal
        self._client = client
        self._ended = False
        self.method = method
        self.session = session
        self.since = clock()
        self.clock = clock
        self.route: Route | None = None  # once it is known
        self.span: Span | None = None  # where traces are wanted

    def begin(self) -> None:
        """Its request was taken, and will end."""
        if self.method not in _UNRECORDED:
            self._journal.begun(self)

    def end(self, error: bytes | MetaMCPError | None = None) -> None:
        """``error``: the server's own as raw JSON, or the gateway's; None for a result."""
        if self._ended or self.method in _UNRECORDED:
            return
        self._ended = True
        entry = self.entry()
        entry.seconds = round(self.clock() - self.since, 4)
        _tell_outcome(entry, error)
        self._write(entry)
        self._journal.ended(self, entry)
        failure = _failure(error)
        if failure is not None:
            self._failed(entry, failure)
        if self.span is not None:
            spans.end(self.span, entry, failure.headline if failure is not None else "")

    def entry(self) -> Entry:
        """What is known so far."""
        entry = _entry("request", self._client, self.session)
        entry.method = _known(self.method)
        if self.route is not None:
            self._tell_target(entry, self.route)
        return entry

    def _tell_target(self, entry: Entry, route: Route) -> None:
        entry.server = route.server
        if self.method in _NAMED:
            entry.tool = route.name
        elif found := _SCHEME.match(route.name):
            entry.scheme = found[0].lower()


class Audit:
    """Owned by the reactor's thread."""

    def __init__(
        self,
        write: Write,
        clock: Callable[[], float],
        journal: Journal | None = None,
        traces: Traces | None = None,
    ) -> None:
        self._write = write
        self._clock = clock
        self._journal: Journal = journal or NoJournal()
        self._traces = traces
        self._sparing = Sparing(clock)

    def begin(self, client: Client, method: str, session: str = "") -> Record:
        """``session``: as it may be shown."""
        session = session or client.session[:8]
        record = Record(self._write, self._failed, self._clock, client, method, session, self._journal)
        if client.trace is not None and method not in _UNRECORDED:
            record.span = spans.begin(self._traces, client, _known(method), session)
        return record

    def refused(self, request: Request, error: MetaMCPError) -> None:
        """``request`` never became a turn, or the turns of its messages."""
        if isinstance(request, Batch):
            for post in request.posts:
                self.refused(post, error)
        elif isinstance(request, (Post, Stateless)):
            if not isinstance(request, Post) or request.kind == "request":
                self.begin(request.client, request.method).end(error)
        elif not isinstance(request, (Ask, Refusal)):
            self.begin(request.client, type(request).__name__.lower()).end(error)

    def told(self, refusal: Refusal) -> None:
        """The web tier has refused something."""
        entry = _entry("edge", refusal.client, "")
        entry.decision, entry.rule, entry.status = "refused", refusal.rule, refusal.status
        entry.omitted = refusal.omitted or None
        self._write(entry)

    def ordered(self, what: str, about: str = "", principal: str = "", address: str = "") -> None:
        """An operator's action, noted before it is done."""
        about = about[:_LONGEST]
        self._write(Entry(event="operator", action=what, about=about, principal=principal, address=address))

    def _failed(self, entry: Entry, error: MetaMCPError) -> None:
        """Also for the gateway's log, where it stands beside what its server said and how it ended."""
        if (omitted := self._sparing.admit()) is None:
            return
        shown = ("request", "session", "principal", "endpoint", "method", "server", "tool", "result", "rule", "seconds")
        found = {name: value for name in shown if (value := getattr(entry, name)) not in ("", None)}
        found.setdefault("server", error.data.get("server"))
        reason = error.headline[:_REASON]
        _log.warning("call-failed", extra=logs.fields(**found, reason=reason, omitted=omitted or None))


def start_refused(write: Write, server: str, error: MetaMCPError) -> None:
    """Any thread: policy or allowlist refuse to start ``server``."""
    write(Entry(event="start", server=server, decision="refused", rule=error.rule))


def _entry(event: str, client: Client, session: str) -> Entry:
    return Entry(
        event=event, principal=client.principal, address=client.address, endpoint=client.endpoint[:_LONGEST],
        transport=client.transport, session=session, request=client.request,
    )  # fmt: skip


def _failure(error: bytes | MetaMCPError | None) -> MetaMCPError | None:
    """What an operator should hear of: neither the client's own fault, nor the server's own answer."""
    if error is None or isinstance(error, bytes) or error.fault == "client":
        return None
    return error


def _known(method: str) -> str:
    """A method is a name of the protocol; what does not look like one may be anything."""
    return method if method in _NAMED or _METHOD.fullmatch(method) else "(other)"


def _tell_outcome(entry: Entry, error: bytes | MetaMCPError | None) -> None:
    entry.decision = "allowed"
    if error is None:
        entry.result = "result"
    elif isinstance(error, bytes):
        entry.result, entry.code = "error", jsonrpc.error_code(error)
    elif isinstance(error, Cancelled):
        entry.result = "cancelled"
    elif error.fault == "client" or isinstance(error, _REFUSALS):
        entry.decision, entry.rule, entry.result, entry.code = "refused", error.rule, "error", error.code
    else:
        kind = "died" if isinstance(error, ServerDied) else "deadline" if isinstance(error, DeadlinePassed) else "error"
        entry.result, entry.code = kind, error.code
