"""Tools as REST: what the gateway is asked, and what becomes of its answers."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from fake_gateway import AWAY, SILENCE, FakeGateway, Open, ScriptedExchange, answer, application, event
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator
from watched_connection import WatchedConnection
from werkzeug.test import TestResponse

from metamcp.access.policy import Door, Policy, Trust
from metamcp.gateway.interface import Is, Outbound, Stateless
from metamcp.gateway.local import QueuedExchange
from metamcp.protocol import jsonrpc
from metamcp.web import counters, rest
from metamcp.web.application import create_app
from metamcp.web.environ import CONNECTION
from metamcp.web.state import WebState, web_state

BASE = "/metamcp/dev/api"
PROBLEM = "application/problem+json"
SECONDS = 10.0
PAGE = "http://localhost:6274"
GREET = {"name": "greet", "title": "Greet", "inputSchema": {"type": "object", "properties": {"name": {}}}}


def result(**members: Any) -> Outbound:
    return answer(json.dumps({"jsonrpc": "2.0", "id": "rest", "result": members}).encode())


def text(*texts: str, **members: Any) -> Outbound:
    return result(content=[{"type": "text", "text": it} for it in texts], **members)


def error(code: int, **data: Any) -> Outbound:
    members = {"code": code, "message": "what to do"} | ({"data": data} if data else {})
    return answer(jsonrpc.error_response(b'"rest"', members))


class Site:
    def __init__(self) -> None:
        self.gateway = FakeGateway(text("Hello"))
        self.app = application(self.gateway)
        self.http: FlaskClient = self.app.test_client()

    def says(self, *items: Outbound | None) -> None:
        self.gateway.items = items

    def call(self, tool: str = "greet", data: bytes | None = b"{}", **headers: str) -> TestResponse:
        known = {"Content-Type": "application/json"} if data else {}
        return self.http.post(f"{BASE}/{tool}", data=data, headers=known | headers)

    def get(self, path: str = "/openapi.json", **headers: str) -> TestResponse:
        return self.http.get(BASE + path, headers=headers)


@pytest.fixture
def site() -> Site:
    return Site()


def problem(response: TestResponse) -> dict[str, Any]:
    assert response.mimetype == PROBLEM
    found: dict[str, Any] = json.loads(response.data)
    assert found["status"] == response.status_code and found["title"] and found["detail"]
    return found


def in_turn(answers: list[Outbound]) -> Callable[[], ScriptedExchange]:
    """Of one request after the other."""
    remaining = iter(answers)
    return lambda: ScriptedExchange((next(remaining),))


# --- what is asked -----------------------------------------------------------------------------------------


def test_call_is_one_request_of_a_client_without_capabilities(site: Site) -> None:
    response = site.call(data=b'{"name": "World", "big": 12345678901234567890123}')
    assert (response.status_code, response.mimetype, response.json) == (200, "application/json", "Hello")
    (asked,) = site.gateway.requests
    assert isinstance(asked, Stateless) and asked.method == "tools/call" and asked.headers == {}
    assert (asked.client.endpoint, asked.client.transport, asked.client.revision) == ("dev", "rest", "2026-07-28")
    params = json.loads(asked.payload)
    assert params["name"] == "greet"
    assert b'"big": 12345678901234567890123' in asked.payload
    assert params["_meta"]["io.modelcontextprotocol/clientCapabilities"] == {}
    assert "progressToken" not in params["_meta"]
    assert asked.client.request == response.headers["X-Request-ID"]
    assert site.gateway.exchanges[0].closed


@pytest.mark.parametrize("body", [None, b"", b" \r\n"])
def test_no_body_is_no_arguments(site: Site, body: bytes | None) -> None:
    assert site.http.post(f"{BASE}/greet", data=body).status_code == 200
    assert json.loads(site.gateway.requests[0].payload)["arguments"] == {}


@pytest.mark.parametrize("written", ["a%2Fb", "a/b"])
def test_name_of_a_tool_may_be_anything_that_a_path_can_hold(site: Site, written: str) -> None:
    site.call(written)
    assert json.loads(site.gateway.requests[0].payload)["name"] == "a/b"


@pytest.mark.parametrize("body", [b"[]", b"7", b"{", b'{"a":}', b'{"a":"\xff"}', b'{"a":' * 3000 + b"1" + b"}" * 3000])
def test_body_that_is_no_object_is_refused(site: Site, body: bytes) -> None:
    assert problem(site.call(data=body))["status"] == 400
    assert site.gateway.requests == []


def test_body_that_says_it_is_something_else_is_refused(site: Site) -> None:
    assert problem(site.call(data=b"{}", **{"Content-Type": "text/plain"}))["status"] == 415


# --- what comes back ---------------------------------------------------------------------------------------


def test_structured_content_is_the_body(site: Site) -> None:
    site.says(text("{}", structuredContent={"greeting": "Hello"}))
    assert site.call().json == {"greeting": "Hello"}


def test_what_comes_before_the_answer_is_not_waited_for_nor_shown(site: Site) -> None:
    site.says(SILENCE, event(b'{"jsonrpc":"2.0","method":"notifications/message"}'), SILENCE, text("1", "a"))
    assert site.call().json == [1, "a"]


def test_error_of_a_tool_has_a_status_of_its_own(site: Site) -> None:
    site.says(text("no such city", "try Paris", isError=True, structuredContent={"code": 3}))
    found = problem(site.call())
    assert (found["status"], found["detail"]) == (422, "no such city\ntry Paris")
    assert found["content"][0]["text"] == "no such city" and found["structuredContent"] == {"code": 3}
    assert "code" not in found


@pytest.mark.parametrize(
    ("code", "status"),
    [(-31001, 503), (-31002, 503), (-31003, 504), (-31004, 502), (-31005, 403), (-31006, 429), (-32601, 404),
     (-32602, 400), (-32021, 501), (-32603, 502), (7, 502)],
)  # fmt: skip
def test_error_instead_of_an_answer(site: Site, code: int, status: int) -> None:
    site.gateway.make = in_turn([error(code, server="s", retryAfterMs=1500), result(tools=[GREET])])
    response = site.call()
    found = problem(response)
    assert (found["status"], found["code"], found["detail"]) == (status, code, "what to do")
    assert found["data"] == {"server": "s", "retryAfterMs": 1500}
    assert response.headers["Retry-After"] == "2"


def test_tool_that_there_is_not(site: Site) -> None:
    site.gateway.make = in_turn([error(-32602), result(tools=[GREET])])
    found = problem(site.call("other"))
    assert found["status"] == 404 and "http://localhost/metamcp/dev/api" in found["detail"]
    assert [it.method for it in site.gateway.requests] == ["tools/call", "tools/list"]


def test_tool_that_asks_its_client_is_told_to_be_called_otherwise(site: Site) -> None:
    site.says(result(resultType="input_required", inputRequests={}))
    assert problem(site.call())["status"] == 501


@pytest.mark.parametrize("item", [result(content=7), answer(b'{"jsonrpc":"2.0","id":1,"error":7}')])
def test_answer_that_is_none_is_the_servers_fault(site: Site, item: Outbound) -> None:
    site.says(item)
    assert problem(site.call())["status"] == 502


@pytest.mark.parametrize("path", ["/openapi.json", "", "/greet"])
def test_supervisor_that_is_away(site: Site, path: str) -> None:
    for item in (AWAY, Outbound(Is.ENDED, b"gone")):
        site.says(item)
        response = site.call() if path == "/greet" else site.get(path)
        assert problem(response)["status"] == 503 and response.headers["Retry-After"] == "1"


# --- the document ------------------------------------------------------------------------------------------


def test_document_describes_the_tools_where_the_client_found_them(site: Site) -> None:
    site.says(result(tools=[GREET]))
    made = site.get(**{"X-Forwarded-Proto": "https", "Host": "localhost:8443"}).json
    OpenAPIV31SpecValidator(made).validate()
    assert made["servers"] == [{"url": "https://localhost:8443/metamcp/dev/api"}]
    assert list(made["paths"]) == ["/greet"] and "security" not in made
    assert site.gateway.requests[0].method == "tools/list"


def test_document_that_a_client_has_is_not_sent_again(site: Site) -> None:
    site.says(result(tools=[GREET]))
    first = site.get()
    tag = first.headers["ETag"]
    again = site.get(**{"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    site.says(result(tools=[GREET, GREET | {"name": "leave"}]))
    changed = site.get(**{"If-None-Match": tag})
    assert changed.status_code == 200 and changed.headers["ETag"] != tag


def test_index_says_what_there_is(site: Site) -> None:
    site.says(result(tools=[GREET | {"description": "d"}]))
    assert site.get("").json == {
        "endpoint": "dev", "openapi": "http://localhost/metamcp/dev/api/openapi.json",
        "tools": [{"name": "greet", "title": "Greet", "description": "d",
                   "url": "http://localhost/metamcp/dev/api/greet"}],
    }  # fmt: skip


def test_endpoint_without_tools_has_an_empty_document(site: Site) -> None:
    site.says(error(-32601))
    made = site.get().json
    OpenAPIV31SpecValidator(made).validate()
    assert made["paths"] == {} and site.get("").json["tools"] == []


class Doors:
    def __init__(self, door: Door) -> None:
        self._policy = Policy({"dev": door})

    def policy(self) -> Policy:
        return self._policy

    def keys(self, source: str) -> None: ...

    def renew(self, source: str) -> None: ...


@pytest.mark.parametrize(
    ("door", "schemes"),
    [
        (Door("none"), {}),
        (Door("api-key"), {"bearer": "http", "header": "apiKey"}),
        (Door("oauth", Trust("https://issuer.example.com", "https://issuer.example.com", scopes=("mcp",))),
         {"token": "http"}),
    ],
)  # fmt: skip
def test_document_says_what_the_endpoint_asks_for(door: Door, schemes: dict[str, str]) -> None:
    assert {name: scheme["type"] for name, scheme in rest.schemes(door).items()} == schemes


# --- as the other routes of an endpoint --------------------------------------------------------------------


def test_errors_before_the_view_are_problems_too(site: Site) -> None:
    state = web_state(site.app)
    site.http = create_app(
        WebState(site.gateway, state.allowed_hosts, state.allowed_origins, state.keys, Doors(Door("api-key")))
    ).test_client()
    response = site.call()
    assert problem(response)["status"] == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert problem(site.http.post("/metamcp/other/api/greet"))["status"] == 404
    assert problem(site.call(Host="evil.example.com"))["status"] == 421
    assert [refusal.rule for refusal in site.gateway.refusals] == ["unauthorized", "misdirected-request"]


def test_token_is_asked_for_as_at_the_routes_of_mcp(site: Site) -> None:
    state = web_state(site.app)
    trust = Trust("https://issuer.example.com", "https://issuer.example.com")
    doors = Doors(Door("oauth", trust))
    site.http = create_app(
        WebState(site.gateway, state.allowed_hosts, state.allowed_origins, state.keys, doors)
    ).test_client()
    response = site.call()
    assert problem(response)["status"] == 401
    where = "http://localhost/.well-known/oauth-protected-resource/metamcp/dev/mcp"
    assert f'resource_metadata="{where}"' in response.headers["WWW-Authenticate"]


def test_body_that_is_too_large_is_refused_before_it_is_read(site: Site) -> None:
    announced = {"CONTENT_LENGTH": str(1 << 40)}
    assert problem(site.http.post(f"{BASE}/greet", data=b"{}", environ_overrides=announced))["status"] == 413


def test_rates_of_the_endpoint_hold(site: Site) -> None:
    counters.SHARED.reset()
    state = web_state(site.app)
    site.http = create_app(
        WebState(site.gateway, state.allowed_hosts, state.allowed_origins, state.keys, Open(dev="1/minute"))
    ).test_client()
    assert site.call().status_code == 200
    response = site.call()
    assert problem(response)["status"] == 503 and int(response.headers["Retry-After"]) >= 1
    counters.SHARED.reset()


def test_wrong_method_is_a_problem_that_names_the_right_one(site: Site) -> None:
    response = site.get("/greet")
    assert problem(response)["status"] == 405 and "POST" in response.headers["Allow"]
    assert site.gateway.requests == []


def test_pages_of_allowed_origins_may_call_and_read(site: Site) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    for path in ("", "/openapi.json", "/greet"):
        preflight = site.http.options(BASE + path, headers=asked | {"Origin": PAGE})
        assert preflight.status_code == 204 and preflight.headers["Access-Control-Allow-Origin"] == PAGE
    response = site.call(Origin=PAGE)
    assert response.headers["Access-Control-Allow-Origin"] == PAGE
    assert problem(site.call(Origin="http://evil.example.com"))["status"] == 403


def test_client_that_hangs_up_has_cancelled_its_call(site: Site) -> None:
    ours, theirs = socket.socketpair()
    closed = threading.Event()
    exchange = QueuedExchange(closed.set)
    site.gateway.make = lambda: exchange
    answered: queue.Queue[int] = queue.Queue()

    def ask() -> None:
        environ = {CONNECTION: WatchedConnection(ours)}
        answered.put(site.http.post(f"{BASE}/greet", environ_overrides=environ).status_code)

    with ours:
        asking = threading.Thread(target=ask)
        asking.start()
        theirs.close()
        assert closed.wait(SECONDS)
        assert answered.get(timeout=SECONDS) == 503
        asking.join(SECONDS)
