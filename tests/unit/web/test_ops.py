"""Liveness, readiness and the snapshot, also when the supervisor is away."""

from __future__ import annotations

import json

import pytest
from fake_gateway import AWAY, SILENCE, FakeGateway, answer, application
from flask.testing import FlaskClient

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
    for url in ("/health", "/ready", "/api/status"):
        assert http.post(url).status_code == 405


def test_operators_urls_are_guarded_against_foreign_hosts(http: FlaskClient, gateway: FakeGateway) -> None:
    assert http.get("/api/status", headers={"Host": "evil.example"}).status_code == 421
    assert gateway.requests == []
