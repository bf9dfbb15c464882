"""HTTP+SSE: a stream whose first event says where to post."""

from __future__ import annotations

import json

import pytest
from fake_gateway import ACCEPTED, AWAY, OPENED, SILENCE, FakeGateway, application, event, unnamed
from flask.testing import FlaskClient

from metamcp.errors import SessionUnknown
from metamcp.gateway.interface import Client, OpenSse, Outbound, Post, failure
from metamcp.web import reading

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{}}'


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway(OPENED, SILENCE, event(b'{"n":1}'))


@pytest.fixture
def http(gateway: FakeGateway) -> FlaskClient:
    return application(gateway).test_client()


# --- the stream --------------------------------------------------------------------------------------------


def test_the_endpoint_event_comes_first_then_messages_and_heartbeats(http: FlaskClient, gateway: FakeGateway) -> None:
    response = http.get("/metamcp/dev/sse")
    assert (response.status_code, response.mimetype) == (200, "text/event-stream")
    assert response.data == (
        b"event: endpoint\ndata: /metamcp/dev/message?sessionId=s1\n\n"
        b': heartbeat\n\nevent: message\ndata: {"n":1}\n\n'
    )
    assert list(map(unnamed, gateway.requests)) == [OpenSse(Client("dev", "anonymous", "sse", address="127.0.0.1"))]


@pytest.mark.parametrize(("url", "base", "endpoint"), [
    ("/metamcp/dev/sse", "http://localhost/gate", "/gate/metamcp/dev/message"),
    ("/metamcp/dev/sse/", "http://localhost", "/metamcp/dev/message"),
    ("/sse", "http://localhost", "/message"),
    ("/sse/", "http://localhost/a/b", "/a/b/message"),
])
def test_the_endpoint_event_is_a_path_that_keeps_the_proxys_prefix(
    http: FlaskClient, url: str, base: str, endpoint: str
) -> None:
    first = http.get(url, base_url=base).data.split(b"\n\n")[0]
    assert first == b"event: endpoint\ndata: %s?sessionId=s1" % endpoint.encode()


def test_a_session_id_is_quoted_in_the_endpoint_event(http: FlaskClient, gateway: FakeGateway) -> None:
    gateway.items = (Outbound(OPENED.kind, session="a b&c"),)
    assert b"sessionId=a%20b%26c\n" in http.get("/sse").data


def test_a_stream_may_not_be_cached_or_buffered(http: FlaskClient) -> None:
    headers = http.get("/sse").headers
    assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-cache, no-transform", "no")


def test_the_end_of_the_response_ends_the_exchange(http: FlaskClient, gateway: FakeGateway) -> None:
    response = http.get("/sse")
    assert not gateway.exchanges[0].closed
    response.close()
    assert gateway.exchanges[0].closed


@pytest.mark.parametrize("url", ["/metamcp/dev/sse", "/sse", "/sse/"])
def test_head_opens_no_exchange(http: FlaskClient, gateway: FakeGateway, url: str) -> None:
    response = http.head(url)
    assert (response.status_code, response.data, response.mimetype) == (200, b"", "text/event-stream")
    assert gateway.requests == []


def test_a_refused_stream_has_the_status_of_its_error(http: FlaskClient, gateway: FakeGateway) -> None:
    gateway.items = (AWAY,)
    response = http.get("/sse")
    assert (response.status_code, response.mimetype) == (503, "application/json")
    assert gateway.exchanges[0].closed


def test_posting_to_the_stream_is_405_so_that_clients_fall_back(http: FlaskClient) -> None:
    response = http.post("/metamcp/dev/sse", data=PING)
    assert response.status_code == 405
    assert "GET" in response.headers["Allow"] and "POST" not in response.headers["Allow"]


def test_a_foreign_host_or_origin_gets_no_stream(http: FlaskClient, gateway: FakeGateway) -> None:
    assert http.get("/sse", headers={"Host": "evil.example"}).status_code == 421
    assert http.get("/sse", headers={"Origin": "http://evil.example"}).status_code == 403
    assert gateway.requests == []


# --- messages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sessionId", "session_id"])
@pytest.mark.parametrize("path", ["/metamcp/dev/message", "/metamcp/dev/message/"])
def test_a_message_is_accepted_with_202(http: FlaskClient, gateway: FakeGateway, path: str, name: str) -> None:
    gateway.items = (ACCEPTED,)
    response = http.post(f"{path}?{name}=s1", data=PING)
    assert (response.status_code, response.data) == (202, b"Accepted")
    client = Client("dev", "anonymous", "sse", "s1", "", "127.0.0.1")
    assert list(map(unnamed, gateway.requests)) == [Post(client, "request", "ping", b"1", b"{}")]
    assert gateway.exchanges[0].closed


def test_a_response_of_the_client_is_passed_on_whole(http: FlaskClient, gateway: FakeGateway) -> None:
    gateway.items = (ACCEPTED,)
    body = b'{"jsonrpc":"2.0","id":3,"error":{"code":1,"message":"no"}}'
    http.post("/message?sessionId=s1", data=body)
    client = Client("default", "anonymous", "sse", "s1", "", "127.0.0.1")
    assert unnamed(gateway.requests[0]) == Post(client, "response", "", b"3", body)


def test_a_missing_session_is_400(http: FlaskClient, gateway: FakeGateway) -> None:
    assert http.post("/message", data=PING).status_code == 400
    assert gateway.requests == []


def test_an_unknown_session_is_404(http: FlaskClient, gateway: FakeGateway) -> None:
    gateway.items = (failure(SessionUnknown("Session not found"), b"1"),)
    response = http.post("/message?sessionId=x", data=PING)
    assert (response.status_code, json.loads(response.data)["id"]) == (404, 1)


@pytest.mark.parametrize("body", [b"", b"{", b"[]"])
def test_a_body_that_is_no_message_is_400(http: FlaskClient, gateway: FakeGateway, body: bytes) -> None:
    assert http.post("/message?sessionId=s1", data=body).status_code == 400
    assert gateway.requests == []


def test_a_body_over_the_limit_is_413(http: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BODY", 10)
    assert http.post("/message?sessionId=s1", data=PING).status_code == 413


def test_getting_the_message_url_is_405_with_allow(http: FlaskClient) -> None:
    response = http.get("/message")
    assert response.status_code == 405 and "POST" in response.headers["Allow"]
