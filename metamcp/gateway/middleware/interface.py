"""What middleware is written against (docs/middleware.md): the base class, and what its hooks are given.

Hooks run on the reactor's thread, one after the other, and never block: whatever they wait for, everybody waits for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import JsonObject, Raw


class Refusal(Exception):
    """Raised by ``on_call``, ``on_result`` or ``on_error``: the client gets an error with this text, which names the
    middleware. Raised by ``on_message``: the server that asks something gets it; what is said is not passed on."""


class Context(NamedTuple):
    """Where it happens. A list is made for all clients, so it has neither ``endpoint`` nor ``principal``."""

    namespace: str
    endpoint: str = ""
    principal: str = ""


class Listed:
    """A tool, prompt, resource or template in a list. ``name``: as clients see it, for the latter two their address;
    ``own``: the server's own name; ``known_as``: every name that the configuration may give it. None of them can be
    changed here."""

    __slots__ = ("_body", "_identity", "known_as", "name", "own", "server")

    def __init__(
        self, server: str, own: str, name: str, identity: str, body: JsonObject, known_as: tuple[str, ...] = ()
    ) -> None:
        self.server = server
        self.own = own
        self.name = name
        self.known_as = known_as
        self._identity = identity
        self._body = body

    @property
    def body(self) -> JsonObject:
        """Its members, raw."""
        return self._body

    def get(self, member: str, default: Any = None) -> Any:
        """Any member, read from its JSON."""
        raw = self._body.get(member)
        return default if raw is None else json.loads(bytes(raw))

    def put(self, member: str, value: Any) -> None:
        """Replace a member, or add it. Raises ValueError for the one that is its name."""
        if member == self._identity:
            raise ValueError(f"{member} cannot be changed: names are given by the configuration")
        self._body = self._body | {member: Raw(jsonrpc.encode(value))}


class Call:
    """A request on its way to ``server``. ``name``: of the tool or prompt there, or the address of a resource.
    ``notes`` are the middleware's own, from the call to its answer."""

    __slots__ = ("_params", "method", "name", "notes", "seconds", "server")

    def __init__(self, method: str, server: str, name: str, params: JsonObject) -> None:
        self.method = method
        self.server = server
        self.name = name
        self.notes: dict[Any, Any] = {}
        self.seconds: float | None = None
        self._params = params

    @property
    def arguments(self) -> dict[str, Any]:
        """Of a tool or prompt, read anew each time: assign them to change what the server gets."""
        found: dict[str, Any] = json.loads(bytes(self._params.get("arguments", Raw(b"{}"))))
        return found

    @arguments.setter
    def arguments(self, arguments: Mapping[str, Any]) -> None:
        self._params["arguments"] = Raw(jsonrpc.encode(dict(arguments)))

    @property
    def argument_names(self) -> list[str]:
        return list(jsonrpc.decode_object(self._params.get("arguments", Raw(b"")), "arguments"))

    def limit(self, seconds: float) -> None:
        """The answer has to be there so soon; of several limits the least counts."""
        self.seconds = seconds if self.seconds is None else min(seconds, self.seconds)


class Answer:
    """A ``result``, or an ``error`` object, on its way to the client. ``raw``: its JSON; what is assigned to it or to
    ``members`` is what the client gets."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    @property
    def members(self) -> dict[str, Any]:
        """Read anew each time."""
        found: dict[str, Any] = json.loads(self.raw)
        return found

    @members.setter
    def members(self, members: Mapping[str, Any]) -> None:
        """What 2026-07-28 wants of every result (``resultType``) stays, where it is not among them."""
        kept = jsonrpc.decode_object(self.raw, "an answer") if b'"resultType"' in self.raw else {}
        whole = {name: kept[name] for name in ("resultType",) if name in kept} | dict(members)
        self.raw = jsonrpc.encode(whole)


class Message:
    """What ``server`` says by itself, or, where it ``asks``, wants to know of the client, which is on its way there.
    ``raw``: the JSON of its params, b"" where it has none; what is assigned to it or to ``params`` is what the client
    gets."""

    __slots__ = ("asks", "method", "raw", "server")

    def __init__(self, method: str, server: str, raw: bytes, asks: bool) -> None:
        self.method = method
        self.server = server
        self.raw = raw
        self.asks = asks

    @property
    def params(self) -> dict[str, Any]:
        """Read anew each time."""
        found: dict[str, Any] = json.loads(self.raw or b"{}")
        return found

    @params.setter
    def params(self, params: Mapping[str, Any]) -> None:
        self.raw = jsonrpc.encode(dict(params))


class Middleware:
    """``Options``: the marshmallow schema of its options; ``options`` are as that loads them. One object serves one
    namespace until its configuration changes. Each hook may be left out."""

    Options: ClassVar[type[Any] | None] = None

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    def on_list(self, kind: str, items: list[Listed], context: Context) -> list[Listed]:
        """``kind``: tools, prompts, resources, templates. Whatever is not returned is in no list and cannot be
        called; what was not among ``items`` cannot be added."""
        return items

    def on_call(self, call: Call, context: Context) -> None:
        """Before the server gets it."""

    def on_result(self, call: Call, answer: Answer, context: Context) -> None:
        """Before the client gets a result."""

    def on_error(self, call: Call, answer: Answer, context: Context) -> None:
        """Before the client gets an error, the server's own or the gateway's: ``code``, ``message``, ``data``."""

    def on_message(self, message: Message, context: Context) -> None:
        """Before the client gets what its server says or asks by itself: progress, log messages, changes of a
        resource; sampling, elicitation, roots. Where no middleware has this hook such messages keep their bytes."""
