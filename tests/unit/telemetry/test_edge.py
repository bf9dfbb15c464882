"""What a web worker counts, by words that are known before anybody asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_gateway import FakeGateway, application
from hypothesis import given
from hypothesis import strategies as st

from metamcp import errors
from metamcp.protocol import http_rules
from metamcp.telemetry import metrics
from metamcp.telemetry.edge import ROUTES, RULES, UNREAD, Edge, route_of
from metamcp.telemetry.metrics import OTHER, Family


@pytest.fixture
def edge() -> Iterator[Edge]:
    edge = Edge(4)
    yield edge
    edge.close()


def told(edge: Edge, family: Family) -> dict[tuple[str, ...], object]:
    return dict(edge.samples()[family.name])


def test_each_route_of_the_application_has_its_word() -> None:
    views = {rule.endpoint for rule in application(FakeGateway()).url_map.iter_rules()}
    assert sorted(view for view in views if route_of(view) == OTHER) == []


@given(st.text())
def test_a_view_that_is_none_is_some_other_route(operation: str) -> None:
    assert route_of(operation) in ROUTES and route_of("") == OTHER


def test_each_route_and_class_of_status_is_counted_by_itself(edge: Edge) -> None:
    for number, route in enumerate(ROUTES, 1):
        for status in (200, 204, 302, 404, 500):
            for _ in range(number):
                edge.request(route, status)
    expected = {}
    for number, route in enumerate(ROUTES, 1):
        expected |= {(route, "2xx"): 2 * number, (route, "3xx"): number, (route, "4xx"): number, (route, "5xx"): number}
    assert told(edge, metrics.REQUESTS) == expected


@given(st.lists(st.tuples(st.sampled_from(RULES) | st.text(), st.integers(100, 599))))
def test_refusals_that_nobody_foresaw_are_counted_together(refusals: list[tuple[str, int]]) -> None:
    edge = Edge(1)
    for rule, status in refusals:
        edge.refused(rule, status)
    found = told(edge, metrics.REFUSED)
    assert sum(found.values()) == len(refusals)  # type: ignore[arg-type]
    assert {rule for rule, _ in found} <= set(RULES)
    edge.close()


def test_the_web_tiers_own_refusals_have_their_word() -> None:
    refused = (
        errors.Unauthorized, errors.ScopeLacking, errors.RequestRefused, errors.AccessUndecided, errors.SupervisorAway,
        errors.RequestTimeout, errors.TooLarge, errors.TargetTooLong, errors.HeadersTooLarge, errors.InvalidRequest,
        http_rules.MisdirectedRequest,
    )  # fmt: skip
    assert [error.__name__ for error in refused if error("x").rule not in RULES] == []


def test_connections_losses_and_round_trips_are_told(edge: Edge) -> None:
    edge.connections(3, 2)
    edge.connections(4, 1)
    edge.link_lost()
    edge.round_trip(0.0002)
    edge.round_trip(100.0)
    edge.request(UNREAD, 400)
    assert told(edge, metrics.CONNECTIONS) == {("served",): 4, ("idle",): 1}
    assert told(edge, metrics.LINK_LOSSES) == {(): 1}
    *counts, total = told(edge, metrics.LINK_SECONDS)[()]  # type: ignore[misc]
    assert counts[1] == counts[-1] == 1 and sum(counts) == 2 and total == pytest.approx(100.0002)
    assert told(edge, metrics.WORKERS) == {(): 1}
    assert list(told(edge, metrics.PROCESS_MEMORY)) == [("web", "0")]
