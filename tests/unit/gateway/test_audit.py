"""Each request of a client has exactly one line in the audit log, however it ends, and nothing of its contents."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from fake_core import Core, Transport, WireClient
from fake_upstream import ScriptedServer, tool
from wiring import Gateway, Got

from metamcp.config.model import ServerSpec
from metamcp.errors import AtCapacity, CommandInvalid, RefusedByPolicy, ServerDied
from metamcp.gateway.audit import Audit, start_refused
from metamcp.gateway.interface import Ask, Batch, Client, Delete, OpenSse, Post, Refusal, Stateless
from metamcp.gateway.router import Operator
from metamcp.protocol import jsonrpc
from metamcp.telemetry.sparing import PER_SECOND

SECRET = "hunter2-swordfish"
CALL = jsonrpc.request(b"7", "tools/call", b'{"name":"git__run_x_39b80cce","arguments":{"key":"%s"}}' % SECRET.encode())
SERVERS = {"git": ServerSpec("git", isolation="session", era="legacy")}


class Scene:
    def __init__(self, transport: Transport = "http") -> None:
        lists = {"tools/list": [[tool("run\nx")]], "resources/list": [[{"uri": f"Vault://{SECRET}/a"}]]}
        self.core = Core(SERVERS, ScriptedServer(lists))
        self.client = WireClient(self.core, transport)
        self.core.audited.clear()

    def call(self) -> Any:
        return self.client.post(CALL)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [line for line in self.core.audited if line["event"] == "request"]

    @property
    def line(self) -> dict[str, Any]:
        (line,) = self.lines
        return line


def answered(scene: Scene) -> None:
    child = scene.core.child("git")
    child.result(child.sent("tools/call")[-1]["id"], {"content": [{"type": "text", "text": SECRET}]})


def failed(scene: Scene) -> None:
    child = scene.core.child("git")
    error = {"code": -32000, "message": SECRET}
    child.say({"jsonrpc": "2.0", "id": child.sent("tools/call")[-1]["id"], "error": error})


def died(scene: Scene) -> None:
    if scene.core.child("git").exit is None:
        scene.core.child("git").die(1)


def deadline(scene: Scene) -> None:
    scene.core.reactor.advance(61)
    scene.core.pool.sweep()
    scene.core.reactor.turn()


def cancelled(scene: Scene) -> None:
    params = b'{"requestId":7,"reason":"%s"}' % SECRET.encode()
    scene.client.post(jsonrpc.notification("notifications/cancelled", params))


def left(scene: Scene) -> None:
    scene.core.registry.close_all("the client ended it")
    scene.core.reactor.turn()


@pytest.mark.parametrize("transport", ["http", "sse"])
@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (answered, {"decision": "allowed", "result": "result"}),
        (failed, {"decision": "allowed", "result": "error", "code": -32000}),
        (died, {"decision": "allowed", "result": "died", "code": -31004}),
        (deadline, {"decision": "allowed", "result": "deadline", "code": -31003}),
        (cancelled, {"decision": "allowed", "result": "cancelled"}),
        (left, {"decision": "allowed", "result": "cancelled"}),
    ],
    ids=["answered", "failed", "died", "deadline", "cancelled", "left"],
)
def test_a_call_has_one_line_however_it_ends(
    transport: Transport, end: Callable[[Scene], None], expected: dict[str, Any]
) -> None:
    scene = Scene(transport)
    scene.call()
    assert scene.lines == []
    end(scene)
    for late in (answered, died, left):  # nothing that comes afterwards ends it again
        late(scene)
    line = scene.line
    assert {name: line.get(name) for name in expected} == expected
    assert (line["server"], line["tool"], line["method"], line["endpoint"]) == ("git", "run\nx", "tools/call", "dev")
    assert line["principal"] == "anonymous" and len(line["session"]) == 8
    assert SECRET not in json.dumps(scene.core.audited)


@pytest.mark.parametrize(
    ("end", "told"), [(answered, ""), (failed, ""), (died, "died"), (deadline, "deadline"), (cancelled, ""), (left, "")]
)
def test_the_log_tells_of_the_failures_for_which_no_client_is_to_blame(
    end: Callable[[Scene], None], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene()
    scene.client.identity = msgspec.structs.replace(scene.client.identity, request="r-1")
    scene.call()
    end(scene)
    found = [vars(record)["fields"] for record in caplog.records if record.message == "call-failed"]
    assert [line["result"] for line in found] == ([told] if told else [])
    for line in found:
        assert (line["request"], line["server"], line["principal"]) == ("r-1", "git", "anonymous")
        assert len(line["session"]) == 8 and line["reason"] and "omitted" not in line
    assert scene.line["request"] == "r-1"
    assert SECRET not in caplog.text


def test_a_flood_of_failures_is_told_in_part_and_written_whole(caplog: pytest.LogCaptureFixture) -> None:
    written: list[dict[str, Any]] = []
    audit = Audit(lambda entry: written.append(entry.said()), lambda: 0.0)
    for _ in range(100):
        audit.begin(Client("dev", "alice", "http"), "tools/call").end(ServerDied("gone"))
    assert len(written) == 100
    assert len([record for record in caplog.records if record.message == "call-failed"]) == PER_SECOND


def test_a_resource_is_told_by_its_scheme_alone() -> None:
    scene = Scene()
    scene.client.post(jsonrpc.request(b"1", "resources/read", b'{"uri":"Vault://%s/a"}' % SECRET.encode()))
    left(scene)
    assert (scene.line["server"], scene.line["scheme"]) == ("git", "vault")
    assert SECRET not in json.dumps(scene.core.audited)


@pytest.mark.parametrize(
    ("method", "params", "rule", "shown"),
    [
        ("tools/call", b'{"name":"%s"}' % SECRET.encode(), "invalid-params", "tools/call"),
        ("resources/read", b'{"uri":"x:%s"}' % SECRET.encode(), "resource-unknown", "resources/read"),
        (f"{SECRET} of mine", b"{}", "method-not-found", "(other)"),
    ],
)
def test_what_leads_nowhere_is_refused_and_none_of_its_names_is_kept(
    method: str, params: bytes, rule: str, shown: str
) -> None:
    scene = Scene()
    scene.client.post(jsonrpc.request(b"1", method, params))
    assert (scene.line["decision"], scene.line["rule"], scene.line["method"]) == ("refused", rule, shown)
    assert "tool" not in scene.line
    assert SECRET not in json.dumps(scene.core.audited)


def test_a_request_that_never_got_a_turn_has_its_line_too() -> None:
    scene = Scene()
    stranger = Client("dev", "anonymous", "http", "no-such-session-of-ours", address="192.0.2.1")
    post = Post(stranger, "request", "tools/call", b"1", b"{}")
    scene.core.open(post)
    scene.core.open(Batch(stranger, [post, Post(stranger, "notification", "x", b"", b"")], []))
    scene.core.open(Delete(stranger))
    scene.core.open(OpenSse(Client("nowhere", "anonymous", "sse", address="192.0.2.1")))
    scene.core.open(Stateless(Client("dev", "anonymous", "http"), "tools/call", b"1", b"{}", {}))
    told = [(line["method"], line["decision"], line["rule"], line.get("session", "")) for line in scene.lines]
    assert told[:2] == [("tools/call", "refused", "session-unknown", "no-such-")] * 2
    assert told[2:4] == [("delete", "refused", "session-unknown", "no-such-"),
                         ("opensse", "refused", "endpoint-unknown", "")]
    assert told[4][:2] == ("tools/call", "refused") and len(told) == 5


def test_a_second_request_with_the_same_id_has_a_line_of_its_own() -> None:
    scene = Scene()
    scene.call()
    scene.call()
    assert scene.line["rule"] == "invalid-request"
    answered(scene)
    assert [line["result"] for line in scene.lines] == ["error", "result"]


def test_pings_are_not_worth_a_line() -> None:
    scene = Scene()
    scene.client.post(jsonrpc.request(b"1", "ping", b""))
    assert scene.lines == []


def test_the_edge_is_told_with_what_was_left_out() -> None:
    scene = Scene()
    got = scene.core.open(Refusal(Client("dev", "anonymous", "http", address="192.0.2.1"), 429, "rate", 7))
    assert got.final.status == 202
    (line,) = scene.core.audited
    assert (line["event"], line["status"], line["rule"], line["omitted"]) == ("edge", 429, "rate", 7)


@pytest.mark.parametrize(
    ("error", "decision", "rule", "result"),
    [
        (RefusedByPolicy("no", rule="privileged"), "refused", "privileged", "error"),
        (CommandInvalid("no"), "refused", "command-invalid", "error"),
        (AtCapacity("full"), "refused", "at-capacity", "error"),
        (ServerDied("gone"), "allowed", None, "died"),
    ],
)
def test_who_decided_is_told_from_what_happened(
    error: Any, decision: str, rule: str | None, result: str
) -> None:
    written: list[dict[str, Any]] = []
    audit = Audit(lambda entry: written.append(entry.said()), lambda: 0.0)
    audit.begin(Client("dev", "alice", "http"), "tools/call").end(error)
    assert [(line["decision"], line.get("rule"), line["result"]) for line in written] == [(decision, rule, result)]


def test_starts_and_orders_are_noted() -> None:
    written: list[dict[str, Any]] = []
    audit = Audit(lambda entry: written.append(entry.said()), lambda: 0.0)
    audit.ordered("reset", "git")
    audit.refused(Ask("reset", "git"), AtCapacity("no"))
    start_refused(lambda entry: written.append(entry.said()), "git", RefusedByPolicy("x", rule="mounts"))
    assert written == [
        {"event": "operator", "action": "reset", "about": "git"},
        {"event": "start", "server": "git", "decision": "refused", "rule": "mounts"},
    ]


def test_orders_are_noted_with_who_gave_them_and_questions_are_not() -> None:
    operators: dict[str, Operator] = dict.fromkeys(("stop", "status"), lambda reply, _ask: reply.answer(b"{}"))
    gateway = Gateway({}, None, {}, operators)
    for ask in (Ask("status"), Ask("stop", "x" * 1000, "alice", "10.0.0.1")):
        gateway.router.open(ask, Got().reply)
    assert gateway.audited == [
        {"event": "operator", "action": "stop", "about": "x" * 64, "principal": "alice", "address": "10.0.0.1"}
    ]
