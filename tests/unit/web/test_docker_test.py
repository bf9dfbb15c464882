"""``/docker-test/…``: the supervisor's findings, or why there are none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_gateway import AWAY, SILENCE, FakeGateway, answer, application
from flask.testing import FlaskClient

from metamcp.gateway.interface import Ask, Is, Outbound

PAGES = [("check", "docker-check", 3.0), ("test", "docker-test", 60.0), ("info", "docker-info", 15.0)]
SHAPES: dict[str, dict[str, Any]] = {"check": {"accessible": False}, "test": {"ok": False, "checks": []}, "info": {}}


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway(answer(b'{"accessible":true}'))


@pytest.fixture
def http(gateway: FakeGateway) -> FlaskClient:
    return application(gateway).test_client()


@pytest.mark.parametrize(("page", "subject", "most"), PAGES)
def test_findings_are_passed_on_within_the_promised_time(
    http: FlaskClient, gateway: FakeGateway, page: str, subject: str, most: float
) -> None:
    response = http.get(f"/docker-test/{page}")
    assert (response.status_code, response.mimetype) == (200, "application/json")
    assert response.data == b'{"accessible":true}'
    assert gateway.requests == [Ask(subject)]  # type: ignore[arg-type]
    assert gateway.exchanges[0].timeouts[0] <= most
    assert gateway.exchanges[0].closed


@pytest.mark.parametrize(("page", "subject", "most"), PAGES)
def test_bad_findings_keep_their_status(
    http: FlaskClient, gateway: FakeGateway, page: str, subject: str, most: float
) -> None:
    document = b'{"accessible":false,"error":"permission denied","hint":"group_add"}'
    gateway.items = (Outbound(Is.ANSWER, document, 503),)
    response = http.get(f"/docker-test/{page}")
    assert (response.status_code, response.data) == (503, document)


@pytest.mark.parametrize("items", [(AWAY,), (SILENCE,), ()])
@pytest.mark.parametrize("page", SHAPES)
def test_a_supervisor_that_does_not_answer_is_503_in_the_pages_own_shape(
    http: FlaskClient, gateway: FakeGateway, page: str, items: tuple[Outbound | None, ...]
) -> None:
    gateway.items = items
    response = http.get(f"/docker-test/{page}")
    document = json.loads(response.data)
    assert response.status_code == 503
    assert "supervisor" in document.pop("error") and "supervisor" in document.pop("hint")
    assert document == SHAPES[page]


def test_other_methods_are_405(http: FlaskClient) -> None:
    for page in SHAPES:
        assert http.post(f"/docker-test/{page}").status_code == 405
