"""A Gateway that answers as the test has written down, for the web tier alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from flask import Flask
from werkzeug.test import TestResponse

from metamcp.access.keyfile import KeyFile
from metamcp.access.policy import Door, Policy
from metamcp.errors import SupervisorAway
from metamcp.gateway.interface import Exchange, Is, Outbound, Refusal, Request, failure
from metamcp.web.application import create_app
from metamcp.web.state import WebState

HEARTBEAT = 0.02
OPENED = Outbound(Is.OPENED, session="s1")
ACCEPTED = Outbound(Is.ACCEPTED, status=202)
AWAY = failure(SupervisorAway("the supervisor is not reachable", retryAfterMs=1000))
SILENCE = None
NO_KEYS = KeyFile(Path("/nonexistent/keys.json"))


def answer(data: bytes = b'{"jsonrpc":"2.0","id":1,"result":{}}', session: str = "") -> Outbound:
    return Outbound(Is.ANSWER, data, 200, session)


def event(data: bytes) -> Outbound:
    return Outbound(Is.EVENT, data)


class ScriptedExchange:
    """Gives its items one after the other, then ENDED. SILENCE passes without time."""

    def __init__(self, items: tuple[Outbound | None, ...]) -> None:
        self._items = list(items)
        self.timeouts: list[float] = []
        self.closed = False

    def next(self, timeout: float) -> Outbound | None:
        self.timeouts.append(timeout)
        return self._items.pop(0) if self._items else Outbound(Is.ENDED, b"the script is over")

    def close(self) -> None:
        self.closed = True


class FakeGateway:
    """Answers every request with ``items``, or with what ``make`` returns."""

    def __init__(self, *items: Outbound | None) -> None:
        self.items = items
        self.make: Callable[[], Exchange] | None = None
        self.requests: list[Any] = []
        self.refusals: list[Refusal] = []  # told for the audit log
        self.exchanges: list[ScriptedExchange] = []

    def exchange(self, request: Request) -> Exchange:
        if isinstance(request, Refusal):
            self.refusals.append(request)
            return ScriptedExchange((ACCEPTED,))
        self.requests.append(request)
        if self.make is not None:
            return self.make()
        self.exchanges.append(ScriptedExchange(self.items))
        return self.exchanges[-1]


def application(gateway: FakeGateway) -> Flask:
    hosts = frozenset({"localhost"})
    return create_app(WebState(gateway, hosts, hosts, NO_KEYS, Open(), heartbeat=HEARTBEAT))


class _Everywhere(dict[str, Door]):
    def get(self, name: str, default: Any = None) -> Door:
        return super().get(name, Door("none"))


class Open:
    """Doors to endpoints that ask for nothing, whatever they are called; those in ``rates`` are limited."""

    def __init__(self, **rates: str) -> None:
        self._policy = Policy(_Everywhere({name: Door("none", rate_limit=rate) for name, rate in rates.items()}))

    def policy(self) -> Policy:
        return self._policy

    def keys(self, source: str) -> None:
        raise AssertionError(f"nobody takes tokens here, of {source} neither")

    renew = keys


def chunks(response: TestResponse) -> Iterator[bytes]:
    """The pieces of a body as they come."""
    return (piece.encode() if isinstance(piece, str) else piece for piece in response.response)


def unnamed(request: Any) -> Any:
    """What the gateway was asked, without the name of the request, which is another one each time."""
    return msgspec.structs.replace(request, client=msgspec.structs.replace(request.client, request=""))
