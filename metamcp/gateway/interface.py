"""The Gateway interface: all that the web tier knows of what lies behind it.

The web tier sends one ``Request`` and reads ``Outbound`` items until a final one. Two implementations: the
link's client (another process) and ``LocalGateway`` (the same process). The records cross a process boundary
as msgpack arrays: append new members at the end only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import IntEnum
from typing import Literal, Protocol, TypeGuard

import msgspec

from metamcp.access.principal import ANONYMOUS
from metamcp.errors import MetaMCPError
from metamcp.protocol import jsonrpc
from metamcp.protocol.headers import Params
from metamcp.protocol.jsonrpc import Kind
from metamcp.protocol.trace_context import TraceContext

Transport = Literal["http", "sse", "rest"]
"""``rest``: tools alone, for who does not speak MCP."""


class Passed(msgspec.Struct, frozen=True, array_like=True):
    """Headers of a request for servers that want them (``passHeaders``): name in lower case, and value."""

    headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        """Without the values."""
        return f"Passed({', '.join(name for name, _ in self.headers)})"


class Client(msgspec.Struct, frozen=True, array_like=True):
    """Who asks, through which door. ``session`` is empty before ``initialize``. ``request``: what this request of HTTP
    is called in the logs; ``trace``: the span of which what is done for it is a part, None where none are wanted."""

    endpoint: str
    principal: str
    transport: Transport
    session: str = ""
    revision: str = ""  # the MCP-Protocol-Version header
    address: str = ""  # of the network; one of IPv6 stands for its /64
    request: str = ""
    trace: TraceContext | None = None
    passed: Passed | None = None

    @property
    def owner(self) -> str:
        """Who is limited: the principal, and of those without a name each address by itself."""
        return self.address if self.principal == ANONYMOUS and self.address else self.principal

    @property
    def headers(self) -> dict[str, str]:
        """What is ``passed``."""
        return dict(self.passed.headers) if self.passed is not None else {}


class Post(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """One message of a client. ``payload`` holds the raw params, or of a response the whole message."""

    client: Client
    kind: Kind
    method: str
    id: bytes
    payload: bytes
    stream: str = ""  # the name of the stream that answers, unique in its session; "" when its client takes JSON only


class Listen(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """GET of Streamable HTTP: messages of the session that belong to no call, or, behind ``last_event_id``, what
    became of a stream whose connection was lost. ``stream`` names the new one."""

    client: Client
    stream: str = ""
    last_event_id: str = ""


class OpenSse(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """GET of HTTP+SSE: a new session that lives as long as its stream."""

    client: Client


class Delete(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The client ends its session."""

    client: Client


Subject = Literal[
    "status", "ready", "docker-check", "docker-test", "docker-info", "reload", "reset", "accept-image",
    "access", "issuer-keys", "events", "stderr", "restart", "stop", "wake", "calls", "history", "endpoints", "catalog",
    "metrics", "link", "sign-in", "try-tool", "inspect", "configured", "plan-change", "create", "replace", "change",
    "delete", "keys", "create-key", "revoke-key",
]  # fmt: skip

ORDERS: frozenset[Subject] = frozenset(
    {"reload", "reset", "accept-image", "restart", "stop", "wake", "sign-in", "try-tool", "inspect", "create",
     "replace", "change", "delete", "create-key", "revoke-key"}
)  # fmt: skip
"""What operators do; each is noted in the audit log. The web tier does ``sign-in``, ``try-tool`` and ``inspect``."""


class Lines(msgspec.Struct, frozen=True, array_like=True):
    """Which lines of a server's standard error: those behind number ``after``, else the last ``tail`` of those that are
    kept; and, unless not to ``follow``, each that comes."""

    after: int = 0
    tail: int = 1000
    follow: bool = True


MAX_EDIT = 256 * 1024
"""Bytes of the body of one change."""


class Edit(msgspec.Struct, frozen=True, array_like=True):
    """One thing of the configuration, which is read or changed: of which collection, ``name`` ("" for all of it), what
    to do, the JSON of the request, the tags of the file that it may be done to (none: whatever it is), and in front of
    which rule a new one stands."""

    of: Literal["servers", "namespaces", "endpoints", "images", "keys"]
    name: str = ""
    how: Literal["create", "replace", "change", "delete"] = "change"
    body: bytes = b""
    tags: tuple[str, ...] = ()
    before: str = ""


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """A question or an order of an operator; the answer is JSON. ``argument``: what it is about, where that is needed:
    a server, an endpoint (``catalog``), an endpoint and a tool (``try-tool``) or a session (``inspect``), an issuer's
    source.
    The web tier asks what has a route of its own, and for itself: ``access`` is what the endpoints ask of those who
    enter (``access/policy.py``), an EVENT at once and with each change, until it is closed; ``issuer-keys`` has the
    keys of a source asked for anew, and is answered when ``access`` has told them; ``link`` is answered at once, for
    who wants to know how long that takes.
    ``events`` and ``stderr`` are OPENED, unless they are answered with why not, and go on until they are closed:
    ``events`` with EVENTs of a name (``status``, ``calls``), a space and a document, each at once and with each
    change; ``stderr`` with one for each of ``lines``, which has its number.
    ``configured`` reads what ``edit`` names, ``create``, ``replace``, ``change`` and ``delete`` do what it says, and
    ``plan-change`` tells what would come of that; the argument is the collection and the name. ``keys`` are all of
    them; ``create-key`` has its wish in ``edit``, ``revoke-key`` is about an id.
    ``principal`` and ``address``: who orders, for the audit log."""

    subject: Subject
    argument: str = ""
    principal: str = ""
    address: str = ""
    lines: Lines = Lines()
    edit: Edit | None = None


class Stateless(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """One request of 2026-07-28: it has no session, and is a client for itself. ``payload`` holds the raw params,
    ``headers`` the ``Mcp-Param-*`` beside them (``protocol.headers.Params``)."""

    client: Client
    method: str
    id: bytes
    payload: bytes
    headers: Params


class Batch(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Several messages at once (2025-03-26). ``refused`` are the error responses to those that were none; ``stream``
    as in ``Post``."""

    client: Client
    posts: list[Post]
    refused: list[bytes]
    stream: str = ""


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """For the audit log: the web tier has refused a request. ``rule`` says why; ``omitted`` others were not told, for
    there were too many."""

    client: Client
    status: int
    rule: str
    omitted: int = 0


Request = Post | Listen | OpenSse | Delete | Ask | Stateless | Batch | Refusal


class Is(IntEnum):
    """What an Outbound item is. From ANSWER on it is the last one."""

    EVENT = 1  # a message for the client's stream
    OPENED = 2  # the stream is open; ``session`` is its session
    ANSWER = 3  # the response to the request
    ACCEPTED = 4  # a notification, a response or a DELETE was taken
    FAILED = 5  # refused before it began; ``status`` is the HTTP status
    ENDED = 6  # the stream is over; ``data`` is the reason


_FINAL = int(Is.ANSWER)


class Outbound(msgspec.Struct, frozen=True, array_like=True):
    """``data`` is a whole JSON-RPC message, the JSON of an ``Ask``, or for OPENED the name of the stream that goes on.
    ``number``: of the event within its stream; 0 when it cannot be resumed behind it."""

    kind: int
    data: bytes = b""
    status: int = 200
    session: str = ""
    number: int = 0
    retry_after: int = 0  # seconds; 0: nothing is said about it

    @property
    def final(self) -> bool:
        return self.kind >= _FINAL

    def __len__(self) -> int:
        """What it costs in a bounded queue: its bytes and something for itself."""
        return len(self.data) + 128


class Exchange(Protocol):
    """The web tier's end of one request."""

    def next(self, timeout: float) -> Outbound | None:
        """The next item, or None after ``timeout`` seconds of silence. After the final item: ENDED."""

    def close(self) -> None:
        """The HTTP client is gone, or the answer is complete. Idempotent."""


class Gateway(Protocol):
    """Usable from any thread."""

    def exchange(self, request: Request) -> Exchange:
        """Begin; never raises: a supervisor that is away shows as FAILED."""


class Reply:
    """The gateway's end of one request; it carries a ``Stream`` of a session. Owned by the reactor's thread.

    After the final item, and after ``closed`` by the web tier, everything is dropped: an answer is given once.
    """

    __slots__ = ("_deliver", "done", "on_closed", "on_over")

    def __init__(self, deliver: Callable[[Outbound], None]) -> None:
        self._deliver = deliver
        self.done = False
        self.on_closed: Callable[[], None] | None = None
        self.on_over: Callable[[], None] | None = None  # after the final item or ``closed``, once

    def event(self, data: bytes, number: int = 0) -> None:
        self._send(Outbound(Is.EVENT, data, 200, "", number))

    def opened(self, session: str, stream: str = "") -> None:
        self._send(Outbound(Is.OPENED, stream.encode(), 200, session))

    def answer(self, data: bytes, session: str = "", status: int = 200, number: int = 0) -> None:
        self._send(Outbound(Is.ANSWER, data, status, session, number))

    def accepted(self) -> None:
        self._send(Outbound(Is.ACCEPTED, b"", 202))

    def failed(self, error: MetaMCPError, identifier: bytes = b"") -> None:
        self._send(failure(error, identifier))

    def end(self, reason: str) -> None:
        self._send(Outbound(Is.ENDED, reason.encode()))

    def close(self) -> None:
        """The web tier gave up this request."""
        self.done = True
        callback, self.on_closed = self.on_closed, None
        if callback is not None:
            callback()
        self._over()

    def _send(self, outbound: Outbound) -> None:
        if self.done:
            return
        if outbound.kind >= _FINAL:
            self.done = True
            self.on_closed = None
            if self.on_over is not None:
                self._over()
        self._deliver(outbound)

    def _over(self) -> None:
        callback, self.on_over = self.on_over, None
        if callback is not None:
            callback()


def failure(error: MetaMCPError, identifier: bytes = b"") -> Outbound:
    """FAILED with the error's own status and JSON-RPC body."""
    body = jsonrpc.error_response(identifier, error.as_jsonrpc())
    pause = error.data.get("retryAfterMs", 0)
    return Outbound(Is.FAILED, body, error.http_status, retry_after=math.ceil(pause / 1000))


def _is_request(request: Request) -> TypeGuard[Post]:
    """A client's response has an id, too, but one of ours."""
    return isinstance(request, Post) and request.kind == "request"


class Unanswered:
    """What a request leaves to be said when the gateway is gone: its ids, without its payload."""

    __slots__ = ("_batch", "_ids", "_refused")

    def __init__(self, request: Request) -> None:
        posts = request.posts if isinstance(request, Batch) else [request]
        self._ids = [it.id for it in posts if isinstance(it, Stateless) or _is_request(it)]
        self._refused = request.refused if isinstance(request, Batch) else []
        self._batch = isinstance(request, Batch) and bool(self._ids)

    def failed(self, error: MetaMCPError) -> Outbound:
        """FAILED, for a batch with one response for each request."""
        if not self._batch:
            return failure(error, *self._ids)
        responses = [*self._refused, *(jsonrpc.error_response(it, error.as_jsonrpc()) for it in self._ids)]
        return Outbound(Is.FAILED, b"[" + b",".join(responses) + b"]", error.http_status)
