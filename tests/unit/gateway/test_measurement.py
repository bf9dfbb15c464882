"""The supervisor's part of the metrics: each call counted once, gauges as things are, and no word of a client's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_core import Core, Transport, WireClient
from fake_upstream import ScriptedServer, tool
from hypothesis import given
from hypothesis import strategies as st
from wiring import Got

from metamcp.config.model import ServerSpec
from metamcp.gateway.audit import Audit
from metamcp.gateway.gauges import Gauges
from metamcp.gateway.interface import Ask, Client, Delete, Listen, OpenSse, Post, Stateless
from metamcp.gateway.measurement import Measurement, counted
from metamcp.protocol import jsonrpc
from metamcp.runtime.command.launch import LaunchPlan
from metamcp.telemetry import metrics
from metamcp.telemetry.audit_log import AuditLog, Entry
from metamcp.telemetry.metrics import FAMILIES, KINDS, OTHER, Family
from metamcp.telemetry.tally import Tally

SERVERS = {"git": ServerSpec("git", isolation="session", era="legacy")}
CALL = jsonrpc.request(b"7", "tools/call", b'{"name":"git__run","arguments":{}}')


class Backlog:
    name, waiting, limit = "chore", 3, 1024

    def submit(self, job: Callable[[], None]) -> bool:
        job()
        return True


class Scene:
    def __init__(self, transport: Transport = "http") -> None:
        self.core = Core(SERVERS, ScriptedServer({"tools/list": [[tool("run")]]}))
        self.core.router._audit._write = counted(  # the wiring's own has nothing that counts
            self.core.tally, self.core.live, self.core._audited
        )
        self.client = WireClient(self.core, transport)
        core: Any = self.core
        workers: Any = Backlog()
        self.gauges = Gauges(
            5.0, core.live, core.registry, core.router.listenings, core.router.held, core.pool, core.supervisor,
            (workers,), AuditLog(None), lambda: True,
        )  # fmt: skip
        self.measurement = Measurement(
            core.reactor, workers, core.tally, self.gauges, {"c1": 1024}.get, {"c1": 1.5}.get
        )  # fmt: skip

    @property
    def document(self) -> dict[str, Any]:
        got = Got()
        self.measurement(got.reply, Ask("metrics"))
        self.core.reactor.turn()
        return got.answer

    def told(self, family: Family) -> dict[tuple[str, ...], Any]:
        return {tuple(labels): value for labels, value in self.document[family.name]}

    def calls(self, kind: str) -> dict[tuple[str, ...], Any]:
        return {labels: count for labels, count in self.told(metrics.CALLS).items() if labels[2] == kind}

    def answer(self) -> None:
        child = self.core.child("git")
        child.result(child.sent("tools/call")[-1]["id"], {})


# --- calls -------------------------------------------------------------------------------------------------


def fails(scene: Scene) -> None:
    child = scene.core.child("git")
    child.say({"jsonrpc": "2.0", "id": child.sent("tools/call")[-1]["id"], "error": {"code": -1, "message": "no"}})


def late(scene: Scene) -> None:
    scene.core.reactor.advance(61)
    scene.core.pool.sweep()


def gives_up(scene: Scene) -> None:
    scene.client.post(jsonrpc.notification("notifications/cancelled", b'{"requestId":7}'))


@pytest.mark.parametrize("transport", ["http", "sse"])
@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (Scene.answer, "result"), (fails, "error"), (late, "deadline"), (gives_up, "cancelled"),
        (lambda scene: scene.core.child("git").die(1), "died"),
    ],
    ids=["result", "error", "deadline", "cancelled", "died"],
)  # fmt: skip
def test_a_call_is_counted_once_by_its_outcome(
    transport: Transport, end: Callable[[Scene], None], outcome: str
) -> None:
    scene = Scene(transport)
    scene.client.post(CALL)
    assert scene.calls("tool") == {} and scene.told(metrics.IN_FLIGHT) == {("git",): 1}
    end(scene)
    scene.core.registry.close_all("the end")
    assert scene.calls("tool") == {("dev", "git", "tool", outcome, ""): 1}
    assert sum(scene.told(metrics.CALL_SECONDS)["dev", "git", "tool"][:-1]) == 1
    assert scene.told(metrics.IN_FLIGHT) == {("git",): 0}


def test_a_refused_call_has_its_rule_and_no_server_that_nobody_found() -> None:
    scene = Scene()
    scene.client.post(jsonrpc.request(b"8", "tools/call", b'{"name":"no__such"}'))
    scene.client.post(jsonrpc.request(b"9", "no/such/method", b"{}"))
    assert scene.calls("tool") == {("dev", "", "tool", "refused", "invalid-params"): 1}
    assert scene.calls(OTHER) == {("dev", "", OTHER, "refused", "method-not-found"): 1}


def test_ping_is_not_counted() -> None:
    scene = Scene()
    before = scene.told(metrics.CALLS)
    scene.client.post(jsonrpc.request(b"8", "ping", b"{}"))
    assert scene.told(metrics.CALLS) == before == {("dev", "", "opening", "result", ""): 1}


TEXT = st.text(max_size=100)
CLIENTS = st.builds(Client, TEXT, TEXT, st.sampled_from(["http", "sse"]), TEXT, TEXT, TEXT)
HOSTILE = (
    st.builds(Post, CLIENTS, st.just("request"), TEXT, st.binary(max_size=20), st.binary(max_size=50))
    | st.builds(Stateless, CLIENTS, TEXT, st.binary(max_size=20), st.binary(max_size=50), st.just({}))
    | st.builds(OpenSse, CLIENTS) | st.builds(Delete, CLIENTS) | st.builds(Listen, CLIENTS)
)  # fmt: skip


@given(st.lists(HOSTILE, max_size=30))
def test_nothing_that_a_client_chooses_becomes_a_label(requests: list[Any]) -> None:
    scene = Scene()
    for request in requests:
        scene.core.open(request)
    for labels in scene.told(metrics.CALLS):
        endpoint, server, kind, outcome, rule = labels
        assert endpoint in ("dev", OTHER) and server in ("", "git") and kind in KINDS
        assert (outcome == "refused") == bool(rule)
        assert all(part.isascii() and part.replace("-", "").isalpha() for part in (outcome, *rule.split()))


def test_thousands_of_names_of_a_hostile_client_make_a_handful_of_series() -> None:
    scene = Scene()
    series = sum(len(samples) for samples in scene.document.values())
    for number in range(3000):
        stranger = Client(f"endpoint-{number}", f"me-{number}", "http", f"session-{number}")
        scene.core.open(Post(stranger, "request", f"method/{number}", b"%d" % number, b"{}"))
        scene.core.open(Post(scene.client.identity, "request", f"method/{number}", b"%d" % number, b"{}"))
    assert sum(len(samples) for samples in scene.document.values()) <= series + 4
    assert sum(scene.told(metrics.CALLS).values()) == 6001


def test_what_is_counted_is_written_as_it_was() -> None:
    written: list[Entry] = []
    audit = Audit(counted(Tally(), Scene().core.live, written.append), lambda: 0.0)
    audit.ordered("reset", "git")
    audit.begin(Client("dev", "me", "http"), "tools/call").end()
    assert [entry.event for entry in written] == ["operator", "request"]


# --- what can be seen --------------------------------------------------------------------------------------


def test_only_declared_families_are_told_with_as_many_labels_as_declared() -> None:
    scene = Scene()
    scene.client.post(CALL)
    scene.answer()
    declared = {family.name: family for family in FAMILIES}
    for name, samples in scene.document.items():
        assert all(len(labels) == len(declared[name].labels) for labels, _ in samples), name
        size = len(declared[name].buckets) + 2
        assert all(len(value) == size for _, value in samples if isinstance(value, list)), name


def test_sessions_and_streams_are_told_by_endpoint_and_transport_also_when_there_are_none() -> None:
    scene = Scene("sse")
    WireClient(scene.core, "http")
    assert scene.told(metrics.SESSIONS) == {("dev", "http"): 1, ("dev", "sse"): 1}
    assert scene.told(metrics.STREAMS) == {("dev", "http"): 1, ("dev", "sse"): 1}
    scene.core.registry.close_all("the end")
    assert scene.told(metrics.SESSIONS) == {("dev", "http"): 0, ("dev", "sse"): 0}
    assert scene.told(metrics.STREAMS) == {("dev", "http"): 0, ("dev", "sse"): 0}


def test_a_subscription_of_2026_07_28_is_a_stream() -> None:
    scene = Scene()
    envelope = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = json.dumps({"_meta": envelope, "notifications": {"toolsListChanged": True}}).encode()
    got = scene.core.open(Stateless(Client("dev", "me", "http"), "subscriptions/listen", b"1", params, {}))
    assert scene.told(metrics.STREAMS)["dev", "http"] == 2
    got.reply.close()
    assert scene.told(metrics.STREAMS)["dev", "http"] == 1
    assert scene.calls("listen") == {("dev", "", "listen", "cancelled", ""): 1}


def test_a_server_is_in_one_state_and_its_instances_each_in_one() -> None:
    scene = Scene()
    states = scene.told(metrics.SERVER_STATE)
    assert [state for (_, state), value in states.items() if value] == ["IDLE"] and len(states) == 7
    scene.client.post(CALL)
    scene.core.pool.sweep()
    states = scene.told(metrics.SERVER_STATE)
    assert [state for (_, state), value in states.items() if value] == ["BUSY"]
    assert {state for (_, state), count in scene.told(metrics.CHILDREN).items() if count} == {"BUSY"}


def test_only_containers_that_run_are_told_with_what_their_cgroup_says() -> None:
    scene = Scene()
    scene.client.post(CALL)
    child: Any = scene.core.child("git")
    plan = LaunchPlan((), {}, "image", "metamcp-git-1", {}, (), memory=2048)
    child.plan, child.container_id = plan, "c1"
    assert scene.told(metrics.CONTAINER_MEMORY) == {("git", "metamcp-git-1"): 1024}
    assert scene.told(metrics.CONTAINER_LIMIT) == {("git", "metamcp-git-1"): 2048}
    assert scene.told(metrics.CONTAINER_CPU) == {("git", "metamcp-git-1"): 1.5}
    child.container_id = "unseen"
    assert scene.told(metrics.CONTAINER_MEMORY) == {}
    child.runs = False
    assert scene.told(metrics.CONTAINER_LIMIT) == {}


def test_queues_are_told_with_their_bounds() -> None:
    scene = Scene()
    scene.core.supervisor.script = None
    scene.client.post(CALL)
    scene.core.child("git").unread = 4096
    lengths, limits = scene.told(metrics.QUEUE), scene.told(metrics.QUEUE_LIMIT)
    assert lengths.keys() == limits.keys() and all(limits.values())
    assert (lengths["chore",], lengths["calls-before-start",], lengths["sessions",]) == (3, 1, 1)
    assert scene.told(metrics.QUEUE_BYTES) == {("server-input",): 4096}


def test_the_supervisor_tells_of_itself_and_of_its_configuration() -> None:
    scene = Scene()
    scene.core.live.refuse([("servers.json", "is not JSON")])
    assert scene.told(metrics.STARTED) == {(): 5.0}
    assert scene.told(metrics.PROBLEMS) == {(): 1}
    assert scene.told(metrics.ENGINE) == {(): 1}
    assert list(scene.told(metrics.PROCESS_MEMORY)) == [("supervisor", "")]
