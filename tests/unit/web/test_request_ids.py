"""Each request has a name, which its client may choose, and its answer says it."""

from __future__ import annotations

import pytest
from fake_gateway import ACCEPTED, OPENED, FakeGateway, answer, application
from hypothesis import given
from hypothesis import strategies as st

from metamcp.web.request_ids import RequestIds

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
JSON = {"Content-Type": "application/json", "Mcp-Session-Id": "s1"}
KEY = f"mmcp_{'x' * 43}"


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/message?sessionId=s1", "/message/?sessionId=s1"])
def test_the_clients_own_name_goes_to_the_gateway_and_back(path: str) -> None:
    gateway = FakeGateway(answer())
    response = application(gateway).test_client().post(path, data=PING, headers=JSON | {"X-Request-ID": "a1.B:c-2"})
    assert response.headers.getlist("X-Request-ID") == ["a1.B:c-2"]
    assert gateway.requests[0].client.request == "a1.B:c-2"


@pytest.mark.parametrize("path", ["/health", "/api/status", "/nowhere", "/mcp/", "/mcp"])
def test_every_answer_has_one_errors_too(path: str) -> None:
    http = application(FakeGateway(OPENED)).test_client()
    found = [http.get(path).headers["X-Request-ID"] for _ in range(2)]
    assert len(set(found)) == 2 and {len(name.split("-")[0]) for name in found} == {8}


def test_refusal_is_told_under_its_name() -> None:
    gateway = FakeGateway(ACCEPTED)
    headers = {"X-Request-ID": "mine", "Origin": "https://evil.example"}
    assert application(gateway).test_client().post("/mcp", data=PING, headers=JSON | headers).status_code == 403
    assert [told.client.request for told in gateway.refusals] == ["mine"]


@pytest.mark.parametrize("given_name", ["", "a b", "a\tb", "ü", "x" * 129, 'a"b', "a;b", KEY, f"x-{KEY}"])
def test_a_name_that_is_not_well_formed_does_not_count(given_name: str) -> None:
    ids = RequestIds()
    assert ids.of(given_name).endswith("-1")


def test_two_workers_give_no_name_twice() -> None:
    one, other = RequestIds(), RequestIds()
    names = [ids.of(None) for ids in (one, other) for _ in range(100)]
    assert len(set(names)) == 200


@given(st.text())
def test_no_name_can_forge_a_line_of_a_log(text: str) -> None:
    found = RequestIds().of(text)
    assert found.isascii() and found.isprintable() and " " not in found and len(found) <= 128
