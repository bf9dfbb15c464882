"""Liveness, readiness and the snapshot, also when the supervisor is away."""

from __future__ import annotations

import json

import pytest
from fake_gateway import AWAY, SILENCE, FakeGateway, answer, application
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from metamcp.gateway.interface import Ask, Is, Outbound


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway(answer(b'{"ready":true,"reasons":{}}'))


@pytest.fixture
def http(gateway: FakeGateway) -> FlaskClient:
    return application(gateway).test_client()


def test_health_is_200_without_asking_anybody(http: FlaskClient, gateway: FakeGateway) -> None:
    response = http.get("/health")
    assert (response.status_code, response.json) == (200, {"status": "ok"})
    assert gateway.requests == []


@pytest.mark.parametrize(("url", "subject"), [("/ready", "ready"), ("/api/status", "status")])
def test_the_supervisors_document_is_passed_on_as_it_is(
    http: FlaskClient, gateway: FakeGateway, url: str, subject: str
) -> None:
    response = http.get(url)
    assert (response.status_code, response.mimetype) == (200, "application/json")
    assert response.data == b'{"ready":true,"reasons":{}}'
    assert gateway.requests == [Ask(subject)]  # type: ignore[arg-type]
    assert gateway.exchanges[0].closed


def test_not_ready_is_503_with_the_supervisors_reasons(http: FlaskClient, gateway: FakeGateway) -> None:
    document = b'{"ready":false,"reasons":{"server git":"it exited with code 3"}}'
    gateway.items = (Outbound(Is.ANSWER, document, 503),)
    response = http.get("/ready")
    assert (response.status_code, response.data) == (503, document)


def test_a_supervisor_that_is_away_is_a_reason_by_name(http: FlaskClient, gateway: FakeGateway) -> None:
    gateway.items = (AWAY,)
    response = http.get("/ready")
    assert response.status_code == 503
    assert response.json == {"ready": False, "reasons": {"supervisor": "the supervisor is not reachable"}}


@pytest.mark.parametrize("items", [(SILENCE,), ()])
def test_a_supervisor_that_does_not_answer_is_a_reason_by_name(
    http: FlaskClient, gateway: FakeGateway, items: tuple[None, ...]
) -> None:
    gateway.items = items
    response = http.get("/ready")
    assert response.status_code == 503
    assert "did not answer within 5 s" in json.loads(response.data)["reasons"]["supervisor"]
    assert gateway.exchanges[0].closed


def test_status_is_503_when_the_supervisor_is_away(http: FlaskClient, gateway: FakeGateway) -> None:
    gateway.items = (AWAY,)
    response = http.get("/api/status")
    assert response.status_code == 503
    assert json.loads(response.data)["error"]["message"] == "the supervisor is not reachable"


def test_questions_have_a_bound(http: FlaskClient, gateway: FakeGateway) -> None:
    http.get("/ready")
    http.get("/api/status")
    assert [exchange.timeouts for exchange in gateway.exchanges] == [[5.0], [5.0]]


def test_operators_urls_know_no_other_method(http: FlaskClient) -> None:
    for url in ("/health", "/ready", "/api/status", "/metrics"):
        assert http.post(url).status_code == 405


def test_operators_urls_are_guarded_against_foreign_hosts(http: FlaskClient, gateway: FakeGateway) -> None:
    assert http.get("/api/status", headers={"Host": "evil.example"}).status_code == 421
    assert gateway.requests == []


# --- metrics -----------------------------------------------------------------------------------------------

SUPERVISORS = (
    b'{"metamcp_sessions":[[["dev","http"],2.0]],"metamcp_process_cpu_seconds_total":[[["supervisor",""],1.5]]}'
)


def read(page: str) -> dict[str, float]:
    """By the name of a sample and the values of its labels."""
    return {
        " ".join([sample.name, *(value for _, value in sorted(sample.labels.items()))]): sample.value
        for family in text_string_to_metric_families(page) for sample in family.samples
    }  # fmt: skip


def test_the_page_has_what_the_supervisor_knows_and_what_the_web_tier_knows(
    http: FlaskClient, gateway: FakeGateway
) -> None:
    gateway.items = (answer(SUPERVISORS),)
    before = read(http.get("/metrics").text)
    response = http.get("/metrics")
    assert (response.status_code, response.mimetype) == (200, "text/plain")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = read(response.text)
    assert (found["metamcp_supervisor_up"], found["metamcp_sessions dev http"]) == (1, 2)
    assert found["metamcp_process_cpu_seconds_total supervisor "] == 1.5
    assert "metamcp_process_cpu_seconds_total web 0" in found
    requests, trips = "metamcp_http_requests_total metrics 2xx", "metamcp_link_round_trip_seconds_count"
    assert [found[name] - before.get(name, 0) for name in (requests, trips)] == [1, 1]
    assert gateway.requests == [Ask("link"), Ask("metrics")] * 2 and all(it.closed for it in gateway.exchanges)


def test_openmetrics_is_given_to_who_accepts_it(http: FlaskClient, gateway: FakeGateway) -> None:
    gateway.items = (answer(SUPERVISORS),)
    response = http.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert response.mimetype == "application/openmetrics-text" and response.text.endswith("# EOF\n")


@pytest.mark.parametrize("items", [(AWAY,), (SILENCE,), ()])
def test_while_the_supervisor_is_away_the_web_tiers_numbers_are_there(
    http: FlaskClient, gateway: FakeGateway, items: tuple[None, ...]
) -> None:
    gateway.items = items
    response = http.get("/metrics")
    found = read(response.text)
    assert (response.status_code, found["metamcp_supervisor_up"]) == (200, 0)
    assert found["metamcp_web_workers"] == 1 and not [name for name in found if name.startswith("metamcp_sessions")]


def test_each_response_is_counted_by_its_route_and_status_on_both_ways(
    http: FlaskClient, gateway: FakeGateway
) -> None:
    gateway.items = (answer(b"{}"),)
    counted = ("mcp 4xx", "mcp 2xx", "message 4xx", "(other) 4xx", "health 2xx", "docker-test 2xx")

    def now() -> list[float]:
        found = read(http.get("/metrics").text)
        return [found.get(f"metamcp_http_requests_total {name}", 0) for name in counted]

    before = now()
    http.post("/mcp", data=b"{")
    http.post("/mcp/", data=b"{")
    http.delete("/mcp", headers={"Mcp-Session-Id": "s"})
    http.post("/message", data=b"{")
    http.get("/nowhere")
    http.get("/health")
    http.get("/docker-test/check")
    assert [after - first for after, first in zip(now(), before, strict=True)] == [2, 1, 1, 1, 1, 1]


def test_a_refusal_of_the_web_tier_is_counted_with_its_rule(http: FlaskClient, gateway: FakeGateway) -> None:
    gateway.items = (AWAY,)
    name = "metamcp_http_refused_total misdirected-request 421"
    before = read(http.get("/metrics").text).get(name, 0)
    http.get("/api/status", headers={"Host": "evil.example"})
    http.post("/mcp", headers={"Host": "evil.example"})
    assert read(http.get("/metrics").text)[name] == before + 2
