"""A client of 2026-07-28 for tests of the router: every request with its envelope."""

from __future__ import annotations

import json
from typing import Any

from fake_upstream import FakeChild, Json
from wiring import Gateway, Got

from metamcp.gateway.interface import Client, Stateless

META = "io.modelcontextprotocol/"


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
        headers = params.pop("headers", {})
        payload = json.dumps(params | {"_meta": envelope | (meta or {})}).encode()
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
