"""Who called what, and what became of it: one line of the audit log for each request of a client, whatever happens.

A ``Record`` is made with the turn of a request and ended with it; the first end counts. Nothing of a request but its
method, and the server and the name that the gateway found for it, is ever written: what a client sends is its own.
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
from metamcp.gateway.interface import Ask, Batch, Client, Post, Refusal, Request, Stateless
from metamcp.gateway.namespace import Route
from metamcp.protocol import jsonrpc

_UNRECORDED = frozenset({"ping"})
_REFUSALS = (AtCapacity, RefusedByPolicy, CommandInvalid, ShuttingDown)
"""Of the gateway's own errors those that no client is to blame for, and yet nobody was asked."""

_ANSWERED: dict[str, object] = {"decision": "allowed", "result": "result"}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,31}(?=:)", re.IGNORECASE)
_LONGEST = 64  # of the name of an endpoint, which need not exist
_NAMED = frozenset({"tools/call", "prompts/get"})
_METHOD = re.compile(r"[a-zA-Z/_$.-]{1,64}")


class Write(Protocol):
    def __call__(self, event: str, **members: object) -> None: ...


class Record:
    """One request. Owned by the reactor's thread."""

    __slots__ = ("_client", "_ended", "_method", "_session", "_since", "_write", "clock", "route")

    def __init__(self, write: Write, clock: Callable[[], float], client: Client, method: str, session: str) -> None:
        self._write = write
        self._client = client
        self._method = method
        self._session = session
        self._since = clock()
        self._ended = False
        self.clock = clock
        self.route: Route | None = None  # once it is known

    def end(self, error: bytes | MetaMCPError | None = None) -> None:
        """``error``: the server's own as raw JSON, or the gateway's; None for a result."""
        if self._ended or self._method in _UNRECORDED:
            return
        self._ended = True
        members = _who(self._client, self._session)
        members["method"] = _known(self._method)
        if self.route is not None:
            self._tell_target(members, self.route)
        members |= _outcome(error)
        self._write("request", **members, seconds=round(self.clock() - self._since, 4))

    def _tell_target(self, members: dict[str, object], route: Route) -> None:
        members["server"] = route.server
        if self._method in _NAMED:
            members["tool"] = route.name
        else:
            found = _SCHEME.match(route.name)
            members["scheme"] = found[0].lower() if found else ""


class Audit:
    """Owned by the reactor's thread."""

    def __init__(self, write: Write, clock: Callable[[], float]) -> None:
        self._write = write
        self._clock = clock

    def begin(self, client: Client, method: str, session: str = "") -> Record:
        """``session``: as it may be shown."""
        return Record(self._write, self._clock, client, method, session or client.session[:8])

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
        more = {"omitted": refusal.omitted or None, "decision": "refused", "rule": refusal.rule}
        self._write("edge", **_who(refusal.client, ""), **more, status=refusal.status)

    def ordered(self, what: str, about: str = "") -> None:
        """An operator's action."""
        self._write("operator", action=what, about=about)


def start_refused(write: Write, server: str, error: MetaMCPError) -> None:
    """Any thread: policy or allowlist refuse to start ``server``."""
    write("start", server=server, decision="refused", rule=error.rule)


def _who(client: Client, session: str) -> dict[str, object]:
    return {
        "principal": client.principal, "address": client.address, "endpoint": client.endpoint[:_LONGEST],
        "transport": client.transport, "session": session,
    }  # fmt: skip


def _known(method: str) -> str:
    """A method is a name of the protocol; what does not look like one may be anything."""
    return method if method in _NAMED or _METHOD.fullmatch(method) else "(other)"


def _outcome(error: bytes | MetaMCPError | None) -> dict[str, object]:
    if error is None:
        return _ANSWERED
    if isinstance(error, bytes):
        return {"decision": "allowed", "result": "error", "code": jsonrpc.error_code(error)}
    if isinstance(error, Cancelled):
        return {"decision": "allowed", "result": "cancelled"}
    if error.fault == "client" or isinstance(error, _REFUSALS):
        return {"decision": "refused", "rule": error.rule, "result": "error", "code": error.code}
    kind = "died" if isinstance(error, ServerDied) else "deadline" if isinstance(error, DeadlinePassed) else "error"
    return {"decision": "allowed", "result": kind, "code": error.code}
