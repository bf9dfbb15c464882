"""What real clients send and expect over HTTP, whatever the specification says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_gateway import ACCEPTED, NO_KEYS, OPENED, SILENCE, FakeGateway, Open, answer, application
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from metamcp.errors import SessionUnknown
from metamcp.gateway.interface import failure
from metamcp.web.application import create_app
from metamcp.web.state import WebState

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
HELLO = b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}'
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
JSON = {"Content-Type": "application/json"}
MINE = JSON | {"Mcp-Session-Id": "s1"}


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway(answer())


@pytest.fixture
def http(gateway: FakeGateway) -> FlaskClient:
    return application(gateway).test_client()


def post(http: FlaskClient, body: bytes = PING, url: str = "/mcp", **headers: str) -> TestResponse:
    return http.post(url, data=body, headers=MINE | {name.replace("_", "-"): value for name, value in headers.items()})


# --- Accept ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "kind", "events"),
    [
        ({}, "application/json", True),
        ({"Accept": "*/*"}, "application/json", True),
        ({"Accept": "application/json"}, "application/json", False),  # of a client of Google's
        ({"Accept": "text/event-stream"}, "text/event-stream", True),  # of the SDK in Java
        ({"Accept": "text/event-stream, application/json"}, "application/json", True),
        ({"Accept": "application/json;q=1.0, text/event-stream;q=0.9"}, "application/json", True),
    ],
)
def test_post_is_answered_in_a_kind_that_the_client_takes(
    http: FlaskClient, gateway: FakeGateway, accept: dict[str, str], kind: str, events: bool
) -> None:
    response = http.post("/mcp", data=PING, headers=MINE | accept)
    assert (response.status_code, response.mimetype) == (200, kind)
    assert bool(gateway.requests[0].stream) is events


@pytest.mark.parametrize("accept", [{}, {"Accept": "*/*"}, {"Accept": "text/event-stream"}])
def test_get_opens_a_stream_for_who_takes_events(
    http: FlaskClient, gateway: FakeGateway, accept: dict[str, str]
) -> None:
    gateway.items = (OPENED,)
    response = http.get("/mcp", headers={"Mcp-Session-Id": "s1"} | accept)
    assert (response.status_code, response.mimetype) == (200, "text/event-stream")


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_get_of_who_takes_no_events_is_405_which_every_client_understands(
    http: FlaskClient, gateway: FakeGateway, accept: str
) -> None:
    response = http.get("/mcp", headers={"Mcp-Session-Id": "s1", "Accept": accept})
    assert response.status_code == 405
    assert set(response.headers["Allow"].replace(" ", "").split(",")) == {"POST", "DELETE"}
    assert gateway.requests == []


# --- sessions and addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["/mcp", "/mcp/", "/metamcp/dev/mcp", "/metamcp/dev/mcp/"])
def test_unknown_session_is_404_for_every_method_and_body(http: FlaskClient, gateway: FakeGateway, url: str) -> None:
    gateway.items = (failure(SessionUnknown("Session not found: initialize again"), b"1"),)
    answers = [post(http, body, url) for body in (PING, INITIALIZED, b'{"jsonrpc":"2.0","id":1,"result":{}}')]
    headers = {"Mcp-Session-Id": "gone"}
    for response in (*answers, http.get(url, headers=headers), http.delete(url, headers=headers)):
        assert response.status_code == 404
        assert json.loads(response.data)["error"]["code"] == -32001


@pytest.mark.parametrize("url", ["/sse", "/sse/", "/metamcp/dev/sse", "/metamcp/dev/sse/"])
@pytest.mark.parametrize("body", [HELLO, PING, b""])
def test_client_of_the_new_transport_at_the_old_url_is_405_at_once(
    http: FlaskClient, gateway: FakeGateway, url: str, body: bytes
) -> None:
    for response in (post(http, body, url), http.delete(url)):
        assert response.status_code == 405 and "GET" in response.headers["Allow"]
    assert gateway.requests == []


def test_no_url_of_clients_or_operators_answers_with_a_redirect(http: FlaskClient, gateway: FakeGateway) -> None:
    gateway.items = (ACCEPTED,)
    rules = map(str, http.application.url_map.iter_rules())
    paths = {rule.replace("<endpoint>", "dev").replace("<any(mcp,sse):kind>", "mcp") for rule in rules}
    assert "/metamcp/dev/mcp" in paths
    for path in paths - {"/login", "/logout"}:  # forms of a browser
        for url in (path, f"{path}/", f"/{path}"):
            for method in ("GET", "POST", "DELETE", "OPTIONS", "PUT"):
                exact = {"PATH_INFO": url}  # the test client would take what follows // for a host
                response = http.open("/?a=b", method=method, data=PING, headers=MINE, environ_overrides=exact)
                assert response.status_code // 100 != 3, (method, url)
                response.close()


@pytest.mark.parametrize("session", [{}, {"Mcp-Session-Id": ""}])
def test_initialized_without_a_session_is_400_and_disturbs_nothing(
    http: FlaskClient, gateway: FakeGateway, session: dict[str, str]
) -> None:
    response = http.post("/mcp", data=INITIALIZED, headers=JSON | session)
    assert response.status_code == 400
    assert "initialize first" in json.loads(response.data)["error"]["message"]
    assert gateway.requests == []


@pytest.mark.parametrize("name", ["mcp-session-id", "MCP-SESSION-ID", "Mcp-Session-Id", "mCP-sESSION-iD"])
def test_header_names_have_no_case(http: FlaskClient, gateway: FakeGateway, name: str) -> None:
    response = http.post("/mcp", data=PING, headers={"CONTENT-TYPE": "application/json", name: "s1"})
    assert (response.status_code, gateway.requests[0].client.session) == (200, "s1")


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25", "1999-01-01", "2025-06-18, 2025-03-26"])
def test_initialize_may_carry_any_version_header(http: FlaskClient, version: str) -> None:
    assert http.post("/mcp", data=HELLO, headers=JSON | {"MCP-Protocol-Version": version}).status_code == 200


@pytest.mark.parametrize("name", ["sessionId", "session_id"])
@pytest.mark.parametrize("version", [None, "2025-06-18", "1999-01-01"])
def test_message_names_its_session_in_either_way_and_its_version_is_not_judged(
    http: FlaskClient, gateway: FakeGateway, name: str, version: str | None
) -> None:
    gateway.items = (ACCEPTED,)
    headers = {"MCP-Protocol-Version": version} if version else {}
    assert http.post(f"/message?{name}=s1", data=PING, headers=headers).status_code == 202
    assert gateway.requests[0].client.session == "s1"


@pytest.mark.parametrize("headers", [{}, {"Accept": "text/html"}, {"Content-Type": "application/json"}])
def test_delete_needs_nothing_but_its_session(
    http: FlaskClient, gateway: FakeGateway, headers: dict[str, str]
) -> None:
    gateway.items = (ACCEPTED,)
    response = http.delete("/mcp", headers={"Mcp-Session-Id": "s1"} | headers, data=b"{}")
    assert (response.status_code, response.data) == (200, b"")


# --- bodies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":99,"result":{}}',
        b'{"jsonrpc":"2.0","id":"of nobody","result":null}',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":null}',
        b'{"result":{},"jsonrpc":"2.0","id":%s}' % (b"9" * 5000),
    ],
)
@pytest.mark.parametrize("url", ["/mcp", "/message?sessionId=s1"])
def test_response_of_a_client_is_202_whatever_it_answers(
    http: FlaskClient, gateway: FakeGateway, url: str, body: bytes
) -> None:
    gateway.items = (ACCEPTED,)
    assert post(http, body, url).status_code == 202
    assert gateway.requests[0].payload == body


@pytest.mark.parametrize("url", ["/mcp", "/message?sessionId=s1"])
def test_byte_order_mark_before_a_body_is_ignored(http: FlaskClient, gateway: FakeGateway, url: str) -> None:
    assert post(http, b"\xef\xbb\xbf" + PING, url).status_code == 200
    assert (gateway.requests[0].method, gateway.requests[0].id) == ("ping", b"1")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON;charset=\"UTF-8\""])
def test_content_type_may_have_a_charset(http: FlaskClient, kind: str) -> None:
    assert post(http, Content_Type=kind).status_code == 200


def test_body_without_a_content_type_is_415(http: FlaskClient) -> None:
    assert http.post("/mcp", data=PING, headers={"Mcp-Session-Id": "s1"}).status_code == 415


# --- heartbeats --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "url"), [("POST", "/mcp"), ("GET", "/mcp"), ("GET", "/sse")])
def test_no_stream_is_silent_for_more_than_fifteen_seconds(gateway: FakeGateway, method: str, url: str) -> None:
    gateway.items = (SILENCE, SILENCE, answer()) if method == "POST" else (OPENED, SILENCE, SILENCE)
    hosts = frozenset({"localhost"})
    http = create_app(WebState(gateway, hosts, hosts, NO_KEYS, Open())).test_client()
    response: Any = http.open(url, method=method, data=PING, headers=MINE)
    assert response.data.count(b": heartbeat\n\n") == 2
    assert set(gateway.exchanges[0].timeouts) == {15.0}
