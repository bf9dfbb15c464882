"""MCP 2026-07-28 over HTTP: which requests are of it, what becomes of them, and which status answers."""

from __future__ import annotations

import json
import queue
import socket
import threading
from typing import Any

import pytest
from fake_gateway import AWAY, OPENED, SILENCE, FakeGateway, answer, application, chunks, event, unnamed
from flask.testing import FlaskClient
from watched_connection import WatchedConnection
from werkzeug.test import TestResponse

from metamcp.errors import EndpointUnknown, InvalidParams
from metamcp.gateway.interface import Client, Is, Outbound, Post, Stateless, failure
from metamcp.gateway.local import QueuedExchange
from metamcp.protocol import sse
from metamcp.web.environ import CONNECTION
from metamcp.web.state import web_state

REVISION = "2026-07-28"
BOTH = "application/json, text/event-stream"
URL = "/metamcp/dev/mcp"
SECONDS = 10.0
META = {"io.modelcontextprotocol/protocolVersion": REVISION, "io.modelcontextprotocol/clientCapabilities": {}}


def body(method: str = "tools/list", identifier: Any = 1, meta: Any = META, **params: Any) -> bytes:
    params |= {} if meta is None else {"_meta": meta}
    return json.dumps({"jsonrpc": "2.0", "id": identifier, "method": method, "params": params}).encode()


class Site:
    def __init__(self) -> None:
        self.gateway = FakeGateway(answer())
        self.app = application(self.gateway)
        self.http: FlaskClient = self.app.test_client()

    def says(self, *items: Outbound | None) -> None:
        self.gateway.items = items

    def post(self, data: bytes | None = None, method: str = "tools/list", **headers: str | None) -> TestResponse:
        sent: dict[str, str | None] = {
            "Accept": BOTH,
            "Content-Type": "application/json",
            "MCP-Protocol-Version": REVISION,
            "Mcp-Method": method,
        }
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        kept = {name: value for name, value in sent.items() if value is not None}
        return self.http.post(URL, data=body(method) if data is None else data, headers=kept)

    @property
    def request(self) -> Any:
        (request,) = self.gateway.requests
        return request


@pytest.fixture
def site() -> Site:
    return Site()


def error(response: TestResponse) -> tuple[int, int, Any]:
    """HTTP status, code and id of a body that is a JSON-RPC error."""
    assert response.mimetype == "application/json"
    found = json.loads(response.data)
    return response.status_code, found["error"]["code"], found["id"]


def refusal(code: int, identifier: bytes = b"1") -> Outbound:
    return answer(b'{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":"m"}}' % (identifier, code))


# --- what reaches the gateway ------------------------------------------------------------------------------


def test_a_request_reaches_the_gateway_whole_and_without_a_session(site: Site) -> None:
    data = body("tools/call", "a", name="echo", arguments={"n": 1.5})
    response = site.post(
        data, "tools/call", Mcp_Name="echo", Mcp_Session_Id="old", Mcp_Param_Region="=?base64?w6k=?=",
        Mcp_Param_Bad="=?base64?x?=", Last_Event_ID="7",
    )  # fmt: skip
    assert (response.status_code, response.data) == (200, answer().data)
    payload = json.dumps(json.loads(data)["params"]).encode()
    client = Client("dev", "anonymous", "http", "", REVISION, "127.0.0.1")
    headers = {"region": "é", "bad": None}
    assert unnamed(site.request) == Stateless(client, "tools/call", b'"a"', payload, headers)


def test_no_session_is_minted_or_echoed(site: Site) -> None:
    site.says(answer(session="s1"))
    assert "Mcp-Session-Id" not in site.post(Mcp_Session_Id="s1").headers


def test_the_short_url_serves_it_too(site: Site) -> None:
    headers = {"Content-Type": "application/json", "MCP-Protocol-Version": REVISION, "Mcp-Method": "tools/list"}
    assert site.http.post("/mcp", data=body(), headers=headers).status_code == 200
    assert site.request.client.endpoint == "default"


def test_a_handshake_header_keeps_a_request_in_the_handshake_era(site: Site) -> None:
    assert site.post(MCP_Protocol_Version="2025-11-25", Mcp_Session_Id="s1").status_code == 200
    assert isinstance(site.request, Post)


def test_progress_tokens_alone_do_not_make_a_request_modern(site: Site) -> None:
    data = body(meta={"progressToken": 1})
    assert site.post(data, MCP_Protocol_Version=None, Mcp_Session_Id="s1").status_code == 200
    assert isinstance(site.request, Post)


# --- what does not -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "headers", "expected"),
    [
        (b"{", {}, (400, -32700, None)),
        (b"[" + body() + b"]", {}, (400, -32600, None)),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', {}, (400, -32600, None)),
        (body(meta=None), {}, (400, -32602, 1)),
        (body(), {"MCP_Protocol_Version": None}, (400, -32020, 1)),
        (body(), {"MCP_Protocol_Version": "v999.0.0"}, (400, -32020, 1)),
        (body(), {"Mcp_Method": None}, (400, -32020, 1)),
        (body(), {"Mcp_Method": "tools/call"}, (400, -32020, 1)),
        (body("tools/call", "x", name="a"), {"Mcp_Method": "tools/call"}, (400, -32020, "x")),
        (body("tools/call", name="a"), {"Mcp_Method": "tools/call", "Mcp_Name": "b"}, (400, -32020, 1)),
        (body("ping", 0), {"Mcp_Method": "ping"}, (404, -32601, 0)),
        (body("initialize", "1"), {"Mcp_Method": "initialize"}, (404, -32601, "1")),
        (body("unknown/method"), {"Mcp_Method": "unknown/method"}, (404, -32601, 1)),
        (body(), {"Accept": "text/html"}, (406, -32600, None)),
        (body(), {"Content_Type": "text/plain"}, (415, -32600, None)),
    ],
)
def test_what_fails_a_check_is_answered_at_the_edge(
    site: Site, data: bytes, headers: dict[str, str], expected: tuple[int, int, Any]
) -> None:
    assert error(site.post(data, **headers)) == expected
    assert site.gateway.requests == []


def test_an_unknown_version_is_answered_with_what_is_served(site: Site) -> None:
    meta = META | {"io.modelcontextprotocol/protocolVersion": "v999.0.0"}
    response = site.post(body(meta=meta), MCP_Protocol_Version="v999.0.0")
    assert error(response) == (400, -32022, 1)
    assert response.get_json()["error"]["data"] == {"supported": [REVISION], "requested": "v999.0.0"}


def test_a_repeated_routing_header_is_refused(site: Site) -> None:
    headers = [("Content-Type", "application/json"), ("MCP-Protocol-Version", REVISION)]
    twice = [("Mcp-Method", "tools/list"), ("mcp-method", "tools/list")]
    assert error(site.http.post(URL, data=body(), headers=headers + twice)) == (400, -32020, 1)


def test_a_notification_is_taken_and_goes_nowhere(site: Site) -> None:
    response = site.post(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}')
    assert (response.status_code, response.data) == (202, b"")
    assert site.gateway.requests == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest.mark.parametrize("url", [URL, "/mcp/"])
def test_other_http_methods_are_405_and_say_what_is_allowed(site: Site, method: str, url: str) -> None:
    headers = {"Accept": BOTH, "mcp-protocol-version": REVISION, "Mcp-Session-Id": "s1"}
    response = site.http.open(url, method=method, headers=headers)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert site.gateway.requests == []


# --- statuses of answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status"),
    [(-32602, 400), (-32020, 400), (-32021, 400), (-32601, 404), (-32603, 200), (-31003, 200), (7, 200)],
)
@pytest.mark.parametrize("accept", [BOTH, "text/event-stream", "application/json"])
def test_an_error_has_the_status_of_its_code(site: Site, code: int, status: int, accept: str) -> None:
    site.says(refusal(code))
    assert error(site.post(Accept=accept)) == (status, code, 1)
    assert site.gateway.exchanges[0].closed


@pytest.mark.parametrize("code", [b'"x"', b"null", b"[]", b"1e400"])
def test_an_error_of_an_odd_code_is_passed_on(site: Site, code: bytes) -> None:
    data = b'{"jsonrpc":"2.0","id":1,"error":{"code":' + code + b"}}"
    site.says(answer(data))
    response = site.post()
    assert (response.status_code, response.data) == (200, data)


def test_a_refusal_of_the_gateway_keeps_its_own_status(site: Site) -> None:
    for found, status in ((EndpointUnknown("none"), 404), (InvalidParams("bad"), 400)):
        site.says(failure(found, b"1"))
        assert error(site.post()) == (status, found.code, 1)


def test_a_refusal_that_knew_no_id_gets_that_of_the_request(site: Site) -> None:
    site.says(AWAY)
    assert error(site.post(body(identifier="7"))) == (503, -31001, "7")
    assert error(site.post(body(identifier="7"), Accept="text/event-stream")) == (503, -31001, "7")


def test_a_request_that_is_given_up_without_an_answer_is_503(site: Site) -> None:
    site.says(Outbound(Is.ENDED, b"why"))
    assert error(site.post()) == (503, -31001, 1)
    assert site.gateway.exchanges[0].closed


# --- streams -----------------------------------------------------------------------------------------------


def test_a_notification_first_makes_it_a_stream_and_errors_events_of_it(site: Site) -> None:
    site.says(event(b'{"n":1}'), refusal(-32601))
    response = site.post()
    assert (response.status_code, response.mimetype) == (200, "text/event-stream")
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.data == sse.event(b'{"n":1}') + sse.event(refusal(-32601).data)
    response.close()
    assert site.gateway.exchanges[0].closed


def test_a_stream_has_no_event_ids(site: Site) -> None:
    site.says(event(b"{}"), answer())
    assert b"id:" not in site.post(Last_Event_ID="1").data


def test_a_heartbeat_of_silence_makes_it_a_stream(site: Site) -> None:
    site.says(SILENCE, refusal(-32601))
    response = site.post()
    assert response.status_code == 200
    assert response.data == sse.HEARTBEAT + sse.event(refusal(-32601).data)


def test_a_client_that_takes_only_json_waits_for_its_answer(site: Site) -> None:
    site.says(SILENCE, event(b"{}"), SILENCE, refusal(-32601))
    assert error(site.post(Accept="application/json")) == (404, -32601, 1)


def test_a_client_that_takes_only_events_gets_its_answer_as_one(site: Site) -> None:
    assert site.post(Accept="text/event-stream").data == sse.event(answer().data)


def test_a_listen_is_always_a_stream(site: Site) -> None:
    response = site.post(method="subscriptions/listen")
    assert (response.mimetype, response.data) == ("text/event-stream", sse.event(answer().data))


def test_a_listen_that_is_opened_is_a_stream_before_its_first_message(site: Site) -> None:
    site.says(OPENED, event(b'{"ack":1}'))
    response = site.post(method="subscriptions/listen")
    assert (response.mimetype, response.data) == ("text/event-stream", sse.event(b'{"ack":1}'))


def test_a_listen_that_is_refused_has_a_status(site: Site) -> None:
    site.says(refusal(-32602))
    assert error(site.post(method="subscriptions/listen")) == (400, -32602, 1)
    assert error(site.post(method="subscriptions/listen", Accept="application/json")) == (406, -32600, 1)


# --- hang-ups and the end of a worker ----------------------------------------------------------------------


class Live:
    """An exchange whose items come when the test says so."""

    def __init__(self, site: Site, *items: Outbound) -> None:
        self.closed = threading.Event()
        self.exchange = QueuedExchange(self.closed.set)
        for item in items:
            self.exchange.put(item)
        site.gateway.make = lambda: self.exchange


def test_a_client_that_hangs_up_before_the_first_item_cancels_its_request(site: Site) -> None:
    ours, theirs = socket.socketpair()
    live = Live(site)
    answered: queue.Queue[int] = queue.Queue()
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    headers |= {"MCP-Protocol-Version": REVISION, "Mcp-Method": "tools/list"}

    def ask() -> None:
        environ = {CONNECTION: WatchedConnection(ours)}
        answered.put(site.http.post(URL, data=body(), headers=headers, environ_overrides=environ).status_code)

    with ours:
        asking = threading.Thread(target=ask)
        asking.start()
        theirs.close()
        assert live.closed.wait(SECONDS)
        assert answered.get(timeout=SECONDS) == 503
        asking.join(SECONDS)


def test_a_client_that_hangs_up_within_its_stream_cancels_its_request(site: Site) -> None:
    ours, theirs = socket.socketpair()
    live = Live(site, event(b"{}"))
    headers = {"Accept": BOTH, "Content-Type": "application/json"}
    headers |= {"MCP-Protocol-Version": REVISION, "Mcp-Method": "tools/list"}
    with ours:
        environ = {CONNECTION: WatchedConnection(ours)}
        response = site.http.post(URL, data=body(), headers=headers, environ_overrides=environ)
        pieces = chunks(response)
        assert [next(pieces), next(pieces)] == [sse.event(b"{}"), sse.HEARTBEAT]
        assert not live.closed.is_set()
        theirs.close()
        assert live.closed.wait(SECONDS)
        assert set(pieces) <= {sse.HEARTBEAT}
        response.close()


def test_the_end_of_a_worker_ends_a_listen_but_not_a_call(site: Site) -> None:
    listening = Live(site, event(b"{}"))
    listened = site.post(method="subscriptions/listen")
    calling = Live(site, event(b"{}"))
    called = site.post()
    web_state(site.app).streams.drain()
    assert listening.closed.is_set() and not calling.closed.is_set()
    listened.close()
    called.close()
