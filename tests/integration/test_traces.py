"""Traces of real calls: three spans of one tree, from the web tier over the supervisor to what a server is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from collector import Collector, Seen, collector
from gateway_process import ROOT, GatewayProcess, eventually, running_gateway
from told import told

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
OTHER = f"00-{TRACE[::-1]}-{SPAN[::-1]}-01"
LOCAL: dict[str, Any] = {"command": sys.executable, "args": [str(ROOT / "tests" / "told.py")]}
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
META = "io.modelcontextprotocol/"


@pytest.fixture(scope="module")
def taker() -> Iterator[Collector]:
    with collector() as made:
        yield made


@pytest.fixture(scope="module")
def gateway(taker: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": taker.url, "OTEL_BSP_SCHEDULE_DELAY": "20"}
    with told() as url:
        modern = {**LOCAL, "args": [*LOCAL["args"], "modern"]}
        servers = {"near": LOCAL, "far": {"url": url, "transport": "streamable-http"}, "modern": modern}
        with running_gateway(tmp_path_factory.mktemp("traced"), servers, env=env) as running:
            yield running


@pytest.fixture
def session(gateway: GatewayProcess) -> Iterator[str]:
    opened = gateway.open_session()
    yield opened
    gateway.end_session(opened)


def tree(taker: Collector, trace: str) -> dict[str, Seen]:
    """The three spans of the one call of ``trace``, by kind."""

    def whole(spans: list[Seen]) -> list[Seen]:
        found = [span for span in spans if span.trace == trace]
        return found if len(found) >= 3 else []

    found: list[Seen] = taker.wait(whole, f"three spans of {trace}")
    by_kind = {span.kind: span for span in found}
    assert sorted(by_kind) == ["client", "internal", "server"] and len(found) == 3, found
    assert by_kind["internal"].parent == by_kind["server"].span
    assert by_kind["client"].parent == by_kind["internal"].span
    return by_kind


def own_meta(received: dict[str, Any]) -> dict[str, Any]:
    """Without the envelope of 2026-07-28."""
    return {name: value for name, value in received["params"]["_meta"].items() if not name.startswith(META)}


def new_parent() -> tuple[str, str, str]:
    trace, span = os.urandom(16).hex(), os.urandom(8).hex()
    return f"00-{trace}-{span}-01", trace, span


def got(answer: dict[str, Any]) -> dict[str, Any]:
    assert "result" in answer, answer
    found: dict[str, Any] = answer["result"]["structuredContent"]
    return found


def call(
    gateway: GatewayProcess, session: str, server: str, meta: dict[str, Any] | None = None, **headers: str
) -> dict[str, Any]:
    params = {"name": f"{server}__told", "arguments": {"n": 1}} | ({"_meta": meta} if meta is not None else {})
    answer: dict[str, Any] = gateway.rpc("tools/call", params, session=session, **headers).json()
    return answer


@pytest.mark.parametrize("server", ["near", "far", "modern"])
def test_a_call_is_three_spans_below_what_its_headers_name(
    gateway: GatewayProcess, taker: Collector, session: str, server: str
) -> None:
    parent, trace, span = new_parent()
    headers = {"traceparent": parent, "tracestate": "rojo=1", "baggage": "user=alice", "X-Request-ID": f"r-{span}"}
    received = got(call(gateway, session, server, **headers))
    spans = tree(taker, trace)
    web, inner, client = spans["server"], spans["internal"], spans["client"]
    assert web.parent == span
    context = {"traceparent": f"00-{trace}-{client.span}-01", "tracestate": "rojo=1", "baggage": "user=alice"}
    assert own_meta(received) == context
    sent = {name: received["headers"].get(name) for name in context}
    assert sent == (context if server == "far" else dict.fromkeys(context))
    assert (web.resource["metamcp.tier"], inner.resource["metamcp.tier"]) == ("web", "supervisor")
    assert (web.name, inner.name, client.name) == ("tools/call", "supervisor tools/call", "tools/call told")
    for each in spans.values():
        assert each.attributes["mcp.method.name"] == "tools/call" and not each.failed
        shared = each is client and server == "modern"  # its instance works for all
        assert shared or session[:8] == each.attributes["mcp.session.id"]
        assert session not in json.dumps(each.attributes)
    assert web.attributes["http.response.status_code"] == 200
    assert {web.attributes["metamcp.request.id"], inner.attributes["metamcp.request.id"]} == {f"r-{span}"}
    for each in (inner, client):
        assert each.attributes["gen_ai.tool.name"] == "told" and each.attributes["metamcp.server"] == server
    assert client.attributes["gen_ai.operation.name"] == "execute_tool"
    assert client.attributes["network.transport"] == ("tcp" if server == "far" else "pipe")
    if server == "far":
        assert client.attributes["server.address"] == "127.0.0.1" and client.attributes["server.port"]
    assert web.nanoseconds >= inner.nanoseconds >= client.nanoseconds > 0


def test_meta_wins_over_headers_which_are_linked(gateway: GatewayProcess, taker: Collector, session: str) -> None:
    parent, trace, span = new_parent()
    around, _, around_span = new_parent()
    meta = {"traceparent": parent, "baggage": "mine=1", "x.vendor": {"big": 12345678901234567890}}
    received = got(call(gateway, session, "near", meta, traceparent=around, baggage="theirs=1"))
    spans = tree(taker, trace)
    assert spans["server"].parent == span and spans["server"].links == (around_span,)
    assert received["params"]["_meta"] == meta | {"traceparent": f"00-{trace}-{spans['client'].span}-01"}


def test_a_call_over_sse_is_three_spans(gateway: GatewayProcess, taker: Collector) -> None:
    parent, trace, span = new_parent()
    with closing(requests.get(f"{gateway.url}/sse", stream=True, timeout=30)) as stream:
        lines = (line[6:] for line in stream.iter_lines(chunk_size=1, decode_unicode=True) if line.startswith("data: "))
        url = gateway.url + next(lines)
        for method, params, headers in (
            ("initialize", HELLO, {}),
            ("tools/call", {"name": "near__told", "arguments": {}}, {"traceparent": parent}),
        ):
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            assert requests.post(url, json=body, headers=headers, timeout=30).status_code == 202
            answer = json.loads(next(lines))
    spans = tree(taker, trace)
    assert spans["server"].parent == span and spans["server"].attributes["http.response.status_code"] == 202
    sent = got(answer)["params"]["_meta"]["traceparent"]
    assert sent == f"00-{trace}-{spans['client'].span}-01"


@pytest.mark.parametrize("server", ["near", "modern"])
def test_a_request_of_2026_07_28_is_three_spans(gateway: GatewayProcess, taker: Collector, server: str) -> None:
    parent, trace, span = new_parent()
    meta = {f"{META}protocolVersion": "2026-07-28", f"{META}clientCapabilities": {}, "traceparent": parent}
    params = {"name": f"{server}__told", "arguments": {}, "_meta": meta}
    headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": f"{server}__told"}
    received = got(gateway.rpc("tools/call", params, **headers).json())
    spans = tree(taker, trace)
    assert spans["server"].parent == span
    assert own_meta(received) == {"traceparent": f"00-{trace}-{spans['client'].span}-01"}


def test_a_stream_is_a_span_until_its_end(gateway: GatewayProcess, taker: Collector, session: str) -> None:
    parent, trace, _ = new_parent()
    answer = gateway.rpc(
        "tools/call", {"name": "near__told", "arguments": {}}, session=session, traceparent=parent,
        Accept="text/event-stream",
    )  # fmt: skip
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert tree(taker, trace)["server"].attributes["http.response.status_code"] == 200


@pytest.mark.parametrize(
    ("arguments", "kind"), [({"fails": 1}, "tool_error"), ({"refuses": 1}, "-32601")], ids=["tool", "server"]
)
def test_failures_show(
    gateway: GatewayProcess, taker: Collector, session: str, arguments: dict[str, int], kind: str
) -> None:
    parent, trace, _ = new_parent()
    params = {"name": "near__told", "arguments": arguments}
    gateway.rpc("tools/call", params, session=session, traceparent=parent)
    client = tree(taker, trace)["client"]
    assert client.failed and client.attributes["error.type"] == kind


def test_what_goes_to_no_server_is_two_spans_and_a_ping_none(
    gateway: GatewayProcess, taker: Collector, session: str
) -> None:
    parent, trace, _ = new_parent()
    gateway.rpc("ping", session=session, traceparent=parent)
    gateway.rpc("tools/list", session=session, traceparent=parent)
    two = [("server", "tools/list"), ("internal", "supervisor tools/list")]

    def both(spans: list[Seen]) -> bool:
        return {(span.kind, span.name) for span in spans if span.trace == trace} == set(two)

    taker.wait(both, "two spans of the list, and none of the ping")


# --- off, and a collector that is not there ----------------------------------------------------------------


def test_without_a_collector_what_clients_say_is_passed_on_untouched(tmp_path: Path) -> None:
    with told() as url:
        servers = {"near": LOCAL, "far": {"url": url, "transport": "streamable-http"}}
        with running_gateway(tmp_path, servers) as gateway:
            session = gateway.open_session()
            for server in servers:
                plain = got(call(gateway, session, server, None, traceparent=PARENT, baggage="a=b"))
                assert "_meta" not in plain["params"] and "traceparent" not in plain["headers"]
                meta = {"traceparent": OTHER, "tracestate": "x=1", "baggage": "a=b", "y": 1}
                kept = got(call(gateway, session, server, meta, traceparent=PARENT))
                assert kept["params"]["_meta"] == meta and "traceparent" not in kept["headers"]


def test_the_last_spans_are_sent_at_the_end(tmp_path: Path) -> None:
    with collector() as taker:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": taker.url, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
        with running_gateway(tmp_path, {"near": LOCAL}, env=env) as gateway:
            parent, trace, _ = new_parent()
            call(gateway, gateway.open_session(), "near", traceparent=parent)
            assert taker.requests == 0
            assert gateway.stop() == 0
        tree(taker, trace)


@pytest.mark.parametrize("how", ["away", "hanging"])
def test_calls_go_on_without_their_collector_and_the_end_is_as_fast(tmp_path: Path, how: str) -> None:
    with collector() as taker:
        taker.hangs.set()
        url = taker.url if how == "hanging" else "http://127.0.0.1:9"
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_EXPORTER_OTLP_TIMEOUT": "2"}
        with running_gateway(tmp_path, {"near": LOCAL}, env=env) as gateway:
            session = gateway.open_session()
            took = []
            for _ in range(200):
                begun = time.monotonic()
                got(call(gateway, session, "near"))
                took.append(time.monotonic() - begun)
            if how == "hanging":
                taker.asked(2)
            assert sorted(took)[100] < 0.1, "a call waits for no collector"
            eventually(lambda: gateway.log.count("traces-not-sent") == 2, "each process says it once", 30)
            begun = time.monotonic()
            assert gateway.stop() == 0
            assert time.monotonic() - begun < 10
        assert gateway.log.count("traces-not-sent") == 2, gateway.log
        assert "Traceback" not in gateway.log and "opentelemetry" not in gateway.log


def test_traces_that_cannot_be_sent_for_want_of_packages_end_the_start_with_what_to_do(tmp_path: Path) -> None:
    hidden = tmp_path / "sitecustomize.py"
    hidden.write_text(
        "import sys\nclass Absent:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'opentelemetry':\n            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    env = {
        **os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "OTEL_TRACES_EXPORTER": "otlp",
        "METAMCP_STATE_DIR": str(tmp_path), "METAMCP_BIND": "127.0.0.1:0",
    }  # fmt: skip
    argv = [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.conf.py", "wsgi:app"]
    for command in (argv, [sys.executable, "-m", "metamcp", "supervisor"]):
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert "pip install -r requirements-otel.txt" in done.stderr and "Traceback" not in done.stderr
