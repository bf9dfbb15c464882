"""The gateway between a parsed HTTP body and a server's pipe, with fake children: real router, catalog and pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from fake_upstream import HELLO, FakeChild, FakeReactor, FakeSupervisor, ScriptedServer

from metamcp.config.model import EndpointSpec, GatewayConfig, NamespaceSpec, ServerSpec
from metamcp.downstream.registry import SessionRegistry
from metamcp.gateway.catalog import Catalog
from metamcp.gateway.interface import Client, Is, Listen, OpenSse, Outbound, Post, Reply, Request
from metamcp.gateway.namespace import Namespace
from metamcp.gateway.router import Router
from metamcp.protocol import jsonrpc
from metamcp.upstream.pool import UpstreamPool

Transport = Literal["http", "sse"]


class Core:
    """One endpoint, ``dev``, over one namespace with all ``servers``. Every server follows ``script``."""

    def __init__(self, servers: Mapping[str, ServerSpec], script: ScriptedServer, prefix: bool = True) -> None:
        self.reactor = FakeReactor()
        self.supervisor = FakeSupervisor(self.reactor, script)
        namespaces = {"all": NamespaceSpec("all", tuple(servers), prefix=prefix)}
        config = GatewayConfig(dict(servers), namespaces, {"dev": EndpointSpec("dev", "all")})
        reactor: Any = self.reactor
        supervisor: Any = self.supervisor
        self.pool = UpstreamPool(reactor, config.servers, supervisor, lambda: 0.5)
        self.catalog = Catalog(reactor, self.pool, config.servers, lambda name: self.router.catalog_changed(name))
        self.registry = SessionRegistry(self.reactor.clock, lambda session: self.router.session_closed(session))
        self.namespace = Namespace(namespaces["all"], self.catalog.entry, self.catalog.problem)
        operators: dict[str, Callable[[Reply], None]] = {}
        self.router = Router(
            reactor, config, self.registry, self.pool, self.catalog, {"all": self.namespace}, operators
        )
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


class Got:
    """Everything that one request was answered with."""

    def __init__(self) -> None:
        self.items: list[Outbound] = []
        self.reply = Reply(self.items.append)

    @property
    def messages(self) -> list[bytes]:
        return [item.data for item in self.items if item.kind in (Is.EVENT, Is.ANSWER, Is.FAILED)]

    @property
    def kinds(self) -> list[int]:
        return [item.kind for item in self.items]


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
            Post(self.identity, message.kind, message.method or "", bytes(message.id), payload)
        )
        self._posts.append(got)
        return got

    @property
    def heard(self) -> list[bytes]:
        """Of every POST, and at last of the stream."""
        streams = [*self._posts, self._stream] if self._stream else self._posts
        return [message for got in streams for message in got.messages]

    @staticmethod
    def _session(got: Got) -> str:
        return next(item.session for item in got.items if item.session)
