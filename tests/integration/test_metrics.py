"""The metrics of a real gateway are what a client did, with one web worker and with four, whichever of them dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
import requests
from event_streams import events
from gateway_process import GatewayProcess, eventually, process_server, running_gateway
from metrics_page import Page
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics

from metamcp.telemetry.metrics import FAMILIES

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
CALLS, REQUESTS = "metamcp_calls_total", "metamcp_http_requests_total"
ABSENT = {family.name for family in FAMILIES if family.name.startswith("metamcp_container_")}
ABSENT |= {"metamcp_middleware_failures_total"}
"""There are no containers here, and no middleware."""
SERVERS = {
    "good": process_server("good"),
    "crash": process_server("crash-on-call"),
    "hang": process_server("hang-on-call", timeouts={"call": 0.5}),
    "forbidden": {"command": "docker", "args": ["run", "-i", "example.com/not-allowed:1"]},
}


@pytest.fixture(scope="module", params=[1, 4], ids=["one-worker", "four-workers"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("metrics")
    with running_gateway(folder, SERVERS, workers=request.param, ready=False) as running:
        listed = {"good", "crash", "hang"}
        eventually(
            lambda: listed <= {it["name"] for it in running.status()["servers"] if it["listed"]}, "lists", 30
        )  # fmt: skip
        yield running


def page(gateway: GatewayProcess) -> Page:
    return Page(gateway.get("/metrics").text)


class Since:
    """What was counted since it was made."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway
        self._before = page(gateway)

    def __call__(self, name: str, **labels: str) -> float:
        return page(self._gateway).sum(name, **labels) - self._before.sum(name, **labels)


def kill_workers(gateway: GatewayProcess, count: int) -> None:
    """SIGKILL; until as many others serve in their place."""
    before = gateway.worker_pids
    for pid in before[:count]:
        os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: len(set(gateway.worker_pids) - set(before[:count])) == len(before)
        and page(gateway).sum("metamcp_web_workers") == len(before)
        and page(gateway).sum("metamcp_link_connections") == len(before),
        "the workers are replaced", 30,
    )  # fmt: skip


class SseClient:
    """A client of HTTP+SSE, initialized."""

    def __init__(self, response: requests.Response, gateway: GatewayProcess) -> None:
        self._events = events(response)
        self._url = gateway.url + next(self._events)[2]
        self.posts = 0
        self.ask("initialize", HELLO)

    def ask(self, method: str, params: Any) -> dict[str, Any]:
        self.posts += 1
        body = {"jsonrpc": "2.0", "id": self.posts, "method": method, "params": params}
        assert requests.post(self._url, json=body, timeout=20).status_code == 202
        return next(
            found for _, _, data in self._events if data and (found := json.loads(data)).get("id") == self.posts
        )


@contextmanager
def sse_client(gateway: GatewayProcess) -> Iterator[SseClient]:
    with closing(requests.get(f"{gateway.url}/sse", stream=True, timeout=20)) as response:
        yield SseClient(response, gateway)


def echo(gateway: GatewayProcess, session: str, times: int) -> None:
    for number in range(times):
        assert gateway.text(session, "good__echo", {"text": str(number)}) == str(number)


# --- calls -------------------------------------------------------------------------------------------------


def test_calls_of_both_transports_are_counted_once_across_the_death_of_workers(gateway: GatewayProcess) -> None:
    workers = len(gateway.worker_pids)
    since = Since(gateway)
    session = gateway.open_session()
    echo(gateway, session, 15)
    with sse_client(gateway) as client:
        for number in range(7):
            answer = client.ask("tools/call", {"name": "good__echo", "arguments": {"text": str(number)}})
            assert answer["result"]["content"][0]["text"] == str(number)
        assert page(gateway).sum("metamcp_streams", transport="sse") == 1
    kill_workers(gateway, 1)
    echo(gateway, session, 5)
    waiting = threading.Thread(target=_never_answered, args=(gateway, session))
    waiting.start()
    eventually(lambda: page(gateway).sum("metamcp_calls_in_flight", server="good") == 1, "the call is on its way")
    kill_workers(gateway, workers)
    waiting.join(10)
    eventually(lambda: page(gateway).sum("metamcp_calls_in_flight", server="good") == 0, "its server has answered")
    gateway.end_session(session)

    calls = 15 + 7 + 5 + 1
    assert since(CALLS, endpoint="default", server="good", kind="tool", outcome="result", rule="") == calls
    assert since(CALLS, kind="tool") == calls and since(CALLS, kind="opening") == 2
    assert since("metamcp_call_duration_seconds_count", server="good", kind="tool") == calls
    assert since("metamcp_upstream_duration_seconds_count", server="good", kind="tool") == calls
    upstream, whole = (since(f"metamcp_{it}_duration_seconds_sum", kind="tool") for it in ("upstream", "call"))
    assert 4 < upstream < whole + 0.01
    # the call that nobody answered had no response; DELETE is one more
    assert since(REQUESTS, route="mcp", status="2xx") == 1 + 15 + 5 + 1
    assert since(REQUESTS, route="message", status="2xx") == 8 and since(REQUESTS, route="sse", status="2xx") == 1
    assert since(REQUESTS, status="5xx") == 0
    assert page(gateway).sum("metamcp_sessions") == 0


def _never_answered(gateway: GatewayProcess, session: str) -> None:
    with pytest.raises(requests.ConnectionError):
        gateway.call(session, "good__sleep", {"ms": 4000})


def test_each_way_to_fail_is_counted_as_what_it_was(gateway: GatewayProcess) -> None:
    since = Since(gateway)
    session = gateway.open_session()
    codes = [
        gateway.call(session, tool, {"text": "x"})["error"]["code"]
        for tool in ("crash__echo", "crash__echo", "crash__echo", "hang__echo", "good__no_such_tool", "nobody__x")
    ]
    assert codes == [-31004, -31004, -31001, -31003, -32602, -32602]
    gateway.rpc("tools/call", {"name": "good__echo"}, session="not-a-session")
    gateway.rpc("no/such/method", {}, session=session)
    gateway.end_session(session)

    assert since(CALLS, server="crash", outcome="died") == 2
    assert since(CALLS, server="crash", outcome="error") == 1
    assert since(CALLS, server="hang", outcome="deadline") == 1
    assert since(CALLS, outcome="refused", rule="invalid-params") == 2
    assert since(CALLS, outcome="refused", rule="session-unknown", kind="tool") == 1
    assert since(CALLS, outcome="refused", rule="method-not-found", kind="(other)") == 1
    assert since("metamcp_child_exits_total", server="crash", reason="failed") == 2
    assert since("metamcp_child_restarts_total", server="crash") >= 1
    now = page(gateway)
    assert now.sum("metamcp_server_state", server="crash", state="BACKOFF") == 1
    assert now.sum("metamcp_child_starts_total", server="crash") == (
        now.sum("metamcp_child_exits_total", server="crash") + now.sum("metamcp_children", server="crash")
    )
    assert now.sum("metamcp_child_start_duration_seconds_count", server="good") > 0


def test_a_start_that_is_refused_shows_with_its_rule(gateway: GatewayProcess) -> None:
    def refused() -> bool:
        now = page(gateway)
        count = now.sum("metamcp_starts_refused_total", server="forbidden", rule="image-allowlist")
        return count > 0 and now.sum("metamcp_child_exits_total", server="forbidden", reason="refused") == count

    eventually(refused, "the start is refused")
    assert page(gateway).sum("metamcp_server_state", server="forbidden", state="FATAL") == 1


def test_a_hostile_client_makes_a_handful_of_series(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    before = page(gateway)
    with requests.Session() as http:
        for number in range(300):
            http.post(f"{gateway.url}/metamcp/endpoint-{number}/mcp", json={}, timeout=10)
            http.get(f"{gateway.url}/path-{number}", timeout=10)
            body = {"jsonrpc": "2.0", "id": f"id-{number}", "method": f"method/{number}"}
            headers = {"Mcp-Session-Id": session, "Accept": "application/json, text/event-stream"}
            http.post(f"{gateway.url}/mcp", json=body, headers=headers, timeout=10)
            http.post(f"{gateway.url}/mcp", json=body, headers=headers | {"Host": f"host-{number}.example"}, timeout=10)
    gateway.end_session(session)
    after = page(gateway)
    assert len(after.samples) - len(before.samples) <= 4
    assert after.sum(CALLS, rule="method-not-found") - before.sum(CALLS, rule="method-not-found") == 300
    refused = "metamcp_http_refused_total"
    assert after.sum(refused, rule="misdirected-request") - before.sum(refused, rule="misdirected-request") == 300


# --- the page ----------------------------------------------------------------------------------------------


def test_the_page_has_every_family_and_is_read_by_the_librarys_parsers(gateway: GatewayProcess) -> None:
    gateway.http.post(f"{gateway.url}/mcp", data="{", headers={"Host": "evil.example"}, timeout=10)
    plain = gateway.get("/metrics")
    assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    names = {name.removesuffix("_bucket") for name in Page(plain.text).names}
    assert {family.name for family in FAMILIES} - names == ABSENT
    accepts = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    modern = gateway.get("/metrics", headers=accepts)
    assert modern.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    found = list(read_openmetrics(modern.text))
    read = {f"{family.name}_total" if family.type == "counter" else family.name for family in found}
    assert {family.name.removesuffix("_info") for family in FAMILIES} - read == ABSENT


def test_every_worker_tells_the_same(gateway: GatewayProcess) -> None:
    seen = {page(gateway).sum(CALLS) for _ in range(12)}
    assert len(seen) == 1 and seen != {0}
    processes = page(gateway).of("metamcp_process_resident_memory_bytes")
    assert sorted(labels["process"] for labels, _ in processes) == [
        "master", "supervisor", *["web"] * len(gateway.worker_pids)
    ]  # fmt: skip
    assert all(value > 10_000_000 for _, value in processes)
    assert page(gateway).sum("metamcp_process_cpu_seconds_total", process="supervisor") > 0


def test_connections_are_told_and_vanish_with_their_worker(gateway: GatewayProcess) -> None:
    address = ("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    with ExitStack() as stack:
        for _ in range(5):
            one = stack.enter_context(socket.create_connection(address, timeout=10))
            one.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert one.recv(1000).startswith(b"HTTP/1.1 200")
        # beside them is the one that asks
        eventually(
            lambda: page(gateway).sum("metamcp_http_connections", state="idle") == 5
            and page(gateway).sum("metamcp_http_connections", state="served") == 1, "five idle connections",
        )  # fmt: skip
        kill_workers(gateway, len(gateway.worker_pids))
        eventually(lambda: page(gateway).sum("metamcp_http_connections") == 1, "only who asks is connected")


# --- the supervisor's death, at the end --------------------------------------------------------------------


def test_while_the_supervisor_hangs_the_web_tiers_numbers_are_there(gateway: GatewayProcess) -> None:
    pid = gateway.supervisor_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        found = page(gateway)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert found.sum("metamcp_supervisor_up") == 0
    assert found.sum(REQUESTS) > 0 and not found.of(CALLS)
    assert page(gateway).sum("metamcp_supervisor_up") == 1


def test_after_the_supervisors_death_its_counters_begin_anew_and_those_of_the_web_tier_stay(
    gateway: GatewayProcess,
) -> None:
    since, before = Since(gateway), page(gateway)
    workers = len(gateway.worker_pids)
    os.kill(gateway.supervisor_pid, signal.SIGKILL)
    # more than once, if it was called anew before the kernel had closed its socket
    eventually(lambda: since("metamcp_link_losses_total") >= workers, "every worker has lost it")
    eventually(lambda: page(gateway).sum("metamcp_supervisor_up") == 1, "another one answers")
    after = page(gateway)
    assert after.sum(CALLS) == 0 < before.sum(CALLS)
    assert after.sum(REQUESTS) > before.sum(REQUESTS)
    started = "metamcp_supervisor_start_time_seconds"
    assert after.sum(started) > before.sum(started)
