"""What web workers are told of the configuration, and that the supervisor refuses what does not fit it."""

from __future__ import annotations

import json

import pytest
from fake_upstream import HELLO
from wiring import Gateway, Got

from metamcp.access import policy
from metamcp.access.policy import Door, Policy, Trust
from metamcp.config.model import EndpointSpec, OAuthSpec
from metamcp.gateway.interface import Ask, Client, Post
from metamcp.gateway.router import Operator

ISSUER = "https://login.example.com"
OAUTH = EndpointSpec("dev", "all", "oauth", OAuthSpec(ISSUER, scopes=("mcp",)))
KEYS = EndpointSpec("dev", "all", "api-key")
NONE = EndpointSpec("dev", "all")


def house(spec: EndpointSpec) -> Gateway:
    operators: dict[str, Operator] = {"access": lambda _reply, _argument: None}
    gate = Gateway({}, None, {"dev": spec}, operators)
    operators |= {"access": gate.admission.watch, "issuer-keys": gate.admission.renew}
    gate.admission.follow()
    gate.reactor.turn()
    return gate


def watch(gate: Gateway) -> Got:
    got = Got()
    gate.router.open(Ask("access"), got.reply)
    gate.reactor.turn()
    return got


def told(got: Got) -> list[Policy]:
    return [policy.decode(item.data) for item in got.items]


def test_a_worker_is_told_at_once_and_with_each_change_and_not_otherwise() -> None:
    gate = house(NONE)
    got = watch(gate)
    assert [it.endpoints for it in told(got)] == [{"dev": Door("none")}]
    gate.reload(endpoints={"dev": NONE})
    assert len(got.items) == 1
    gate.reload(endpoints={"dev": KEYS, "more": EndpointSpec("more", "all")})
    assert told(got)[-1].endpoints == {"dev": Door("api-key"), "more": Door("none")}


def test_a_worker_that_is_gone_is_told_nothing_more() -> None:
    gate = house(NONE)
    got = watch(gate)
    got.reply.close()
    gate.reload(endpoints={"dev": KEYS})
    assert len(got.items) == 1


def test_the_keys_of_an_issuer_are_told_before_the_answer_to_who_asked_for_them() -> None:
    gate = house(OAUTH)
    got, answer = watch(gate), Got()
    trust = Trust(ISSUER, ISSUER, (), ("mcp",))
    assert told(got)[-1] == Policy({"dev": Door("oauth", trust)}, {ISSUER: []})
    gate.router.open(Ask("issuer-keys", ISSUER), answer.reply)
    gate.reactor.turn()
    assert answer.final.status == 200


def test_nothing_of_servers_and_images_is_told() -> None:
    gate = house(KEYS)
    document = json.loads(watch(gate).items[0].data)
    door = {"auth": "api-key", "trust": None, "rate_limit": "", "passes": []}
    assert document == {"endpoints": {"dev": door}, "jwks": {}}


@pytest.mark.parametrize(
    ("spec", "good", "bad"),
    [
        (KEYS, "laptop", ["anonymous", f"alice@{ISSUER}"]),
        (OAUTH, f"alice@{ISSUER}", ["anonymous", "laptop", "alice@https://other.example"]),
    ],
)
def test_a_principal_of_another_kind_is_refused_whatever_the_web_tier_says(
    spec: EndpointSpec, good: str, bad: list[str]
) -> None:
    gate = house(spec)

    def status(principal: str) -> int:
        got = Got()
        gate.router.open(Post(Client("dev", principal, "http"), "request", "initialize", b"1", HELLO, "s"), got.reply)
        gate.reactor.advance(20)
        return got.final.status

    assert status(good) == 200
    assert [status(principal) for principal in bad] == [401] * len(bad)


def test_sessions_end_that_an_endpoint_would_not_let_in_any_more() -> None:
    gate = house(NONE)
    got = Got()
    gate.router.open(Post(Client("dev", "anonymous", "http"), "request", "initialize", b"1", HELLO, "s"), got.reply)
    gate.reactor.advance(20)
    assert len(gate.registry) == 1
    gate.reload(endpoints={"dev": KEYS})
    gate.reactor.advance(1)
    assert len(gate.registry) == 0
