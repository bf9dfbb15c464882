"""Spans as a collector gets them, and what the log says when it gets none."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator

import pytest
from collector import Collector, collector

from metamcp.telemetry import logs
from metamcp.telemetry.spans import NOWHERE, Carrier
from metamcp.telemetry.traces import OtlpTraces

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT: Carrier = (f"00-{TRACE}-{SPAN}-01", "rojo=1", "user=alice")


@pytest.fixture
def taker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    with collector() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        yield made


@pytest.fixture
def said() -> io.StringIO:
    stream = io.StringIO()
    logs.configure("INFO", "text", stream)
    return stream


def test_a_span_goes_to_its_parents_trace_with_its_attributes_and_says_who_sent_it(taker: Collector) -> None:
    traces = OtlpTraces("web", "9.9")
    span = traces.begin("tools/call", "server", PARENT, {"mcp.method.name": "tools/call"})
    part = span.child("tools/call echo", "client", {"n": 7})
    part.set({"more": "x" * 1000})
    part.end("tool_error", "it went wrong")
    span.end()
    traces.close(5.0)
    client, server = taker.spans
    assert (server.name, server.kind, server.trace, server.parent) == ("tools/call", "server", TRACE, SPAN)
    assert (client.name, client.kind, client.trace, client.parent) == ("tools/call echo", "client", TRACE, server.span)
    assert server.attributes == {"mcp.method.name": "tools/call"} and not server.failed
    assert client.attributes == {"n": 7, "more": "x" * 256, "error.type": "tool_error"} and client.failed
    assert (server.state, client.state) == ("rojo=1", "rojo=1")
    shown = {name: server.resource[name] for name in ("service.name", "service.version", "metamcp.tier", "process.pid")}
    assert shown == {
        "service.name": "metamcp", "service.version": "9.9", "metamcp.tier": "web", "process.pid": os.getpid(),
    }  # fmt: skip


def test_what_a_span_hands_on_is_its_own_context(taker: Collector) -> None:
    traces = OtlpTraces("web", "1")
    span = traces.begin("a", "server", PARENT, {})
    parent, state, baggage = span.carrier
    far = traces.begin("b", "internal", span.carrier, {}, link=PARENT)
    alone = traces.begin("c", "server", NOWHERE, {})
    for one in (far, alone, span):
        one.end()
    traces.close(5.0)
    b, c, a = taker.spans
    assert parent == f"00-{TRACE}-{a.span}-01" and (state, baggage) == ("rojo=1", "user=alice")
    assert (b.trace, b.parent, b.links) == (TRACE, a.span, (SPAN,))
    assert c.trace != TRACE and c.parent == ""


def test_a_trace_that_is_not_sampled_is_handed_on_and_not_sent(taker: Collector) -> None:
    traces = OtlpTraces("web", "1")
    span = traces.begin("a", "server", (f"00-{TRACE}-{SPAN}-00", "", ""), {})
    assert span.carrier[0].startswith(f"00-{TRACE}-") and span.carrier[0].endswith("-00")
    span.end()
    traces.close(5.0)
    assert taker.spans == []


def test_half_a_character_costs_no_batch(taker: Collector) -> None:
    traces = OtlpTraces("web", "1")
    span = traces.begin("tools/call \ud800", "client", NOWHERE, {"gen_ai.tool.name": "\udead\u00e9"})
    span.set({"more": "\ud800"})
    span.end("x", "\ud800")
    traces.close(5.0)
    (seen,) = taker.spans
    assert seen.name == "tools/call ?"
    assert seen.attributes == {"gen_ai.tool.name": "?\u00e9", "more": "?", "error.type": "x"}


def test_operators_own_name_and_attributes_count(taker: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "gate")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    traces = OtlpTraces("supervisor", "1")
    traces.begin("a", "internal", NOWHERE, {}).end()
    traces.close(5.0)
    (span,) = taker.spans
    assert (span.resource["service.name"], span.resource["deployment.environment"]) == ("gate", "test")


def test_variable_that_is_not_understood_is_told(
    taker: Collector, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "sometimes")
    OtlpTraces("web", "1").close(5.0)
    (line,) = said.getvalue().splitlines()
    assert "traces-setting" in line and "sometimes" in line


def test_failures_are_one_line_and_their_end_another(
    taker: Collector, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter2-swordfish")
    taker.status = 400
    traces = OtlpTraces("web", "1")
    for count in range(1, 4):
        traces.begin("a", "server", NOWHERE, {}).end("x", "said hunter2-swordfish")
        taker.asked(count)
    taker.status = 200
    traces.begin("b", "server", NOWHERE, {}).end()
    taker.wait(lambda spans: [span for span in spans if span.name == "b"], "b")
    traces.close(5.0)
    lines = said.getvalue().splitlines()
    assert len(lines) == 2, lines
    assert "traces-not-sent" in lines[0] and "400" in lines[0]
    assert "traces-sent-again lost=3" in lines[1]
    assert taker.authorizations == {"Bearer hunter2-swordfish"}
    assert logs.redact("hunter2-swordfish") == "***"


def test_what_waits_for_a_collector_that_hangs_is_bounded_and_the_newest_of_it(
    taker: Collector, monkeypatch: pytest.MonkeyPatch, said: io.StringIO
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    taker.hangs.set()
    traces = OtlpTraces("web", "1")
    traces.begin("first", "server", NOWHERE, {}).end()
    taker.asked()
    for number in range(2000):
        traces.begin(f"span-{number}", "server", NOWHERE, {}).end()
    taker.go_on()
    taker.wait(lambda spans: [span for span in spans if span.name == "span-1999"], "the newest one")
    traces.close(5.0)
    names = [span.name for span in taker.spans if span.name != "first"]
    assert len(names) == 100 and names[0] == "span-1900"


def test_library_says_nothing_of_its_own_and_as_before_afterwards(
    taker: Collector, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (logging.getLogger("opentelemetry").handlers[:], logging.getLogger("opentelemetry").propagate)
    taker.status = 400
    traces = OtlpTraces("web", "1")
    traces.begin("a", "server", NOWHERE, {}).end()
    traces.close(5.0)
    assert taker.requests == 1 and "opentelemetry" not in capfd.readouterr().err
    library = logging.getLogger("opentelemetry")
    assert (library.handlers, library.propagate) == before
