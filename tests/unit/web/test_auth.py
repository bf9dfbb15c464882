"""Who may enter, at the edge of one worker: hosts, routes that say nothing of themselves, streams of revoked keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_gateway import ACCEPTED, OPENED, SILENCE, FakeGateway, Open, answer, event
from werkzeug.test import TestResponse

from metamcp.access import keyfile, keys
from metamcp.access.keyfile import KeyFile
from metamcp.access.keys import Record
from metamcp.access.policy import Door, Policy
from metamcp.errors import Unauthorized
from metamcp.gateway.interface import failure
from metamcp.web.application import create_app
from metamcp.web.auth import OPEN
from metamcp.web.state import WebState

KEY = keys.mint(b"k" * keys.KEY_BYTES)
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
MINE = {"Content-Type": "application/json", "Mcp-Session-Id": "s1", "Authorization": f"Bearer {KEY}"}
HOSTS = frozenset({"mcp.example.com", "localhost"})


class Asking(Open):
    def policy(self) -> Policy:
        return Policy({"dev": Door("api-key"), "open": Door("none")})


class Site:
    def __init__(self, folder: Path, *scopes: str) -> None:
        self.path = folder / "access" / "keys.json"
        if scopes:
            keyfile.rewrite(self.path, lambda records: records.append(Record("laptop", keys.hash_of(KEY), scopes, 1)))
        self.gateway = FakeGateway(answer())
        state = WebState(self.gateway, HOSTS, HOSTS, KeyFile(self.path), Asking(), heartbeat=0.02)
        self.app = create_app(state)
        self.http = self.app.test_client()

    def get(self, url: str, **headers: str) -> TestResponse:
        return self.http.get(url, headers=headers)

    def revoke(self) -> None:
        keyfile.rewrite(self.path, lambda records: records.clear())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, "dev")


@pytest.mark.parametrize("host", ["localhost", "localhost:12009", "127.0.0.1:1", "[::1]:80", "LOCALHOST"])
def test_without_keys_loopback_is_served_whatever_is_allowed(tmp_path: Path, host: str) -> None:
    assert Site(tmp_path).get("/health", Host=host).status_code == 200


@pytest.mark.parametrize(("host", "text"), [("mcp.example.com", b"keys create"), ("evil.example", b"ALLOWED_HOSTS")])
def test_without_keys_no_other_host_is_served_and_it_says_what_to_do(tmp_path: Path, host: str, text: bytes) -> None:
    refused = Site(tmp_path).get("/health", Host=host)
    assert refused.status_code == 421 and text in refused.data


def test_revoking_the_last_key_opens_nothing(site: Site) -> None:
    site.revoke()
    assert site.get("/api/status").status_code == 401
    assert site.get("/health", Host="mcp.example.com").status_code == 200


def test_a_route_that_nobody_thought_of_is_the_operators(site: Site) -> None:
    def secret() -> str:
        return "what is inside"

    site.app.add_url_rule("/new", view_func=secret)
    assert site.get("/new").status_code == 401
    assert site.get("/new", Authorization=f"Bearer {KEY}").status_code == 403


def test_no_view_of_a_stranger_is_reached(site: Site) -> None:
    rules = [rule for rule in site.app.url_map.iter_rules() if rule.endpoint not in OPEN]
    assert len(rules) > 10
    for rule in rules:
        for method in (rule.methods or set()) - {"OPTIONS"}:
            site.http.open(rule.rule.replace("<endpoint>", "dev"), method=method, data=PING)
    assert site.gateway.requests == []


def test_the_principal_is_the_name_of_the_key_and_nobody_where_none_is_asked_for(site: Site) -> None:
    for endpoint, expected in (("dev", "laptop"), ("open", "anonymous")):
        site.http.post(f"/metamcp/{endpoint}/mcp", data=PING, headers=MINE)
        assert site.gateway.requests[-1].client.principal == expected


def test_a_401_of_the_supervisor_says_what_it_asks_for(site: Site) -> None:
    site.gateway.items = (failure(Unauthorized("no")),)
    refused = site.http.post("/metamcp/open/mcp", data=PING, headers=MINE)
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Bearer realm="metamcp"')


def test_a_stream_gives_nothing_more_once_its_key_is_revoked(site: Site) -> None:
    site.gateway.items = (OPENED, event(b'{"a":1}'), SILENCE, event(b'{"secret":1}'))
    stream = site.http.get("/metamcp/dev/mcp", headers=MINE | {"Accept": "text/event-stream"})
    body = iter(stream.response)
    read: Callable[[], bytes] = lambda: bytes(next(body))  # type: ignore[call-overload] # noqa: E731
    assert read() == b": open\n\n"
    assert b'{"a":1}' in read()
    site.revoke()
    assert [bytes(piece) for piece in body] == []  # type: ignore[arg-type]
    assert site.gateway.exchanges[0].closed


def test_a_call_is_not_answered_to_a_key_that_is_revoked_meanwhile(site: Site) -> None:
    def begin() -> object:
        site.revoke()
        return FakeGateway(answer(b'{"secret":1}')).exchange(site.gateway.requests[-1])

    site.gateway.make = begin  # type: ignore[assignment]
    refused = site.http.post("/metamcp/dev/mcp", data=PING, headers=MINE)
    assert refused.status_code == 401 and b"secret" not in refused.data


def test_the_url_for_messages_holds_a_ticket_for_whom_put_the_key_into_the_url_alone(site: Site) -> None:
    site.gateway.items = (OPENED,)
    with_header = site.http.get("/metamcp/dev/sse", headers={"X-API-Key": KEY}).data
    assert b"ticket" not in with_header
    told = site.http.get(f"/metamcp/dev/sse?api_key={KEY}").data.decode()
    assert KEY not in told
    where = told.partition("data: ")[2].strip()
    site.gateway.items = (ACCEPTED,)
    assert site.http.post(where, data=PING).status_code == 202
    assert site.http.post(where.replace("sessionId=s1", "sessionId=s2"), data=PING).status_code == 401
    assert site.http.post(where.replace("/message", "/mcp"), data=PING).status_code == 401
    site.revoke()
    assert site.http.post(where, data=PING).status_code == 401
