"""One span of the web tier for each request of MCP, however it comes and ends."""

from __future__ import annotations

import json

import pytest
from fake_gateway import HEARTBEAT, NO_KEYS, FakeGateway, Open, answer, chunks, event
from fake_traces import TRACE, FakeTraces
from flask.testing import FlaskClient

from metamcp.web.application import create_app
from metamcp.web.state import WebState

HOSTS = frozenset({"localhost"})
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
JSON = {"Content-Type": "application/json", "Mcp-Session-Id": "s1-secret-of-its-client", "traceparent": PARENT}


class Site:
    def __init__(self, *items: object) -> None:
        self.traces = FakeTraces()
        self.gateway = FakeGateway(*items)  # type: ignore[arg-type]
        state = WebState(self.gateway, HOSTS, HOSTS, NO_KEYS, Open(), heartbeat=HEARTBEAT, traces=self.traces)
        self.http: FlaskClient = create_app(state).test_client()

    def post(self, method: str = "tools/list", path: str = "/mcp", **headers: str):  # type: ignore[no-untyped-def]
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {}}
        return self.http.post(path, data=json.dumps(body), headers=JSON | headers)


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/message?sessionId=s1", "/message/?sessionId=s1"])
def test_a_request_is_a_span_whose_context_goes_to_the_gateway(path: str) -> None:
    site = Site(answer())
    assert site.post(path=path).status_code == 200
    (span,) = site.traces.spans
    assert (span.name, span.kind, span.parent, span.ended) == ("tools/list", "server", (PARENT, "", ""), ("", ""))
    assert site.gateway.requests[0].client.trace == span.carrier
    assert span.attributes["http.response.status_code"] == 200
    assert "secret" not in json.dumps(span.attributes)


def test_a_stream_is_a_span_until_its_client_leaves() -> None:
    site = Site(event(b"{}"), *[None] * 1000)
    response = site.post(Accept="text/event-stream, application/json")
    (span,) = site.traces.spans
    assert next(chunks(response)) and span.ended is None
    response.close()
    assert span.ended == ("", "")


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
def test_what_is_refused_behind_its_reading_ends_its_span(path: str) -> None:
    site = Site()
    site.gateway.make = lambda: 1 / 0  # type: ignore[assignment, return-value]
    assert site.post(path=path).status_code == 500
    assert [span.ended for span in site.traces.spans] == [("500", "")]


@pytest.mark.parametrize(("method", "names"), [("ping", []), ("a b", ["(other)"]), ("x" * 65, ["(other)"])])
def test_a_span_has_a_name_of_the_protocol_and_a_ping_none(method: str, names: list[str]) -> None:
    site = Site(answer())
    site.post(method)
    assert [span.name for span in site.traces.spans] == names


def test_what_is_no_request_is_no_span() -> None:
    site = Site(answer())
    site.http.post("/mcp", data=b'{"jsonrpc":"2.0","method":"notifications/initialized"}', headers=JSON)
    site.http.get("/health")
    assert site.traces.spans == []
