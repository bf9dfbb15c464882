"""The gateway between a parsed HTTP body and a server's pipe, with fake children: real router, catalog and pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from fake_upstream import HELLO, FakeChild, ScriptedServer
from wiring import Gateway, Got, stream_name

from metamcp.config.model import EndpointSpec, ServerSpec
from metamcp.gateway.interface import Client, Listen, OpenSse, Post, Request
from metamcp.protocol import jsonrpc

Transport = Literal["http", "sse"]


class Core(Gateway):
    """One endpoint, ``dev``, over one namespace with all ``servers``. Every server follows ``script``."""

    def __init__(self, servers: Mapping[str, ServerSpec], script: ScriptedServer, prefix: bool = True) -> None:
        super().__init__(servers, script, {"dev": EndpointSpec("dev", "all")}, prefix=prefix)
        self.catalog.refresh_all()
        self.reactor.turn()
        for child in tuple(self.supervisor.children):
            if child.reason:  # the catalog's own instances are told to stop once they were read
                child.die(0)

    def open(self, request: Request) -> Got:
        got = Got()
        self.router.open(request, got.reply)
        self.reactor.turn()
        return got

    def child(self, server: str) -> FakeChild:
        """The newest one of ``server``."""
        return [child for child in self.supervisor.started if child.server == server][-1]


class WireClient:
    """A client with a session. What it posts are whole bodies; ``heard`` is all that it was told since, in order."""

    def __init__(self, core: Core, transport: Transport, hello: bytes = HELLO) -> None:
        self._core = core
        self._posts: list[Got] = []
        opening = Client("dev", "anonymous", transport)
        self._stream = core.open(OpenSse(opening)) if transport == "sse" else None
        self.identity = opening
        if self._stream is not None:
            self.identity = Client("dev", "anonymous", transport, self._session(self._stream))
        first = self.post(jsonrpc.request(b'"hello"', "initialize", hello))
        if self._stream is None:
            self.identity = Client("dev", "anonymous", transport, self._session(first))
            self._stream = core.open(Listen(self.identity))
        self._posts.clear()
        self._stream.items.clear()

    def post(self, body: bytes) -> Got:
        """As the web tier does it."""
        message = jsonrpc.parse(body)
        payload = body if message.kind == "response" else bytes(message.params)
        got = self._core.open(
            Post(self.identity, message.kind, message.method or "", bytes(message.id), payload, stream_name())
        )
        self._posts.append(got)
        return got

    @property
    def heard(self) -> list[bytes]:
        """Of every POST, and at last of the stream."""
        streams = [*self._posts, self._stream] if self._stream else self._posts
        return [message for got in streams for message in got.messages]

    def forget(self) -> None:
        """What came on the posts so far."""
        self._posts.clear()

    @staticmethod
    def _session(got: Got) -> str:
        return next(item.session for item in got.items if item.session)
