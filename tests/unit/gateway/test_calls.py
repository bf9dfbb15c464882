"""What operators see of the requests of clients: those under way, and the last that were."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_core import Core, Transport, WireClient
from fake_upstream import ModernServer, ScriptedServer, tool
from hypothesis import given
from hypothesis import strategies as st
from stateless_client import StatelessClient

from metamcp.config.model import ServerSpec
from metamcp.errors import InvalidParams
from metamcp.gateway.audit import Audit
from metamcp.gateway.calls import RECENT, SHOWN, Calls
from metamcp.gateway.interface import Client
from metamcp.protocol import jsonrpc

CALL = jsonrpc.request(b"7", "tools/call", b'{"name":"git__run","arguments":{"key":"hunter2-swordfish"}}')
SERVERS = {"git": ServerSpec("git", isolation="session", era="legacy")}


class Scene:
    def __init__(self, transport: Transport = "http") -> None:
        self.core = Core(SERVERS, ScriptedServer({"tools/list": [[tool("run")]]}))
        self.client = WireClient(self.core, transport)
        self.core.asked.clear()

    @property
    def document(self) -> dict[str, Any]:
        found = self.core.calls.document()
        assert "hunter2" not in json.dumps(found)
        return found

    @property
    def live(self) -> list[dict[str, Any]]:
        return self.document["live"]  # type: ignore[no-any-return]

    @property
    def newest(self) -> dict[str, Any]:
        return self.document["recent"][0]  # type: ignore[no-any-return]


def answered(scene: Scene) -> None:
    child = scene.core.child("git")
    child.result(child.sent("tools/call")[-1]["id"], {"content": []})


def failed(scene: Scene) -> None:
    child = scene.core.child("git")
    child.say({"jsonrpc": "2.0", "id": child.sent("tools/call")[-1]["id"], "error": {"code": -1, "message": "no"}})


def died(scene: Scene) -> None:
    scene.core.child("git").die(1)


def cancelled(scene: Scene) -> None:
    scene.client.post(jsonrpc.notification("notifications/cancelled", b'{"requestId":7}'))


def left(scene: Scene) -> None:
    scene.core.registry.close_all("the client ended it")
    scene.core.reactor.turn()


ENDS = [(answered, "result", False), (failed, "error", True), (died, "died", True), (cancelled, "cancelled", False),
        (left, "cancelled", False)]  # fmt: skip


@pytest.mark.parametrize("transport", ["http", "sse"])
@pytest.mark.parametrize(("end", "outcome", "counts_as_failed"), ENDS, ids=[end.__name__ for end, _, _ in ENDS])
def test_a_call_is_live_until_it_ends_however_that_is(
    transport: Transport, end: Callable[[Scene], None], outcome: str, counts_as_failed: bool
) -> None:
    scene = Scene(transport)
    scene.client.post(CALL)
    (live,) = scene.live
    assert (live["server"], live["name"], live["method"], live["endpoint"]) == ("git", "run", "tools/call", "dev")
    assert len(live["session"]) == 8 and live["principal"] == "anonymous" and live["since"] == scene.core.reactor.now
    end(scene)
    newest = scene.newest
    assert scene.live == [] and {name: newest[name] for name in live} == live
    assert (newest["outcome"], newest["rule"], newest["seconds"]) == (outcome, None, 0.0)
    assert [failed for _, failed in scene.core.asked] == [counts_as_failed]


def test_what_is_refused_was_never_live_and_says_why() -> None:
    scene = Scene()
    scene.client.post(jsonrpc.request(b"1", "tools/call", b'{"name":"nobody"}'))
    newest = scene.newest
    assert scene.live == []
    assert (newest["outcome"], newest["rule"], newest["server"]) == ("refused", "invalid-params", None)


def test_an_id_that_is_in_flight_already_leaves_nothing_behind() -> None:
    scene = Scene()
    scene.client.post(CALL)
    scene.client.post(CALL)
    assert len(scene.live) == 1 and scene.newest["outcome"] == "refused"
    answered(scene)
    assert scene.live == []


def test_lists_and_pings_are_no_calls_of_a_server() -> None:
    scene = Scene()
    before = len(scene.document["recent"])
    scene.client.post(jsonrpc.request(b"1", "tools/list", b""))
    scene.client.post(jsonrpc.request(b"2", "ping", b""))
    assert [item["method"] for item in scene.document["recent"][: len(scene.document["recent"]) - before]] == [
        "tools/list"
    ]
    assert scene.core.asked == [] and scene.live == []


def test_requests_without_a_session_are_seen_alike() -> None:
    core = Core({"git": ServerSpec("git", era="modern")}, ModernServer({"tools/list": [[tool("run")]]}))
    StatelessClient(core).call("git__run")
    (live,) = core.calls.document()["live"]
    assert (live["name"], live["session"]) == ("run", None)
    child = core.child("git")
    child.result(child.sent("tools/call")[-1]["id"], {"content": []})
    assert core.calls.document()["live"] == []


@given(st.lists(st.booleans(), max_size=3 * RECENT))
def test_both_lists_are_bounded_and_the_newest_comes_first(ends: list[bool]) -> None:
    calls = Calls(float)
    audit = Audit(lambda _entry: None, lambda: 0.0, calls)
    open_ones, ended = 0, 0
    for end in ends * 3:
        record = audit.begin(Client("dev", "alice", "http"), "tools/call")
        record.begin()
        if end:
            record.end(InvalidParams("x"))
            record.end()
        ended += end
        open_ones += not end
    document = calls.document()
    assert len(document["live"]) + document["omitted"] == open_ones and len(document["live"]) <= SHOWN
    numbers = [item["id"] for item in document["recent"]]
    assert len(numbers) == min(RECENT, ended) and numbers == sorted(numbers, reverse=True)
