"""How often clients may ask, who counts as one, and what is told for the audit log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_gateway import NO_KEYS, FakeGateway, Open, answer
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from metamcp.access.policy import Policy
from metamcp.errors import SupervisorAway
from metamcp.telemetry.sparing import PER_SECOND
from metamcp.web import counters
from metamcp.web.application import create_app
from metamcp.web.caller import network
from metamcp.web.state import WebState

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
HOSTS = frozenset({"localhost"})


@pytest.fixture(autouse=True)
def nothing_is_counted_yet() -> Iterator[None]:
    counters.SHARED.reset()
    yield
    counters.SHARED.reset()


def site(gateway: FakeGateway, rate: str = "", proxies: int = 0, **endpoints: str) -> FlaskClient:
    state = WebState(gateway, HOSTS, HOSTS, NO_KEYS, Open(**endpoints), rate_limit=rate, trusted_proxies=proxies)
    return create_app(state).test_client()


def ping(http: FlaskClient, address: str = "192.0.2.1", endpoint: str = "dev", **headers: str) -> TestResponse:
    known = {"Content-Type": "application/json", "Accept": "application/json", "Mcp-Session-Id": "s"}
    return http.post(
        f"/metamcp/{endpoint}/mcp", data=PING, environ_base={"REMOTE_ADDR": address},
        headers=known | {name.replace("_", "-"): value for name, value in headers.items()},
    )  # fmt: skip


def test_a_client_that_asks_too_often_is_429_until_its_window_ends_and_others_are_served() -> None:
    gateway = FakeGateway(answer())
    http = site(gateway, "3/minute")
    assert [ping(http).status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    refused = ping(http)
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.json is not None and refused.json["error"]["code"] == -31006
    assert ping(http, "192.0.2.2").status_code == 200
    assert {(told.status, told.rule, told.client.address) for told in gateway.refusals} == {(429, "rate", "192.0.2.1")}
    assert len(gateway.requests) == 4


def test_an_endpoint_that_all_clients_together_ask_too_often_is_503_and_others_are_served() -> None:
    http = site(FakeGateway(answer()), dev="2/minute")
    assert [ping(http, f"192.0.2.{number}").status_code for number in range(3)] == [200, 200, 503]
    refused = ping(http, "192.0.2.9")
    assert refused.status_code == 503 and int(refused.headers["Retry-After"]) >= 1
    assert ping(http, endpoint="other").status_code == 200


def test_without_a_limit_nobody_is_refused() -> None:
    http = site(FakeGateway(answer()))
    assert {ping(http).status_code for _ in range(50)} == {200}


def test_what_watches_the_gateway_is_never_refused() -> None:
    http = site(FakeGateway(answer()), "1/hour")
    ping(http)
    assert {http.get("/health").status_code for _ in range(5)} == {200}


def test_liveness_needs_no_answer_of_the_supervisor() -> None:
    class Away(Open):
        def policy(self) -> Policy:
            raise SupervisorAway("away", state="STARTING", reason="away", retryAfterMs=1000)

    state = WebState(FakeGateway(), HOSTS, HOSTS, NO_KEYS, Away())
    assert create_app(state).test_client().get("/health").status_code == 200


@pytest.mark.parametrize(
    ("proxies", "sent", "counted"),
    [(0, "10.0.0.1", "192.0.2.1"), (1, "10.0.0.1", "10.0.0.1"), (1, "forged, 10.0.0.1", "10.0.0.1"),
     (2, "10.0.0.1, 10.0.0.2", "10.0.0.1"), (1, "nonsense", "unknown")],
)  # fmt: skip
def test_an_address_is_believed_of_trusted_proxies_alone(proxies: int, sent: str, counted: str) -> None:
    gateway = FakeGateway(answer())
    ping(site(gateway, proxies=proxies), X_Forwarded_For=sent)
    assert gateway.requests[0].client.address == counted


@pytest.mark.parametrize(
    ("written", "network_of_it"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"), ("fe80::1%eth0", "fe80::/64"),
     ("::ffff:192.0.2.1", "192.0.2.1"), ("", "unknown"), ("evil\nname", "unknown")],
)  # fmt: skip
def test_who_has_one_address_of_ipv6_has_its_network(written: str, network_of_it: str) -> None:
    assert network(written) == network_of_it


def test_a_flood_of_refusals_is_told_in_part_and_counted() -> None:
    gateway = FakeGateway(answer())
    http = site(gateway, "1/hour")
    for _ in range(10 * PER_SECOND):
        ping(http)
    assert len(gateway.refusals) < 10 * PER_SECOND - 1
