"""Clients for tests of the router: what was answered, and requests of 2026-07-28 with their envelope."""

from __future__ import annotations

import json
from typing import Any

from fake_upstream import FakeChild, Json
from wiring import Gateway

from metamcp.gateway.interface import Client, Is, Outbound, Reply, Stateless

META = "io.modelcontextprotocol/"


class Got:
    """Everything that one request was answered with."""

    def __init__(self) -> None:
        self.items: list[Outbound] = []
        self.reply = Reply(self.items.append)

    @property
    def final(self) -> Outbound:
        assert [item.final for item in self.items].count(True) == 1 and self.items[-1].final
        return self.items[-1]

    @property
    def answer(self) -> Json:
        found: Json = json.loads(self.final.data)
        return found

    @property
    def result(self) -> Json:
        assert "result" in self.answer, self.answer
        found: Json = self.answer["result"]
        return found

    @property
    def error(self) -> Json:
        assert "error" in self.answer, self.answer
        found: Json = self.answer["error"]
        return found

    @property
    def events(self) -> list[Json]:
        return [json.loads(item.data) for item in self.items if item.kind == Is.EVENT]

    @property
    def session(self) -> str:
        return next(item.session for item in self.items if item.session)


class StatelessClient:
    """Sends requests of 2026-07-28 to ``gate``; ``capabilities`` go into every envelope."""

    def __init__(self, gate: Gateway, principal: str = "anonymous", **capabilities: Any) -> None:
        self.gate = gate
        self.client = Client("dev", principal, "http", "", "2026-07-28")
        self.capabilities = capabilities

    def ask(self, method: str, identifier: object = 1, log: str = "", meta: Json | None = None, **params: Any) -> Got:
        envelope = {f"{META}protocolVersion": "2026-07-28", f"{META}clientCapabilities": self.capabilities}
        if log:
            envelope[f"{META}logLevel"] = log
        payload = json.dumps(params | {"_meta": envelope | (meta or {})}).encode()
        headers = params.pop("headers", {})
        got = Got()
        self.gate.router.open(
            Stateless(self.client, method, json.dumps(identifier).encode(), payload, headers), got.reply
        )
        self.gate.reactor.turn()
        return got

    def call(self, name: str = "git__status", **more: Any) -> Got:
        return self.ask("tools/call", name=name, **more)


def in_flight(child: FakeChild, method: str = "tools/call") -> Json:
    """The last request with this method that the server got."""
    return child.sent(method)[-1]
