"""A gateway over fakes with one server, whose namespace can have middleware; a client of either era."""

from __future__ import annotations

import json
from typing import Any

from fake_upstream import HELLO, FakeChild, Json, ModernServer, ScriptedServer, tool
from stateless_client import StatelessClient, in_flight
from wiring import Gateway, Got, stream_name

from metamcp.config.middleware_schema import BUILT_IN
from metamcp.config.model import EndpointSpec, MiddlewareSpec, NamespaceSpec, ServerSpec
from metamcp.gateway.interface import Client, Listen, Post
from metamcp.gateway.middleware.interface import Middleware

LISTS: dict[str, list[list[Json]]] = {
    "tools/list": [[tool("status")]],
    "resources/list": [[{"uri": "file:///docs/a", "name": "a"}]],
    "resources/templates/list": [[{"uriTemplate": "file:///{path}", "name": "t"}]],
}
ELICIT = {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}
WAYS = [("session", "legacy"), ("session", "modern"), ("stateless", "legacy"), ("stateless", "modern")]


class House(Gateway):
    """One server, ``git``; a client with a session, or without."""

    def __init__(self, client: str = "session", era: Any = "legacy") -> None:
        made = ScriptedServer if era == "legacy" else ModernServer
        script = made(dict(LISTS))
        script.capabilities["resources"] = {"subscribe": True}
        super().__init__({"git": ServerSpec("git", era=era)}, script, {"dev": EndpointSpec("dev", "all")})
        self.catalog.refresh_all()
        self.reactor.turn()
        self.stateless = StatelessClient(self, elicitation={}) if client == "stateless" else None
        self.client = Client("dev", "anonymous", "http")
        if client == "session":
            opened = self.ask("initialize", json.loads(HELLO) | {"capabilities": {"elicitation": {}}})
            self.client = Client("dev", "anonymous", "http", opened.session)
            self.stream = Got()
            self.router.open(Listen(self.client, stream_name()), self.stream.reply)

    def through(self, *middleware: MiddlewareSpec | type[Middleware]) -> None:
        """From now on lists and calls go through ``middleware``."""
        own = [MiddlewareSpec(one.__name__, {}, one) if isinstance(one, type) else one for one in middleware]
        self.reload(namespaces={"all": NamespaceSpec("all", ("git",), middleware=tuple(own))})
        self.reactor.turn()

    def ask(self, method: str, params: Json, identifier: bytes = b"1") -> Got:
        if self.stateless is not None:
            return self.stateless.ask(method, json.loads(identifier), **params)
        got = Got()
        payload = json.dumps(params).encode()
        self.router.open(Post(self.client, "request", method, identifier, payload, stream_name()), got.reply)
        self.reactor.turn()
        return got

    def call(self, identifier: bytes = b"7", **arguments: Any) -> Got:
        return self.ask("tools/call", {"name": "git__status", "arguments": arguments}, identifier)

    @property
    def child(self) -> FakeChild:
        return next(child for child in reversed(self.supervisor.started) if child.sent("tools/call"))

    def answer(self, result: Json) -> None:
        self.child.result(in_flight(self.child)["id"], result)
        self.reactor.turn()


def built_in(use: str, **options: Any) -> MiddlewareSpec:
    return MiddlewareSpec(use, BUILT_IN[use]().load(options))


def texts(text: str) -> Json:
    return {"content": [{"type": "text", "text": text}]}
