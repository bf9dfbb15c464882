"""Pages in a browser: what they may ask, and which answers they may read."""

from __future__ import annotations

import pytest
from fake_gateway import ACCEPTED, OPENED, FakeGateway, answer, application
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

PAGE = "http://localhost:6274"
MCP = ["/metamcp/dev/mcp", "/metamcp/dev/mcp/", "/mcp", "/metamcp/dev/sse", "/sse/", "/message", "/metamcp/dev/message"]
OPERATORS = ["/api/status", "/ready", "/health", "/docker-test/check"]


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway(answer())


@pytest.fixture
def http(gateway: FakeGateway) -> FlaskClient:
    return application(gateway).test_client()


def preflight(http: FlaskClient, url: str = "/mcp", origin: str = PAGE, headers: str = "content-type") -> TestResponse:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": headers}
    return http.options(url, headers=asked)


def listed(response: TestResponse, name: str) -> set[str]:
    return {item.strip().lower() for item in response.headers.get(name, "").split(",")}


def permissions(response: TestResponse) -> list[str]:
    return [name for name, _ in response.headers if name.startswith("Access-Control-")]


@pytest.mark.parametrize("url", MCP)
def test_preflight_is_answered_without_a_key_and_without_the_gateway(
    http: FlaskClient, gateway: FakeGateway, url: str
) -> None:
    response = preflight(http, url)
    assert (response.status_code, response.data) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == PAGE
    assert listed(response, "Access-Control-Allow-Methods") == {"get", "post", "delete", "options"}
    assert gateway.requests == []


def test_preflight_allows_every_header_of_the_protocol(http: FlaskClient) -> None:
    assert listed(preflight(http), "Access-Control-Allow-Headers") == {
        "accept", "authorization", "content-type", "last-event-id", "mcp-protocol-version", "mcp-session-id",
        "mcp-method", "mcp-name", "x-api-key", "x-request-id", "traceparent", "tracestate", "baggage",
    }  # fmt: skip


def test_preflight_allows_parameters_of_tools_by_the_names_that_are_asked_for(http: FlaskClient) -> None:
    asked = "Mcp-Param-Region, x-evil,mcp-param-a_b , mcp-param-, mcp-param-a b"
    allowed = listed(preflight(http, headers=asked), "Access-Control-Allow-Headers")
    assert {"mcp-param-region", "mcp-param-a_b"} < allowed
    assert {"x-evil", "mcp-param-", "mcp-param-a b"}.isdisjoint(allowed)


@pytest.mark.parametrize("url", MCP)
def test_page_may_read_answers_and_errors_and_the_session(http: FlaskClient, gateway: FakeGateway, url: str) -> None:
    gateway.items = (OPENED,)
    for response in (http.get(url, headers={"Origin": PAGE}), http.put(url, headers={"Origin": PAGE})):
        assert response.headers["Access-Control-Allow-Origin"] == PAGE
        exposed = {"mcp-session-id", "www-authenticate", "x-request-id"}
        assert listed(response, "Access-Control-Expose-Headers") == exposed
        assert "origin" in listed(response, "Vary")
        assert "Access-Control-Allow-Credentials" not in response.headers


def test_stream_and_deletion_may_be_read(http: FlaskClient, gateway: FakeGateway) -> None:
    headers = {"Origin": PAGE, "Mcp-Session-Id": "s1", "Accept": "text/event-stream"}
    gateway.items = (OPENED,)
    assert http.get("/mcp", headers=headers).headers["Access-Control-Allow-Origin"] == PAGE
    gateway.items = (ACCEPTED,)
    assert http.delete("/mcp", headers=headers).headers["Access-Control-Allow-Origin"] == PAGE


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "https://localhosts"])
def test_another_origin_is_refused_and_named_nowhere(http: FlaskClient, gateway: FakeGateway, origin: str) -> None:
    for response in (preflight(http, origin=origin), http.get("/mcp", headers={"Origin": origin})):
        assert response.status_code == 403
        assert permissions(response) == []
    assert gateway.requests == []


def test_what_is_no_page_gets_no_permission_but_the_answer_says_what_it_depends_on(http: FlaskClient) -> None:
    response = http.get("/mcp")
    assert "Access-Control-Allow-Origin" not in response.headers
    assert "origin" in listed(response, "Vary")


@pytest.mark.parametrize("url", OPERATORS)
def test_routes_of_the_operator_are_not_for_pages(http: FlaskClient, url: str) -> None:
    for response in (preflight(http, url), http.get(url, headers={"Origin": PAGE})):
        assert permissions(response) == []


def test_options_that_is_no_preflight_says_what_the_url_has(http: FlaskClient) -> None:
    response = http.options("/mcp")
    assert response.status_code == 200
    assert {"get", "post", "delete", "options"} <= listed(response, "Allow")


def test_preflight_of_an_url_that_is_not_there_is_404(http: FlaskClient) -> None:
    assert preflight(http, "/metamcp/dev/nope").status_code == 404
