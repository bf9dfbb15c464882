"""Streamable HTTP: the session, its loss, streams that end early, and every fault with its words."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from fake_remote import HELLO, INITIALIZED, SPEC, Answer, Far, Json, answer, event, far, result, stream

from metamcp.errors import MetaMCPError, RemoteRefused
from metamcp.runtime.child import Exit
from metamcp.upstream.remote import transport

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.fixture
def new() -> Iterator[Far]:
    with far() as one:
        yield one


@pytest.fixture
def open_one(new: Far) -> Far:
    new.handshake()
    return new


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.001)


def header(request: requests.PreparedRequest, name: str) -> Any:
    value = request.headers.get(name)
    return value.decode() if isinstance(value, bytes) else value


# --- the session -------------------------------------------------------------------------------------------


def test_session_version_and_configured_headers_go_with_everything_after_initialize(new: Far) -> None:
    new.write(HELLO)
    first = new.until("initialize")
    assert header(first, "Mcp-Session-Id") is None and header(first, "MCP-Protocol-Version") is None
    assert new.hear()["result"]["protocolVersion"] == "2025-11-25"
    new.write(INITIALIZED)
    new.call()
    for request in (new.until("notifications/initialized"), new.until("tools/call")):
        assert header(request, "Mcp-Session-Id") == "s-1"
        assert header(request, "MCP-Protocol-Version") == "2025-11-25"
        assert header(request, "Authorization") == "Bearer sesame"
        assert header(request, "Accept") == "application/json, text/event-stream"
    assert new.hear() == {"jsonrpc": "2.0", "id": 2, "result": {"method": "tools/call"}}


def test_requests_wait_until_initialized_was_taken(new: Far) -> None:
    new.write(HELLO)
    new.hear()
    new.call(2)
    new.write(INITIALIZED)
    new.call(3)
    assert {new.hear()["id"], new.hear()["id"]} == {2, 3}
    bodies = [request for request in new.seen if request.method == "POST"]
    assert b"initialized" in (bodies[1].body or b"")  # type: ignore[operator]


def test_get_stream_is_opened_after_initialized_and_405_is_fine(open_one: Far) -> None:
    open_one.call()
    assert open_one.hear()["id"] == 2
    assert [request.method for request in open_one.seen].count("GET") == 1


def test_what_comes_on_the_get_stream_is_heard(new: Far) -> None:
    note = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    given = iter([stream(event(note) + b": comment\n\n" + event("junk, no JSON"))])
    new.script = lambda request, _body: next(given, None) if request.method == "GET" else None
    new.handshake()
    assert new.hear() == note
    assert new.hear() == {"raw": b"junk, no JSON\n"}


def test_answer_and_notification_of_the_client_are_posted_and_heard_nothing_of(open_one: Far) -> None:
    open_one.write({"jsonrpc": "2.0", "id": "q", "result": {"roots": []}})
    open_one.write({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"})
    assert b'"q"' in (open_one.until("POST").body or b"")  # type: ignore[operator]
    open_one.until("notifications/roots/list_changed")
    open_one.call()
    assert open_one.hear()["id"] == 2


def test_server_request_and_progress_on_a_calls_stream_come_before_its_answer(open_one: Far) -> None:
    asked = {"jsonrpc": "2.0", "id": 0, "method": "roots/list"}
    told = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}
    open_one.script = lambda _request, _body: stream(event(asked) + event(told) + event(answer(2)))
    open_one.call()
    assert [open_one.hear() for _ in range(3)] == [asked, told, answer(2)]


def test_batch_is_heard_message_by_message(open_one: Far) -> None:
    body = b'[ {"jsonrpc":"2.0","method":"notifications/message"},\n {"jsonrpc":"2.0","id":2,"result":{}} ]'
    open_one.script = lambda _request, _body: (200, {"Content-Type": "application/json"}, body)
    open_one.call()
    assert open_one.hear()["method"] == "notifications/message"
    assert open_one.hear()["id"] == 2


def test_stop_tells_the_server_with_delete(open_one: Far) -> None:
    assert open_one.stop() == Exit(None, None, (), "enough")
    request = open_one.until("DELETE")
    assert header(request, "Mcp-Session-Id") == "s-1" and header(request, "Authorization") == "Bearer sesame"


def test_server_that_refuses_delete_ends_the_child_all_the_same(open_one: Far) -> None:
    open_one.script = lambda _request, _body: requests.ConnectionError("gone")
    assert open_one.stop().reason == "enough"


def test_server_without_session_gets_no_session_header_and_no_delete(new: Far) -> None:
    def script(_request: requests.PreparedRequest, body: Json) -> Answer | None:
        return result(1, {"protocolVersion": "2025-03-26"}) if body.get("method") == "initialize" else None

    new.script = script
    new.handshake()
    new.call()
    assert header(new.until("tools/call"), "Mcp-Session-Id") is None
    new.stop()
    assert "DELETE" not in [request.method for request in new.seen]


# --- a session that is lost --------------------------------------------------------------------------------


def loses(known: set[str]) -> Any:
    """404 for every session but the ``known``."""

    def script(request: requests.PreparedRequest, body: Json) -> Answer | None:
        lost = header(request, "Mcp-Session-Id") not in known and body.get("method") != "initialize"
        return (404, {}, b"") if lost else None

    return script


def test_unknown_session_is_opened_anew_and_the_request_repeated_once(open_one: Far) -> None:
    open_one.script = loses({"s-2"})
    open_one.call(7, text="x")
    assert open_one.hear() == answer(7, {"method": "tools/call"})
    assert open_one.count("initialize") == 2 and open_one.count("tools/call") == 2
    assert open_one.count("notifications/initialized") == 2
    again = [request for request in open_one.seen if b'"initialize"' in (request.body or b"")][-1]  # type: ignore[operator]
    assert b'"protocolVersion":"2025-11-25"' in (again.body or b"").replace(b" ", b"")  # type: ignore[union-attr, arg-type]
    assert open_one.lines.empty()  # the second initialize is nobody's business


def test_requests_that_lose_their_session_together_open_one_new_one(open_one: Far) -> None:
    open_one.script = loses({"s-2"})
    for number in range(2, 8):
        open_one.call(number)
    assert {open_one.hear()["id"] for _ in range(2, 8)} == set(range(2, 8))
    assert open_one.count("initialize") == 2


def test_request_that_loses_the_new_session_too_is_an_error(open_one: Far) -> None:
    open_one.script = loses(set())
    open_one.call()
    error = open_one.hear()["error"]
    assert "HTTP 404" in error["message"] and error["data"]["server"] == "far"
    assert open_one.count("initialize") == 2
    assert open_one.child.exit is None


def test_server_that_refuses_a_new_session_ends_the_child_with_the_reason(open_one: Far) -> None:
    open_one.script = lambda _request, body: (500 if body.get("method") == "initialize" else 404, {}, b"")
    open_one.call()
    ended = open_one.hear()
    assert "its session ended and cannot be opened again" in ended.reason and "HTTP 500" in ended.reason


def test_404_without_a_session_is_an_error_and_nothing_is_repeated(new: Far) -> None:
    def script(request: requests.PreparedRequest, body: Json) -> Answer | None:
        if body.get("method") == "initialize":
            return result(1, {"protocolVersion": "2025-11-25"})
        return (404, {}, b"") if body.get("method") == "tools/call" else None

    new.script = script
    new.handshake()
    new.call()
    assert "HTTP 404" in new.hear()["error"]["message"]
    assert new.count("initialize") == new.count("tools/call") == 1


# --- streams that end early --------------------------------------------------------------------------------


@pytest.mark.parametrize("breaks", [True, False], ids=["broken", "closed"])
def test_stream_that_ends_early_is_resumed_from_its_last_event(open_one: Far, no_pauses: None, breaks: bool) -> None:
    told = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}

    def script(request: requests.PreparedRequest, _body: Json) -> Answer:
        if request.method == "POST":
            return stream(b"id: p/0\n\n" + event(told, "p/1", 1), breaks)
        assert header(request, "Mcp-Session-Id") == "s-1"
        if header(request, "Last-Event-ID") == "p/1":
            return stream(event(told, "p/2"), breaks)
        assert header(request, "Last-Event-ID") == "p/2"
        return stream(event(answer(2), "p/3"))

    open_one.script = script
    open_one.call()
    assert [open_one.hear() for _ in range(3)] == [told, told, answer(2)]
    assert open_one.count("tools/call") == 1


def test_stream_without_ids_that_breaks_is_an_error_that_leaves_open_whether_it_was_carried_out(open_one: Far) -> None:
    open_one.script = lambda _request, _body: stream(b": hello\n\n", breaks=True)
    open_one.call()
    error = open_one.hear()["error"]
    assert error["code"] == -31004
    assert "Connection reset by peer" in error["message"] and "not known" in error["message"]


def test_stream_that_is_closed_without_an_answer_is_an_error(open_one: Far) -> None:
    open_one.script = lambda _request, _body: stream(b": hello\n\n")
    open_one.call()
    assert "closed the stream before it answered" in open_one.hear()["error"]["message"]


def test_resuming_ends_after_some_attempts_without_anything_new(open_one: Far, no_pauses: None) -> None:
    open_one.script = lambda _request, _body: stream(b"id: p/0\nretry: 1\ndata\n\n", breaks=True)
    open_one.call()
    assert open_one.hear()["error"]["code"] == -31004
    assert [request.method for request in open_one.seen].count("GET") == 1 + 3


def test_server_that_does_not_resume_is_an_error_and_nothing_is_repeated(open_one: Far, no_pauses: None) -> None:
    def script(request: requests.PreparedRequest, _body: Json) -> Answer:
        return stream(b"id: p/0\ndata\n\n") if request.method == "POST" else (404, {}, b"")

    open_one.script = script
    open_one.call()
    assert "HTTP 404" in open_one.hear()["error"]["message"]
    assert open_one.count("tools/call") == 1 and open_one.count("initialize") == 1


def test_get_stream_that_ends_is_opened_again_from_its_last_event(new: Far, no_pauses: None) -> None:
    def note(number: int) -> Json:
        return {"jsonrpc": "2.0", "method": "notifications/message", "params": {"n": number}}

    given = {None: stream(event(note(1), "g/1", 1), breaks=True), "g/1": stream(event(note(2), "g/2"))}

    def script(request: requests.PreparedRequest, _body: Json) -> Answer | None:
        return given.get(header(request, "Last-Event-ID")) if request.method == "GET" else None

    new.script = script
    new.handshake()
    assert [new.hear(), new.hear()] == [note(1), note(2)]
    while header(new.until("GET"), "Last-Event-ID") != "g/2":
        pass


def test_get_stream_that_always_ends_at_once_is_given_up_and_calls_go_on(new: Far, no_pauses: None) -> None:
    new.script = lambda request, _body: stream(b"retry: 1\n\n") if request.method == "GET" else None
    new.handshake()
    for _ in range(8):
        new.until("GET")
    new.call()
    assert new.hear()["id"] == 2
    assert [request.method for request in new.seen].count("GET") == 9


def test_server_that_stays_unreachable_ends_the_child_with_that_reason(new: Far, no_pauses: None) -> None:
    new.script = lambda request, _body: requests.ConnectionError() if request.method == "GET" else None
    new.handshake()
    assert "far.example" in new.hear().reason


# --- faults of one request ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ((401, {}, b""), -31001, "headers in servers.json"),
        ((403, {}, b"no"), -31001, "HTTP 403"),
        ((500, {}, b"<html>"), -31001, "it failed (HTTP 500)"),
        ((503, {}, b""), -31001, "no more requests now"),
        ((400, {}, b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"bad thing"}}'), -31001, "bad thing"),
        ((200, {"Content-Type": "text/html"}, b"<html>"), -31001, "text/html"),
        ((200, {"Content-Type": "application/json"}, b"{}"), -31001, "did not answer"),
        ((200, {"Content-Type": "application/json"}, b"{broken"), -31001, "did not answer"),
        ((202, {}, b""), -31001, "did not answer"),
        ((302, {"Location": "https://other.example/login?token=abc"}, b""), -31001, "https://other.example "),
        (requests.ConnectTimeout(), -31001, "no connection within 10 s"),
        (requests.exceptions.SSLError(), -31001, "REQUESTS_CA_BUNDLE"),
        (requests.ReadTimeout(), -31004, "nothing came for 15 s"),
        (requests.ConnectionError(ConnectionResetError(104, "Connection reset")), -31004, "Connection reset"),
    ],
)
def test_fault_is_an_error_for_that_request_alone(open_one: Far, given: Any, code: int, words: str) -> None:
    open_one.script = lambda _request, body: given if body.get("id") == 2 else None
    open_one.call(2)
    told = open_one.hear()
    assert (told["id"], told["error"]["code"]) == (2, code)
    assert words in told["error"]["message"] and "server 'far'" in told["error"]["message"]
    assert told["error"]["data"]["server"] == "far"
    assert "sesame" not in str(told) and "token=abc" not in str(told)
    open_one.call(3)
    assert open_one.hear()["id"] == 3


@pytest.mark.parametrize("status", [400, 404, 500, 200])
def test_error_of_the_server_for_that_request_is_handed_on_whatever_the_status(open_one: Far, status: int) -> None:
    body = b'{"jsonrpc":"2.0","id":2,"error":{"code":-32020,"message":"m","data":[1.50]}}'
    if status == 404:
        open_one.script = lambda _r, b: (404, {"Content-Type": "application/json"}, body) if b.get("id") == 2 else None
        open_one.call(2, _meta=ENVELOPE)
    else:
        open_one.script = lambda _request, _body: (status, {"Content-Type": "application/json"}, body)
        open_one.call(2)
    assert open_one.hear()["error"] == {"code": -32020, "message": "m", "data": [1.5]}


@pytest.mark.parametrize(
    ("given", "fault", "words"),
    [
        ((401, {}, b""), "operator", "refuses the gateway"),
        ((404, {}, b""), "operator", '"transport": "sse"'),
        ((500, {}, b""), "server", "HTTP 500"),
        (requests.ConnectionError(OSError(111, "Connection refused")), "server", "Connection refused"),
    ],
)
def test_fault_at_initialize_ends_the_child_with_its_reason(new: Far, given: Any, fault: str, words: str) -> None:
    new.script = lambda _request, _body: given
    new.write(HELLO)
    ended = new.hear()
    assert isinstance(ended, Exit) and words in ended.reason and not ended.reason.startswith("server 'far'")
    assert isinstance(new.child.error, MetaMCPError)
    assert new.child.error.fault == fault and new.child.error.data["server"] == "far"


def test_unset_secret_ends_the_child_with_its_name() -> None:
    with far(dataclasses.replace(SPEC, headers={"Authorization": "Bearer ${NOT_SET}"})) as remote:
        remote.write(HELLO)
        ended = remote.hear()
        assert "NOT_SET" in ended.reason and remote.child.error is not None
        assert remote.child.error.fault == "operator"
        assert remote.seen == []


def test_url_that_becomes_none_is_the_operators_fault() -> None:
    with far(dataclasses.replace(SPEC, url="${TOKEN}")) as remote:
        assert "its url must be a URL" in remote.hear().reason
        assert isinstance(remote.child.error, RemoteRefused)


@pytest.mark.parametrize("status", [200, 202, 400, 404, 405, 406, 415])
def test_discover_that_is_not_understood_is_an_answer_and_leaves_the_choice_of_the_era(new: Far, status: int) -> None:
    new.script = lambda _request, _body: (status, {"Content-Type": "text/plain"}, b"what?")
    new.call(1, "server/discover", _meta=ENVELOPE)
    assert new.hear()["id"] == 1
    assert new.child.exit is None


@pytest.mark.parametrize("given", [(401, {}, b""), (429, {}, b""), (502, {}, b""), requests.ConnectTimeout()])
def test_discover_that_did_not_reach_the_server_says_nothing_about_its_era(new: Far, given: Any) -> None:
    new.script = lambda _request, _body: given
    new.call(1, "server/discover", _meta=ENVELOPE)
    assert isinstance(new.hear(), Exit)
    assert new.child.error is not None


# --- cancelling --------------------------------------------------------------------------------------------


def cancelled(identifier: int) -> Json:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": identifier}}


def test_cancellation_of_an_answered_or_unknown_request_is_not_sent(open_one: Far) -> None:
    open_one.call(2)
    open_one.hear()
    open_one.write(cancelled(2), cancelled(99))
    open_one.call(3)
    assert open_one.hear()["id"] == 3
    assert open_one.count("notifications/cancelled") == 0


def test_cancelled_request_that_was_not_sent_yet_never_is(new: Far) -> None:
    new.write(HELLO)
    new.hear()
    new.call(2)
    new.write(cancelled(2), INITIALIZED)
    new.call(3)
    assert new.hear()["id"] == 3
    assert new.count("tools/call") == 1 and new.count("notifications/cancelled") == 0


# --- 2026-07-28 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("tools/call", {"name": "find"}, "find"),
        ("prompts/get", {"name": "grüß"}, "=?base64?Z3LDvMOf?="),
        ("resources/read", {"uri": "file:///a b"}, "file:///a b"),
        ("tools/list", {}, None),
        ("server/discover", {"name": "no"}, None),
    ],
)
def test_stateless_request_needs_no_handshake_and_says_what_it_is(
    new: Far, method: str, params: Json, name: str | None
) -> None:
    new.call(5, method, **params, _meta=ENVELOPE)
    assert new.hear()["id"] == 5
    request = new.until(method)
    assert header(request, "MCP-Protocol-Version") == "2026-07-28"
    assert header(request, "Mcp-Method") == method
    assert header(request, "Mcp-Name") == name
    assert header(request, "Mcp-Session-Id") is None


MIRRORED = {
    "name": "find",
    "inputSchema": {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
}


def wants_region(request: requests.PreparedRequest, body: Json) -> Answer | None:
    """A server of 2026-07-28 that insists on the header, with its tool on the second page."""
    if body["method"] == "tools/list":
        page = {"tools": [MIRRORED]} if "cursor" in body["params"] else {"tools": [{"name": "a"}], "nextCursor": "2"}
        return result(body["id"], page)
    if header(request, "Mcp-Param-Region") == "=?base64?w7Zz?=":
        return None
    error = {"jsonrpc": "2.0", "id": body["id"], "error": {"code": -32020, "message": "Mcp-Param-Region is missing"}}
    return 400, {"Content-Type": "application/json"}, json.dumps(error).encode()


def test_arguments_that_a_listed_tool_wants_as_headers_are_sent_as_such(new: Far) -> None:
    new.script = wants_region
    new.call(1, "tools/list", cursor="x", _meta=ENVELOPE)
    new.hear()
    new.call(2, name="find", arguments={"region": "ös"}, _meta=ENVELOPE)
    assert "result" in new.hear()
    assert new.count("tools/call") == 1


def test_missing_header_is_mended_by_listing_the_tools_once(new: Far) -> None:
    new.script = wants_region
    new.call(2, name="find", arguments={"region": "ös"}, _meta=ENVELOPE)
    assert new.hear() == answer(2, {"method": "tools/call"})
    assert new.count("tools/list") == 2 and new.count("tools/call") == 2
    assert new.lines.empty()


def test_header_that_cannot_be_mended_is_the_servers_error_after_one_more_try(new: Far) -> None:
    new.script = wants_region
    new.call(2, name="find", arguments={}, _meta=ENVELOPE)
    assert new.hear()["error"]["code"] == -32020
    assert new.count("tools/call") == 2


def test_list_that_cannot_be_read_leaves_the_first_error(new: Far) -> None:
    new.script = lambda request, body: (500, {}, b"") if body["method"] == "tools/list" else wants_region(request, body)
    new.call(2, name="find", arguments={"region": "ös"}, _meta=ENVELOPE)
    assert new.hear()["error"]["code"] == -32020
    assert new.count("tools/call") == 1


def test_stateless_request_is_neither_repeated_nor_resumed(open_one: Far, no_pauses: None) -> None:
    open_one.script = lambda _request, _body: stream(b"id: 1\n\n", breaks=True)
    open_one.call(5, _meta=ENVELOPE)
    assert open_one.hear()["error"]["code"] == -31004
    open_one.script = lambda _request, _body: (404, {}, b"")
    open_one.call(6, _meta=ENVELOPE)
    assert "HTTP 404" in open_one.hear()["error"]["message"]
    assert open_one.count("initialize") == 1
    assert [request.method for request in open_one.seen].count("GET") == 1
