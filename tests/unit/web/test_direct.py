"""The routes that carry calls answer the same in front of Flask and behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_gateway import ACCEPTED, HEARTBEAT, OPENED, FakeGateway, Open, answer, event
from flask import Flask
from werkzeug.test import TestResponse

from metamcp.access import keyfile, keys
from metamcp.access.keyfile import KeyFile
from metamcp.access.keys import Record
from metamcp.access.policy import Door, Policy
from metamcp.gateway.interface import Is, Outbound
from metamcp.web import counters
from metamcp.web.application import create_app
from metamcp.web.direct import route
from metamcp.web.state import WebState

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
JSON = {"Content-Type": "application/json", "Mcp-Session-Id": "s1"}
ORIGIN = {"Origin": "https://localhost:3000"}


class Doors(Open):
    def policy(self) -> Policy:
        return Policy({"default": Door("none"), "closed": Door("api-key"), "slow": Door("none", rate_limit="1/day")})


def site(folder: Path, gateway: FakeGateway) -> Flask:
    hosts = frozenset({"localhost"})
    path = folder / "keys" / "keys.json"
    if not path.exists():
        made = Record("somebody", keys.hash_of(keys.mint(b"1" * 32)), ("closed",), 0)
        keyfile.rewrite(path, lambda records: records.append(made))
    return create_app(WebState(gateway, hosts, hosts, KeyFile(path), Doors(), heartbeat=HEARTBEAT))


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/mcp", PING, JSON),
        ("/mcp", PING, JSON | ORIGIN),
        ("/mcp", PING, JSON | {"Origin": "https://elsewhere.example"}),
        ("/mcp", PING, JSON | {"Host": "elsewhere.example"}),
        ("/mcp", PING, {"Content-Type": "application/json"}),
        ("/mcp", PING, JSON | {"Accept": "text/html"}),
        ("/mcp", PING, JSON | {"Content-Type": "text/plain"}),
        ("/mcp", PING, JSON | {"MCP-Protocol-Version": "1999-01-01"}),
        ("/mcp", b"{", JSON),
        ("/mcp", b'{"jsonrpc":"2.0","method":"notifications/initialized"}', JSON),
        ("/metamcp/default/mcp", PING, JSON),
        ("/metamcp/none/mcp", PING, JSON),
        ("/metamcp/closed/mcp", PING, JSON),
        ("/metamcp/closed/mcp", PING, JSON | ORIGIN | {"X-API-Key": "wrong"}),
        ("/metamcp/closed/mcp", PING, JSON | {"Authorization": f"Bearer {keys.mint(b'1' * 32)}"}),
        ("/metamcp/default/message?sessionId=s1", PING, JSON),
        ("/message?sessionId=s1", PING, JSON | ORIGIN),
        ("/message", PING, JSON),
    ],
)
@pytest.mark.parametrize("item", [answer(session="s1"), ACCEPTED], ids=["answered", "accepted"])
def test_both_ways_are_one(
    tmp_path: Path, path: str, body: bytes, headers: dict[str, str], item: object
) -> None:
    gateway = FakeGateway(item)  # type: ignore[arg-type]
    app = site(tmp_path, gateway)
    address, _, query = path.partition("?")
    # A slash at the end is taken by Flask's routes alone.
    direct, behind = (
        told(app.test_client().post(f"{address}{slash}?{query}", data=body, headers=headers)) for slash in ("", "/")
    )
    assert direct == behind
    assert route(address) != ("", "") == route(address + "/")
    half = len(gateway.requests) // 2
    assert gateway.requests[:half] == [named_alike(it) for it in gateway.requests[half:]]


def told(response: TestResponse) -> tuple[int, bytes, list[tuple[str, str]]]:
    """But the name of the request, which is a number."""
    headers = [(name, value) for name, value in response.headers.items() if name != "X-Request-ID"]
    return response.status_code, response.data, sorted(headers)


def named_alike(request: Any) -> object:
    """Requests and streams are numbered."""
    client = msgspec.structs.replace(request.client, request=_before(request.client.request))
    request = msgspec.structs.replace(request, client=client)
    stream = getattr(request, "stream", "")
    return msgspec.structs.replace(request, stream=_before(stream)) if stream else request


def _before(name: str) -> str:
    prefix, _, number = name.rpartition("-")
    return f"{prefix}-{int(number) - 1}"


def test_a_stream_is_one_in_both_ways(tmp_path: Path) -> None:
    app = site(tmp_path, FakeGateway(event(b'{"jsonrpc":"2.0","method":"x"}'), answer()))
    direct, behind = (told(app.test_client().post(path, data=PING, headers=JSON)) for path in ("/mcp", "/mcp/"))
    assert direct[0] == 200 and b"event-stream" in dict(direct[2])["Content-Type"].encode()
    assert direct == behind


@pytest.mark.parametrize("path", ["/sse", "/mcp"])
def test_a_stream_of_the_client_is_one_in_both_ways(tmp_path: Path, path: str) -> None:
    app = site(tmp_path, FakeGateway(OPENED, event(b"{}"), Outbound(Is.ENDED)))
    headers = {"Mcp-Session-Id": "s1", "Accept": "text/event-stream"} | ORIGIN
    direct, behind = (told(app.test_client().get(path + slash, headers=headers)) for slash in ("", "/"))
    assert direct[0] == 200 and direct[1].count(b"data: ") >= 1
    assert direct == behind


def test_who_asks_too_often_is_refused_in_both_ways(tmp_path: Path) -> None:
    counters.SHARED.reset()
    app = site(tmp_path, FakeGateway(answer()))
    statuses = [
        app.test_client().post(path, data=PING, headers=JSON).status_code
        for path in ("/metamcp/slow/mcp", "/metamcp/slow/mcp", "/metamcp/slow/mcp/")
    ]
    assert statuses == [200, 503, 503]


@pytest.mark.parametrize("path", ["/", "", "/health", "/metamcp/mcp", "/metamcp//mcp", "/metamcp/a/b/mcp", "x/mcp",
                                  "/metamcp/\u00e4/mcp", "/other/a/mcp", "/mcp/x"])  # fmt: skip
def test_what_is_written_otherwise_is_left_to_flask(path: str) -> None:
    assert route(path) == ("", "")
