"""What real clients and servers do, and what the gateway makes of it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from examples import share
from fake_core import Core, Transport, WireClient
from fake_upstream import FakeChild, Json, ScriptedServer, tool
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config.model import NamespaceSpec, ServerSpec
from metamcp.gateway.interface import Client, Is, Post
from metamcp.gateway.listings import KINDS, TOOLS, Entry, Item
from metamcp.gateway.merging import merge
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import Raw

OWN = {"s": ServerSpec("s")}
SHARED = {"s": ServerSpec("s", isolation="shared")}
TRANSPORTS: tuple[Transport, ...] = ("http", "sse")
ROOTS = b'{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"t","version":"1"}}'
CALL = jsonrpc.request(b"1", "tools/call", b'{"name":"s__t"}')


def tools(*items: Json) -> ScriptedServer:
    return ScriptedServer({"tools/list": [list(items or (tool("t"),))]})


# --- names -------------------------------------------------------------------------------------------------

servers = st.sampled_from(["a", "b", "a_b", "a__b"])
names = st.sampled_from(["t", "b__t", "t.x", "t_x", "ä", "x" * 70, "x" * 70 + "y", "", "t x", "T", "a__t"]) | st.text()


@share(0.6)
@given(st.dictionaries(servers, st.lists(names, max_size=5), min_size=1), st.booleans())
def test_every_tool_is_shown_under_a_name_that_all_clients_take_or_is_reported(
    listed: dict[str, list[str]], prefix: bool
) -> None:
    entries = []
    for server, own in listed.items():
        items = tuple(Item(name, {"name": Raw(jsonrpc.encode(name))}) for name in own)
        entries.append(Entry(server, {"tools": Raw(b"{}")}, "", {"tools": items}))
    view = merge(NamespaceSpec("all", tuple(listed), prefix=prefix), entries)
    shown = [item["name"] for item in json.loads(view.listings["tools"])["tools"]]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in shown)
    assert len(set(shown)) == len(shown)
    hidden = [problem for problem in view.problems if "is hidden" in problem]
    assert len(shown) + len(hidden) == sum(map(len, listed.values()))
    assert set(shown) == set(view.routes["tools"])


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """The records of the product's log."""
    records: list[Any] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger("metamcp").addHandler(handler)
    yield records
    logging.getLogger("metamcp").removeHandler(handler)


def test_collision_degrades_one_tool_and_reaches_the_operator_once(logged: list[Any]) -> None:
    specs = {name: ServerSpec(name) for name in ("a", "b")}
    core = Core(specs, tools(tool("t"), tool("t")), prefix=False)
    core.router.catalog_changed(frozenset({"a"}))
    assert list(core.namespace.view.routes["tools"]) == ["t", "a__t", "b__t"]
    problems = [
        "tools: 't' of 'a' is shown as 'a__t'", "tools: 't' of 'b' is shown as 'b__t'",
        "tools: 't' of 'b' is hidden by another one",
    ]  # fmt: skip
    told = [record.fields for record in logged if record.getMessage() == "name-collision"]
    assert told == [{"namespace": "all", "problem": problem} for problem in problems]
    assert core.snapshot().status()["namespaces"]["all"]["problems"] == problems


# --- lists -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("script", [tools(), ScriptedServer({})])
def test_lists_of_what_no_server_has_are_empty_and_no_error(transport: Transport, script: ScriptedServer) -> None:
    client = WireClient(Core(OWN, script), transport)
    for kind in KINDS:
        if kind is TOOLS and script.lists:
            continue
        client.post(jsonrpc.request(b"7", kind.method, b"{}"))
        assert client.heard[-1] == b'{"jsonrpc":"2.0","id":7,"result":{"%s":[]}}' % kind.member.encode()


@pytest.mark.parametrize(
    "item",
    [
        {"name": "t", "inputSchema": {"type": "object"}},  # no properties: some clients add them, we must not
        {"name": "t", "inputSchema": {}},
        {"name": "t", "inputSchema": {"type": "object"}, "outputSchema": {"type": "array", "items": {"$ref": "#"}}},
        {"name": "t", "inputSchema": {"$defs": {}, "allOf": []}, "execution": {"x": 1}, "icons": [], "_meta": {"a": 1}},
    ],
)
def test_tool_is_listed_with_all_that_its_server_says_of_it(item: Json) -> None:
    core = Core(OWN, tools(item))
    assert json.loads(core.namespace.view.listings["tools"]) == {"tools": [item | {"name": "s__t"}]}


@pytest.mark.parametrize("structured", [b'{"a":1.0}', b"[1]", b"null", b'"text"'])
def test_structured_content_travels_as_it_is_whatever_the_schema_says(structured: bytes) -> None:
    core = Core(OWN, tools(tool("t", outputSchema={"type": "object"})))
    client = WireClient(core, "http")
    client.post(CALL)
    child = core.child("s")
    result = b'{"content":[],"structuredContent":%s}' % structured
    child.say(jsonrpc.result_response(b"%d" % child.messages[-1]["id"], result))
    assert client.heard == [jsonrpc.result_response(b"1", result)]


# --- progress tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("meta", [b"", b',"_meta":{}', b',"_meta":{"x":1}', b',"_meta":null'])
def test_no_token_is_invented_and_progress_that_nobody_asked_for_is_dropped(meta: bytes) -> None:
    core = Core(OWN, tools())
    client = WireClient(core, "http")
    client.post(jsonrpc.request(b"1", "tools/call", b'{"name":"s__t"%s}' % meta))
    child = core.child("s")
    assert b"progressToken" not in child.written[-1]
    for token in (child.messages[-1]["id"], 0, 1, "1", None, 7.5):
        child.notify("notifications/progress", progressToken=token, progress=1)
    assert client.heard == []


@pytest.mark.parametrize("token", [b"null", b"true", b"{}", b'["1"]'])
def test_what_is_no_token_is_left_to_the_server_and_never_comes_back(token: bytes) -> None:
    core = Core(OWN, tools())
    client = WireClient(core, "http")
    client.post(jsonrpc.request(b"1", "tools/call", b'{"name":"s__t","_meta":{"progressToken":%s}}' % token))
    child = core.child("s")
    assert b'"_meta":{"progressToken":%s}' % token in child.written[-1]
    child.notify("notifications/progress", progressToken=child.messages[-1]["id"], progress=1)
    child.notify("notifications/progress", progressToken=json.loads(token), progress=1)
    assert client.heard == []


@pytest.mark.parametrize("token", [b"0", b"-1", b"1.50", b'""', b'"0"', b'"\\u0061"', b"123456789012345678901"])
def test_token_comes_back_in_value_and_type_and_not_after_the_answer(token: bytes) -> None:
    core = Core(OWN, tools())
    client = WireClient(core, "http")
    client.post(jsonrpc.request(b"1", "tools/call", b'{"name":"s__t","_meta":{"progressToken":%s}}' % token))
    child = core.child("s")
    asked = child.messages[-1]
    for _ in range(2):
        child.notify("notifications/progress", progressToken=asked["params"]["_meta"]["progressToken"], progress=1)
        child.result(asked["id"], {})
    progress, _answer = client.heard
    assert progress == jsonrpc.notification("notifications/progress", b'{"progressToken":%s,"progress":1}' % token)


# --- questions of servers ----------------------------------------------------------------------------------


def ask_roots(child: FakeChild) -> Json:
    """The server's question; what it was answered."""
    child.say(jsonrpc.request(b'"r"', "roots/list", b""))
    found = child.messages[-1]
    assert found["id"] == "r"
    return found


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("specs", [OWN, SHARED])
def test_roots_are_refused_at_once_for_a_client_that_has_none(
    transport: Transport, specs: dict[str, ServerSpec]
) -> None:
    core = Core(specs, tools())
    client = WireClient(core, transport)
    client.post(CALL)
    assert ask_roots(core.child("s"))["error"]["code"] == -32601
    assert client.heard == []


def json_only(core: Core) -> Client:
    """A client that takes only JSON, with roots and without a stream of its own."""
    opening = Client("dev", "anonymous", "http")
    got = core.open(Post(opening, "request", "initialize", b"0", ROOTS))
    return Client("dev", "anonymous", "http", next(item.session for item in got.items if item.session))


def test_client_that_takes_only_json_is_not_asked_where_it_cannot_hear() -> None:
    core = Core(OWN, tools())
    client = json_only(core)
    got = core.open(Post(client, "request", "tools/call", b"1", b'{"name":"s__t"}'))
    child = core.child("s")
    assert ask_roots(child)["error"]["code"] == -32601
    child.result(child.sent("tools/call")[0]["id"], {})
    assert got.kinds == [Is.ANSWER]


def test_client_that_takes_only_json_is_asked_on_its_stream_if_it_has_one() -> None:
    core = Core(OWN, tools())
    client = WireClient(core, "http", ROOTS)
    got = core.open(Post(client.identity, "request", "tools/call", b"1", b'{"name":"s__t"}'))
    core.child("s").say(jsonrpc.request(b'"r"', "roots/list", b""))
    assert got.messages == []
    (question,) = client.heard
    client.post(jsonrpc.result_response(b"%d" % json.loads(question)["id"], b'{"roots":[]}'))
    assert core.child("s").written[-1] == b'{"jsonrpc":"2.0","id":"r","result":{"roots":[]}}\n'


@pytest.mark.parametrize("identifier", [b"null", b'"x"', b"99", b"-1", b"1.5", b"9" * 5000])
def test_answer_to_no_question_is_accepted_and_harms_nobody(identifier: bytes) -> None:
    core = Core(OWN, tools())
    client = WireClient(core, "http", ROOTS)
    client.post(CALL)
    before = list(core.child("s").written)
    assert client.post(jsonrpc.result_response(identifier, b"{}")).kinds == [Is.ACCEPTED]
    assert core.child("s").written == before


# --- what servers say too early, too often, or not at all as they should ---------------------------------------


class Eager(ScriptedServer):
    """Says all sorts of things before it answers ``initialize``."""

    def __call__(self, child: FakeChild, message: Json) -> None:
        if message.get("method") == "initialize":
            child.notify("notifications/tools/list_changed")
            child.notify("notifications/message", level="info", data="starting")
            child.notify("notifications/progress", progressToken=1, progress=1)
            child.say(jsonrpc.request(b"1", "ping", b""), jsonrpc.request(b"0", "roots/list", b""))
            child.say(jsonrpc.result_response(b"77", b"{}"))
        super().__call__(child, message)


@pytest.mark.parametrize("specs", [OWN, SHARED])
def test_server_may_say_anything_before_it_answers_initialize(specs: dict[str, ServerSpec]) -> None:
    core = Core(specs, Eager({"tools/list": [[tool("t")]]}))
    client = WireClient(core, "http")
    client.post(CALL)
    child, started = core.child("s"), len(core.supervisor.started)
    answered = {message["id"]: message for message in child.messages if "method" not in message}
    assert answered[1]["result"] == {} and answered[0]["error"]["code"] == -32601
    child.result(child.sent("tools/call")[0]["id"], {})
    assert json.loads(client.heard[-1])["result"] == {}
    core.reactor.advance(60)
    assert len(core.supervisor.started) == started  # the catalog did not ask again


NOISE = [
    b"Server running on stdio", b"", b"   ", b"\x1b[32minfo\x1b[0m ready", b"{", b'{"level":"info"}', b"1", b"null",
    b"[]", b"[1,2]", b'"text"', b"{}", b'{"jsonrpc":"2.0"}', b"\xff\xfe\x00", b'{"jsonrpc":"2.0","id":1}', b"[" * 5000,
]  # fmt: skip


class Noisy(ScriptedServer):
    """Prints before, between and behind its messages; its first line begins with a byte order mark."""

    def __call__(self, child: FakeChild, message: Json) -> None:
        child.say(*NOISE)
        if message.get("method") == "initialize":
            child.on_data(b"\xef\xbb\xbf")
        super().__call__(child, message)
        child.say(*NOISE)


def test_noise_on_standard_output_changes_nothing() -> None:
    core = Core(OWN, Noisy({"tools/list": [[tool("t")]]}))
    client = WireClient(core, "sse")
    client.post(CALL)
    child = core.child("s")
    child.say(*NOISE)
    child.result(child.sent("tools/call")[0]["id"], {})
    assert [json.loads(message)["result"] for message in client.heard] == [{}]


def test_answer_nested_too_deeply_fails_its_call_at_once_and_says_why() -> None:
    core = Core(OWN, tools())
    client = WireClient(core, "http")
    client.post(CALL)
    child = core.child("s")
    deep = b"[" * 100_000 + b"]" * 100_000
    child.say(jsonrpc.result_response(b"%d" % child.messages[-1]["id"], deep))
    error = json.loads(client.heard[0])["error"]
    assert (error["code"], error["data"]) == (-31001, {"server": "s"})
    assert "nested too deeply" in error["message"]
    client.post(CALL)
    child.result(child.sent("tools/call")[-1]["id"], {})
    assert json.loads(client.heard[1])["result"] == {}


def test_storm_of_list_changed_is_one_question_and_one_word_to_the_client() -> None:
    script = tools()
    core = Core(OWN, script)
    client = WireClient(core, "sse")
    client.post(CALL)
    child, started = core.child("s"), len(core.supervisor.started)
    script.lists["tools/list"] = [[tool("t"), tool("new")]]
    for _ in range(1000):
        child.notify("notifications/tools/list_changed")
    core.reactor.advance(5)
    assert len(core.supervisor.started) == started + 1
    assert client.heard == [jsonrpc.notification("notifications/tools/list_changed", b"")]


def test_storm_without_end_and_without_a_change_starts_ever_fewer_instances() -> None:
    script = tools()
    core = Core(OWN, script)
    client = WireClient(core, "sse")
    client.post(CALL)
    child, started = core.child("s"), len(core.supervisor.started)

    def storm(seconds: int) -> None:
        for _ in range(seconds):
            child.notify("notifications/tools/list_changed")
            core.reactor.advance(1)
            for other in core.supervisor.children:
                if other.reason:
                    other.die(0)

    storm(600)
    assert client.heard == []
    assert len(core.supervisor.started) - started < 30
    script.lists["tools/list"] = [[tool("t"), tool("new")]]
    storm(40)
    assert len(client.heard) == 1


def test_question_that_comes_while_a_session_has_no_call_and_no_stream_is_refused() -> None:
    core = Core(OWN, tools())
    client = json_only(core)
    core.open(Post(client, "request", "tools/call", b"1", b'{"name":"s__t"}'))
    child = core.child("s")
    child.result(child.sent("tools/call")[0]["id"], {})
    assert ask_roots(child)["error"]["code"] == -32601
