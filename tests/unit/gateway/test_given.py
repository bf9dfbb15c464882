"""Instances for one client: who gets which, and that nobody gets somebody else's."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from fake_upstream import FakeChild, Json, ModernServer, ScriptedServer, tool
from stateless_client import StatelessClient
from wiring import Gateway, Got, stream_name

from metamcp.config.given import Given
from metamcp.config.model import EndpointSpec, Era, Isolation, ServerSpec
from metamcp.errors import SecretMissing
from metamcp.gateway.interface import Client, OpenSse, Passed, Post
from metamcp.protocol import jsonrpc

LISTS: dict[str, list[list[Json]]] = {"tools/list": [[tool("status")]]}
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


class Gate(Gateway):
    """Notes with what each instance was started."""

    def __init__(self, isolation: Isolation = "session", era: Era = "legacy", warm: int = 0) -> None:
        spec = ServerSpec(
            "git", era=era, isolation=isolation, warm=warm, pass_headers={"X-Tenant": "TENANT"},
            credentials={"alice": {"TOKEN": "${ALICE}"}},
        )  # fmt: skip
        script = ModernServer(dict(LISTS)) if era == "modern" else ScriptedServer(dict(LISTS))
        super().__init__({"git": spec}, script, {"dev": EndpointSpec("dev", "all")})
        self.given: dict[FakeChild, Given] = {}
        self.done: Counter[FakeChild] = Counter()
        begin = self.supervisor.start

        def start(spec: ServerSpec, session: str, place: object) -> FakeChild:
            child = begin(spec, session, place)  # type: ignore[arg-type]
            self.given[child] = spec.given
            return child

        self.supervisor.start = start  # type: ignore[method-assign]
        self.catalog.refresh_all()
        self.reactor.turn()
        for child in self.supervisor.started:
            child.die(0)

    def send(self, client: Client, method: str, params: Json) -> Got:
        got = Got()
        self.router.open(
            Post(client, "request", method, b"1", jsonrpc.encode(params), stream_name()), got.reply
        )
        self.reactor.turn()
        return got

    def session(self, tenant: str = "", principal: str = "anonymous") -> Client:
        client = Client("dev", principal, "http", passed=passed(tenant))
        return replace_session(client, self.send(client, "initialize", HELLO).session)

    def call(self, client: Client) -> FakeChild:
        """The instance that got the call."""
        self.send(client, "tools/call", {"name": "git__status"})
        return self.answered()

    def answered(self) -> FakeChild:
        """The instance that works on a call, which is over then."""
        alive = [it for it in self.supervisor.started if it.exit is None]
        (child,) = (it for it in alive if len(it.sent("tools/call")) > self.done[it])
        self.done[child] += 1
        child.result(child.sent("tools/call")[-1]["id"], {"content": [], "resultType": "complete"})
        self.reactor.turn()
        return child


def passed(tenant: str) -> Passed | None:
    return Passed((("x-tenant", tenant),)) if tenant else None


def replace_session(client: Client, session: str) -> Client:
    return Client(client.endpoint, client.principal, client.transport, session)


def stateless(gate: Gate, tenant: str = "", principal: str = "anonymous", **more: object) -> StatelessClient:
    client = StatelessClient(gate, principal, **more)
    client.client = Client("dev", principal, "http", "", "2026-07-28", passed=passed(tenant))
    return client


ACME = Given({"TENANT": "acme"}, {})


def test_a_session_keeps_what_it_began_with_and_others_do_not_get_it() -> None:
    gate = Gate()
    acme, other = gate.session("acme"), gate.session()
    first = gate.call(acme)
    assert gate.given[first] == ACME
    later = Client("dev", "anonymous", "http", acme.session, passed=passed("evil"))
    assert gate.call(later) is first
    first.die(1)
    assert gate.given[gate.call(later)] == ACME
    assert not gate.given[gate.call(other)]


def test_a_principal_has_its_credentials_and_nobody_else_has() -> None:
    gate = Gate()
    assert gate.given[gate.call(gate.session(principal="alice"))] == Given({}, {"TOKEN": "${ALICE}"})
    assert not gate.given[gate.call(gate.session(principal="bob"))]


def test_the_stream_of_http_sse_is_where_its_session_begins() -> None:
    gate = Gate()
    got = Got()
    gate.router.open(OpenSse(Client("dev", "anonymous", "sse", passed=passed("acme"))), got.reply)
    client = Client("dev", "anonymous", "sse", got.session)
    gate.send(client, "initialize", HELLO)
    gate.send(client, "tools/call", {"name": "git__status"})
    assert gate.given[gate.answered()] == ACME


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_requests_without_a_session_share_an_instance_where_all_is_the_same(era: Era) -> None:
    gate = Gate(era=era)

    def used(tenant: str, principal: str = "anonymous") -> FakeChild:
        stateless(gate, tenant, principal).call()
        return gate.answered()

    acme = used("acme")
    assert used("acme") is acme and gate.given[acme] == ACME
    other, none, alice = used("other"), used(""), used("acme", "alice")
    assert len({acme, other, none, alice}) == 4
    assert gate.given[other].values == {"TENANT": "other"} and not gate.given[none]
    assert gate.given[alice] == Given({"TENANT": "acme"}, {"TOKEN": "${ALICE}"})


def test_calls_that_may_ask_have_their_clients_instance_too() -> None:
    gate = Gate()
    stateless(gate, "acme", elicitation={}).call()
    first = gate.answered()
    stateless(gate, "other", elicitation={}).call()
    second = gate.answered()
    assert gate.given[first] == ACME and gate.given[second].values == {"TENANT": "other"}


def test_calls_that_want_a_log_have_their_clients_instance_too() -> None:
    gate = Gate(era="modern")
    stateless(gate, "acme").ask("tools/call", name="git__status", log="info")
    first = gate.answered()
    stateless(gate, "other").ask("tools/call", name="git__status", log="info")
    assert gate.given[first] == ACME and gate.given[gate.answered()].values == {"TENANT": "other"}


def test_every_call_of_isolation_call_has_its_clients_values() -> None:
    gate = Gate("call")
    acme = gate.session("acme")
    assert gate.given[gate.call(acme)] == ACME
    stateless(gate, "other").call()
    assert gate.given[gate.answered()].values == {"TENANT": "other"}


def test_a_spare_is_for_those_alone_who_have_nothing() -> None:
    gate = Gate(warm=1)
    gate.call(gate.session())
    gate.reactor.now += 1
    gate.pool.sweep()
    gate.reactor.turn()
    spare = gate.supervisor.started[-1]
    assert not gate.given[spare]
    assert gate.call(gate.session("acme")) is not spare and spare.exit is None
    assert gate.call(gate.session()) is spare


def test_what_one_client_has_and_no_server_can_start_with_is_no_reason_for_others() -> None:
    gate = Gate()
    for _ in range(10):
        alice = gate.session(principal="alice")
        gate.send(alice, "tools/call", {"name": "git__status"})
        gate.supervisor.started[-1].fail(SecretMissing("the environment variable ALICE is not set", name="ALICE"))
        evil = gate.session("evil")
        gate.send(evil, "tools/call", {"name": "git__status"})
        gate.supervisor.started[-1].die(1)
    assert gate.pool.refusal("git") is None
    assert not gate.given[gate.call(gate.session(principal="bob"))]


def test_nothing_that_operators_see_holds_a_value() -> None:
    gate = Gate()
    gate.call(gate.session("acme-canary"))
    shown = repr((gate.snapshot().status(), gate.audited, gate.calls.document(), passed("acme-canary")))
    assert "acme-canary" not in shown


def test_another_configuration_of_the_headers_is_another_server() -> None:
    gate = Gate()
    spec = gate.live.config.servers["git"]
    assert gate.reload({"git": replace(spec, pass_headers={"X-Tenant": "OTHER"})}).servers.changed == ("git",)
