"""Streamable HTTP: what each request is, and which status answers it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_gateway import ACCEPTED, AWAY, OPENED, SILENCE, FakeGateway, answer, application, chunks, event, unnamed
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from metamcp.errors import SessionUnknown
from metamcp.gateway.interface import Client, Delete, Listen, Outbound, Post, failure
from metamcp.web import reading

BOTH = "application/json, text/event-stream"
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
INITIALIZE = b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}'
URL = "/metamcp/dev/mcp"


class Site:
    def __init__(self) -> None:
        self.gateway = FakeGateway(answer())
        self.app = application(self.gateway)
        self.http: FlaskClient = self.app.test_client()

    def says(self, *items: Outbound | None) -> None:
        self.gateway.items = items

    def post(self, body: bytes = PING, url: str = URL, session: str | None = "s1", **headers: str) -> TestResponse:
        sent = {"Accept": BOTH, "Content-Type": "application/json"}
        sent |= {"Mcp-Session-Id": session} if session is not None else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(url, data=body, headers=sent)

    def get(self, session: str | None = "s1", **headers: str) -> TestResponse:
        sent = {"Accept": "text/event-stream"} | ({"Mcp-Session-Id": session} if session is not None else {})
        return self.http.get(URL, headers=sent | {name.replace("_", "-"): value for name, value in headers.items()})

    @property
    def request(self) -> Any:
        (request,) = self.gateway.requests
        return request


@pytest.fixture
def site() -> Site:
    return Site()


def error(response: TestResponse) -> dict[str, Any]:
    """The JSON-RPC error of a body that is one."""
    assert response.mimetype == "application/json"
    body = json.loads(response.data)
    assert body["jsonrpc"] == "2.0" and "id" in body
    found: dict[str, Any] = body["error"]
    return found


# --- POST --------------------------------------------------------------------------------------------------


def test_an_answer_that_comes_first_is_one_json_body(site: Site) -> None:
    response = site.post()
    assert (response.status_code, response.mimetype) == (200, "application/json")
    assert response.data == answer().data
    assert site.gateway.exchanges[0].closed


def test_the_gateway_gets_the_envelope_and_the_raw_params(site: Site) -> None:
    body = b'{"jsonrpc":"2.0","id":"a\\u0062","method":"tools/call","params":{"n": 1.50}}'
    site.post(body, MCP_Protocol_Version="2025-06-18")
    client = Client("dev", "anonymous", "http", "s1", "2025-06-18", "127.0.0.1")
    name = site.request.stream
    assert name and unnamed(site.request) == Post(client, "request", "tools/call", b'"a\\u0062"', b'{"n": 1.50}', name)


def test_a_response_of_the_client_is_passed_on_whole(site: Site) -> None:
    site.says(ACCEPTED)
    body = b'{"jsonrpc":"2.0","id":3,"result":{"roots":[]}}'
    assert site.post(body).status_code == 202
    assert (site.request.kind, site.request.payload) == ("response", body)


def test_a_notification_is_answered_with_202_and_no_body(site: Site) -> None:
    site.says(ACCEPTED)
    response = site.post(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
    assert (response.status_code, response.data) == (202, b"")


def test_initialize_needs_no_session_and_its_answer_names_the_new_one(site: Site) -> None:
    site.says(answer(session="new"))
    response = site.post(INITIALIZE, session=None, MCP_Protocol_Version="whatever")
    assert (response.status_code, response.headers["Mcp-Session-Id"]) == (200, "new")
    assert site.request.client.session == ""


def test_initialize_with_an_old_session_opens_a_new_one(site: Site) -> None:
    site.post(INITIALIZE, session="old")
    assert site.request.client.session == ""


def test_the_new_session_is_named_also_for_a_client_that_takes_only_events(site: Site) -> None:
    site.says(answer(session="new"))
    response = site.post(INITIALIZE, session=None, Accept="text/event-stream")
    assert (response.mimetype, response.headers["Mcp-Session-Id"]) == ("text/event-stream", "new")


def test_the_short_url_is_the_endpoint_called_default(site: Site) -> None:
    site.post(url="/mcp")
    assert site.request.client.endpoint == "default"


@pytest.mark.parametrize("url", [URL, URL + "/", "/mcp", "/mcp/", "/metamcp/default/mcp"])
def test_a_trailing_slash_makes_no_difference_and_no_redirect(site: Site, url: str) -> None:
    assert site.post(url=url).status_code == 200


# --- JSON or events ----------------------------------------------------------------------------------------


def test_a_notification_that_comes_first_makes_it_a_stream_with_the_answer_last(site: Site) -> None:
    site.says(event(b'{"n":1}'), answer(b'{"a":1}'))
    response = site.post()
    assert response.mimetype == "text/event-stream"
    assert response.data == b'event: message\ndata: {"n":1}\n\nevent: message\ndata: {"a":1}\n\n'
    assert response.headers["Cache-Control"] == "no-cache, no-transform"
    assert response.headers["X-Accel-Buffering"] == "no"
    response.close()
    assert site.gateway.exchanges[0].closed


def test_silence_makes_it_a_stream_with_heartbeats(site: Site) -> None:
    site.says(SILENCE, SILENCE, answer(b"{}"))
    response = site.post()
    assert response.data == b": heartbeat\n\n" * 2 + b"event: message\ndata: {}\n\n"


def test_a_client_that_takes_only_json_waits_for_its_answer(site: Site) -> None:
    site.says(SILENCE, event(b'{"n":1}'), SILENCE, answer(b'{"a":1}'))
    response = site.post(Accept="application/json")
    assert (response.mimetype, response.data) == ("application/json", b'{"a":1}')


def test_a_client_that_takes_only_events_gets_its_answer_as_an_event(site: Site) -> None:
    response = site.post(Accept="text/event-stream")
    assert response.mimetype == "text/event-stream"
    assert response.data.startswith(b"event: message\ndata: {")


def test_a_client_that_takes_only_events_gets_a_refusal_with_its_status(site: Site) -> None:
    site.says(AWAY)
    assert site.post(Accept="text/event-stream").status_code == 503


@pytest.mark.parametrize("accept", ["*/*", "application/*", ""])
def test_vague_accept_headers_take_json(site: Site, accept: str) -> None:
    assert site.post(Accept=accept).mimetype == "application/json"


# --- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[1]", b'{"jsonrpc":"1.0","id":1,"method":"x"}', b"\xff"])
def test_a_body_that_is_no_message_is_400(site: Site, body: bytes) -> None:
    response = site.post(body)
    assert response.status_code == 400 and error(response)["code"] in (-32700, -32600)
    assert site.gateway.requests == []


def test_a_missing_session_is_400_and_says_what_to_do(site: Site) -> None:
    for response in (site.post(session=None), site.get(session=None), site.http.delete(URL)):
        assert response.status_code == 400
        assert "Mcp-Session-Id is missing: initialize first" in error(response)["message"]
    assert site.gateway.requests == []


def test_an_unknown_session_is_404(site: Site) -> None:
    site.says(failure(SessionUnknown("Session not found: initialize again"), b"1"))
    for response in (site.post(), site.get(), site.http.delete(URL, headers={"Mcp-Session-Id": "x"})):
        assert (response.status_code, error(response)["code"]) == (404, -32001)
    assert all(exchange.closed for exchange in site.gateway.exchanges)


def test_an_unsupported_protocol_version_is_400(site: Site) -> None:
    for response in (site.post(MCP_Protocol_Version="1999-01-01"), site.get(MCP_Protocol_Version="1999-01-01")):
        assert response.status_code == 400
        assert error(response)["data"]["requested"] == "1999-01-01"


def test_a_method_that_the_url_does_not_have_is_405_with_allow(site: Site) -> None:
    response = site.http.put(URL)
    assert response.status_code == 405
    assert {"GET", "POST", "DELETE"} <= set(response.headers["Allow"].replace(" ", "").split(","))
    error(response)


def test_an_accept_that_takes_neither_kind_is_406(site: Site) -> None:
    assert site.post(Accept="text/html").status_code == 406
    assert site.gateway.requests == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_of_another_type_is_415(site: Site, kind: str) -> None:
    assert site.post(Content_Type=kind).status_code == 415


def test_a_charset_behind_the_type_is_fine(site: Site) -> None:
    assert site.post(Content_Type="application/json; charset=utf-8").status_code == 200


def test_a_body_over_the_limit_is_413(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BODY", 100)
    response = site.post(PING + b" " * 100)
    assert response.status_code == 413
    error(response)
    assert site.gateway.requests == []


def test_a_foreign_host_is_421_and_a_foreign_origin_403(site: Site) -> None:
    assert site.post(Host="evil.example").status_code == 421
    assert site.post(Host="localhost.evil.example:80").status_code == 421
    assert site.post(Origin="http://evil.example").status_code == 403
    assert site.post(Origin="null").status_code == 403
    assert site.gateway.requests == []


def test_our_own_host_and_origin_are_fine_with_any_port(site: Site) -> None:
    assert site.post(Host="localhost:12009", Origin="http://localhost:3000").status_code == 200


def test_a_supervisor_that_is_away_is_503_and_says_when_to_come_back(site: Site) -> None:
    site.says(AWAY)
    for response in (site.post(), site.get()):
        assert response.status_code == 503
        assert error(response)["data"]["retryAfterMs"] == 1000


def test_an_unknown_url_is_404_with_a_json_rpc_error(site: Site) -> None:
    response = site.http.post("/nope")
    assert response.status_code == 404
    error(response)


def test_a_bug_of_ours_is_500_and_shows_no_trace(site: Site) -> None:
    def broken() -> Any:
        raise RuntimeError("the secret of the house")

    site.gateway.make = broken
    response = site.post()
    assert (response.status_code, error(response)["code"]) == (500, -32603)
    assert b"secret" not in response.data and b"Traceback" not in response.data


# --- GET, HEAD and DELETE ----------------------------------------------------------------------------------


def test_get_opens_a_stream_at_once(site: Site) -> None:
    site.says(OPENED, event(b'{"n":1}'), SILENCE)
    response = site.get()
    assert (response.status_code, response.mimetype) == (200, "text/event-stream")
    assert response.data == b': open\n\nevent: message\ndata: {"n":1}\n\n: heartbeat\n\n'
    client = Client("dev", "anonymous", "http", "s1", "", "127.0.0.1")
    assert unnamed(site.request) == Listen(client, site.request.stream)


def test_a_stream_that_its_client_leaves_ends_its_exchange(site: Site) -> None:
    site.says(OPENED, *[SILENCE] * 1000)
    response = site.get()
    assert next(chunks(response)) == b": open\n\n"
    assert not site.gateway.exchanges[0].closed
    response.close()
    assert site.gateway.exchanges[0].closed


@pytest.mark.parametrize("items", [(SILENCE,), ()])
def test_a_stream_that_does_not_open_is_503(site: Site, items: tuple[None, ...]) -> None:
    site.says(*items)
    assert site.get().status_code == 503
    assert site.gateway.exchanges[0].closed


@pytest.mark.parametrize("url", [URL, "/mcp"])
def test_head_opens_no_exchange(site: Site, url: str) -> None:
    site.says(OPENED)
    response = site.http.head(url, headers={"Accept": "text/event-stream", "Mcp-Session-Id": "s1"})
    assert (response.status_code, response.data, response.mimetype) == (200, b"", "text/event-stream")
    assert site.gateway.requests == []


def test_delete_ends_the_session_with_200(site: Site) -> None:
    site.says(ACCEPTED)
    assert site.http.delete(URL, headers={"Mcp-Session-Id": "s1"}).status_code == 200
    assert unnamed(site.request) == Delete(Client("dev", "anonymous", "http", "s1", "", "127.0.0.1"))
