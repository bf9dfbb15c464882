"""A remote child over real connections: what it looks like from outside, and that nothing of it is left."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from fake_remote import HELLO, INITIALIZED, SPEC, Far, Json, answer, event, far, running
from loopback import SECONDS, Line, Loopback, loopback

from metamcp.concurrency.reactor import Reactor
from metamcp.config.model import ServerSpec
from metamcp.config.secrets import ResolvedServer
from metamcp.runtime.states import ChildState
from metamcp.telemetry import logs
from metamcp.upstream.remote import child

ENVELOPE = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}


class Site:
    """Answers the handshake; calls are kept waiting, each on its own stream."""

    def __init__(self) -> None:
        self.bodies: queue.Queue[Json] = queue.Queue()
        self.hung_up: queue.Queue[str] = queue.Queue()
        self.delete: Callable[[Line], object] = lambda line: line.answer("200 OK")

    def __call__(self, line: Line) -> None:
        body = json.loads(line.body) if line.body else {}
        self.bodies.put({"verb": line.head.split(" ")[0], **body})
        if line.head.startswith("DELETE"):
            self.delete(line)
        elif body.get("method") == "initialize":
            said = json.dumps(answer(body["id"], {"protocolVersion": "2025-11-25"})).encode()
            line.answer("200 OK", said, "Content-Type: application/json", "Mcp-Session-Id: s-1")
        elif line.head.startswith("GET") or "id" in body:
            line.stream()
            assert line.closed()
            self.hung_up.put(body.get("method", "GET"))
        else:
            line.answer("202 Accepted")

    def until(self, what: str) -> Json:
        while True:
            body = self.bodies.get(timeout=SECONDS)
            if what in (body["verb"], body.get("method")):
                return body


def handshake(site: Site, one: Far) -> None:
    one.write(HELLO)
    one.hear()
    one.write(INITIALIZED)
    site.until("GET")


def spec_of(server: Loopback) -> ServerSpec:
    return replace(SPEC, url=server.url)


def test_child_has_no_process_and_is_no_container() -> None:
    with far() as one:
        child = one.child
        assert (child.pid, child.plan, child.is_container, child.server) == (None, None, False, "far")
        assert child.state is ChildState.STARTING
        one.handshake()
        one.do(lambda: child.become(ChildState.READY))
        assert child.state is ChildState.READY
        one.stop()
        assert child.state is ChildState.EXITED


def test_stop_ends_calls_and_streams_that_wait_and_leaves_no_thread() -> None:
    site = Site()
    with loopback(site) as server, running(spec_of(server)) as one:
        handshake(site, one)
        for number in range(2, 5):
            one.call(number)
            site.until("tools/call")
        assert one.stop().reason == "enough"
        assert {site.hung_up.get(timeout=SECONDS) for _ in range(4)} == {"GET", "tools/call"}
        site.until("DELETE")
        assert not one.do(lambda: one.child._exchanges.busy)


def test_server_that_does_not_answer_delete_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "FAREWELL_SECONDS", 0.05)
    site = Site()
    site.delete = Line.closed
    with loopback(site) as server, running(spec_of(server)) as one:
        handshake(site, one)
        assert one.stop().reason == "enough"


def test_stop_before_the_secrets_are_read_ends_it_without_a_request() -> None:
    asked, go_on = threading.Event(), threading.Event()

    class Slow(Far):
        def resolve(self, spec: ServerSpec) -> ResolvedServer:
            asked.set()
            assert go_on.wait(SECONDS)
            return super().resolve(spec)

    with loopback(Site()) as server:
        reactor = Reactor()
        reactor.start()
        one = Slow(reactor, spec_of(server))
        one.write(HELLO)
        assert asked.wait(SECONDS)
        one.do(lambda: one.child.stop("enough"))
        go_on.set()
        assert one.hear().reason == "enough"
        reactor.close()
        assert server.lines.empty()


def test_thread_that_does_not_end_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "LAST_SECONDS", 0.05)
    go_on = threading.Event()
    with far() as one:
        one.handshake()
        one.do(lambda: one.child._exchanges.work(lambda: go_on.wait(SECONDS) and None))
        assert one.stop().reason == "enough"
        go_on.set()


def test_what_is_written_after_stop_goes_nowhere() -> None:
    with far() as one:
        one.handshake()
        one.stop()
        one.call()
        assert one.count("tools/call") == 0


def test_cancelled_request_of_a_session_is_told_and_then_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metamcp.upstream.remote.streamable._CANCELLED_SECONDS", 0.05)
    site = Site()
    with loopback(site) as server, running(spec_of(server)) as one:
        handshake(site, one)
        one.call(2)
        site.until("tools/call")
        one.write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}})
        assert site.until("notifications/cancelled")["params"] == {"requestId": 2}
        assert site.hung_up.get(timeout=SECONDS) == "tools/call"


def test_cancelled_stateless_request_is_hung_up_and_nothing_is_sent() -> None:
    site = Site()
    with loopback(site) as server, running(spec_of(server)) as one:
        one.call(2, _meta=ENVELOPE)
        site.until("tools/call")
        one.write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}})
        assert site.hung_up.get(timeout=SECONDS) == "tools/call"
        assert site.bodies.empty()


def test_more_calls_than_threads_are_all_answered() -> None:
    def handle(line: Line) -> None:
        body = json.loads(line.body)
        line.stream(event(answer(body["id"])))

    with loopback(handle) as server, running(spec_of(server)) as one:
        for number in range(50):
            one.call(number, _meta=ENVELOPE)
        assert {one.hear()["id"] for _ in range(50)} == set(range(50))


def test_answer_of_several_megabytes_with_every_kind_of_character_arrives_whole() -> None:
    text = "zero width \u200d no-break \u00a0 line \u2028 emoji 😀 " * 60_000

    def handle(line: Line) -> None:
        line.stream(event(answer(2, {"text": text})))

    with loopback(handle) as server, running(spec_of(server)) as one:
        one.call(2, _meta=ENVELOPE)
        assert one.hear()["result"]["text"] == text


def test_neither_log_nor_error_shows_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    def handle(line: Line) -> None:
        line.answer("401 Unauthorized", b'{"error":{"message":"bad key open-sesame"}}')

    with loopback(handle) as server, caplog.at_level(logging.INFO, "metamcp"):
        headers = {"X-Api-Key": "Bearer open-sesame"}
        with running(replace(SPEC, url=server.url + "?key=open-sesame", headers=headers)) as one:
            one.write(HELLO)
            ended = one.hear()
    assert "bad key ***" in ended.reason
    shown = "".join(str(record.__dict__.get("fields", {})) for record in caplog.records)
    assert "remote-begun" in caplog.text
    assert "open-sesame" not in shown and "open-sesame" not in str(one.child.error.data)  # type: ignore[union-attr]
    assert logs.redact("open-sesame") == "***"
