"""From a client's body to a server's line and back: what the gateway does not change keeps its bytes."""

from __future__ import annotations

import pytest
from examples import share
from fake_core import Core, Transport, WireClient
from fake_upstream import FakeChild, Json, ScriptedServer, tool
from hypothesis import given
from hypothesis import strategies as st
from json_texts import ids, objects_of, on_one_line, scalars, values

from metamcp.config.model import ServerSpec
from metamcp.protocol import jsonrpc

HELLO = b'{"protocolVersion":"2025-11-25","capabilities":{"roots":{}, "x": "\\uD83d"},"clientInfo":{}}'
texts = values.map(str.encode)
objects = objects_of(values).map(str.encode)
tokens = ids
transports = st.sampled_from(["http", "sse"])
sizes = st.integers(1, 9)
# Deep values are slow to make.
few = share(0.6)


def begin(transport: Transport = "http") -> tuple[Core, WireClient]:
    core = Core({"s": ServerSpec("s")}, ScriptedServer({"tools/list": [[tool("t")]]}))
    return core, WireClient(core, transport, HELLO)


def say(child: FakeChild, line: bytes, size: int = 1 << 20) -> None:
    """One line of a server, in pieces."""
    data = on_one_line(line) + b"\n"
    for start in range(0, len(data), size):
        child.on_data(data[start : start + size])


def call(params: bytes = b'{"name":"s__t"}', identifier: bytes = b"1") -> bytes:
    return jsonrpc.request(identifier, "tools/call", params)


def last_id(child: FakeChild) -> bytes:
    return bytes(jsonrpc.parse(child.written[-1]).id)


@few
@given(transports, ids, texts, texts, tokens, sizes)
def test_call_and_its_progress_and_its_result_keep_every_byte(
    transport: Transport, identifier: bytes, arguments: bytes, more: bytes, token: bytes, size: int
) -> None:
    core, client = begin(transport)
    meta = b'{"x": %s, "progressToken": %s}' % (more, token)
    client.post(call(b'{"name":"s__t","arguments": %s ,"_meta":%s,"y":%s}' % (arguments, meta, more), identifier))
    child = core.child("s")
    upstream = last_id(child)
    told = b'{"name":"t","arguments":%s,"_meta":{"x":%s,"progressToken":%s},"y":%s}' % (
        arguments, more, upstream, more,
    )  # fmt: skip
    assert child.written[-1] == on_one_line(jsonrpc.request(upstream, "tools/call", told)) + b"\n"
    result, kept = on_one_line(arguments), on_one_line(more)
    say(child, jsonrpc.notification("notifications/progress", b'{"progressToken":%s,"m": %s}' % (upstream, kept)), size)
    say(child, jsonrpc.result_response(upstream, result), size)
    assert client.heard == [
        jsonrpc.notification("notifications/progress", b'{"progressToken":%s,"m":%s}' % (token, kept)),
        jsonrpc.result_response(identifier, result),
    ]


@few
@given(transports, ids, objects, sizes)
def test_error_of_a_server_keeps_every_byte(transport: Transport, identifier: bytes, error: bytes, size: int) -> None:
    core, client = begin(transport)
    client.post(call(identifier=identifier))
    child = core.child("s")
    say(child, jsonrpc.error_response(last_id(child), error), size)
    assert client.heard == [jsonrpc.error_response(identifier, on_one_line(error))]


@few
@given(transports, ids, objects, texts, st.booleans())
def test_question_of_a_server_and_its_answer_keep_every_byte(
    transport: Transport, identifier: bytes, params: bytes, answer: bytes, refused: bool
) -> None:
    core, client = begin(transport)
    client.post(call())
    child = core.child("s")
    say(child, jsonrpc.request(identifier, "roots/list", params))
    (question,) = client.heard
    asked = bytes(jsonrpc.parse(question).id)
    assert question == jsonrpc.request(asked, "roots/list", on_one_line(params))
    make = jsonrpc.error_response if refused else jsonrpc.result_response
    body = b'{"e":%s}' % answer if refused else answer
    client.post(make(asked, body))
    assert child.written[-1] == on_one_line(make(on_one_line(identifier), body)) + b"\n"


@few
@given(transports, objects)
def test_what_a_server_tells_by_itself_keeps_every_byte(transport: Transport, params: bytes) -> None:
    core, client = begin(transport)
    client.post(call())
    say(core.child("s"), jsonrpc.notification("notifications/message", params))
    assert client.heard == [jsonrpc.notification("notifications/message", on_one_line(params))]


def test_server_hears_the_hello_of_its_client_byte_for_byte() -> None:
    core, client = begin()
    client.post(call())
    assert b'"params":' + HELLO + b"}" in core.child("s").written[0]


class RawLists(ScriptedServer):
    """Lists one item, as the test has written it."""

    def __init__(self, method: str, item: bytes) -> None:
        super().__init__({method: []})
        self.item = item

    def _list(self, child: FakeChild, message: Json) -> None:
        member = message["method"].split("/")[0].encode()
        say(child, jsonrpc.result_response(b"%d" % message["id"], b'{"%s": [ %s ]}' % (member, self.item)))


@few
@given(st.dictionaries(st.text("ab\u200d", min_size=1), scalars, max_size=3), texts)
def test_listed_tool_keeps_every_byte_but_its_name(members: dict[str, str], schema: bytes) -> None:
    more = b"".join(b',"x%s":%s' % (name.encode(), value.encode()) for name, value in members.items())
    item = b'{"inputSchema":%s,"name":"t\\u0031"%s}' % (on_one_line(schema), more)
    core = Core({"s": ServerSpec("s")}, RawLists("tools/list", item))
    assert core.namespace.view.listings["tools"] == b'{"tools":[%s]}' % item.replace(b'"t\\u0031"', b'"s__t1"')


def test_listed_resource_keeps_every_byte_of_its_address() -> None:
    item = b'{"uri":"file:\\/\\/\\u0061 \\uD83D","name":"x.y z"}'
    core = Core({"s": ServerSpec("s")}, RawLists("resources/list", item))
    assert core.namespace.view.listings["resources"] == b'{"resources":[%s]}' % item
    client = WireClient(core, "http")
    client.post(jsonrpc.request(b"1", "resources/read", b'{"uri":"file://a \\ud83d"}'))
    assert core.child("s").written[-1].endswith(b'"params":{"uri":"file://a \\ud83d"}}\n')


def test_tool_whose_name_has_half_a_character_can_be_listed_and_called() -> None:
    script = ScriptedServer({"tools/list": [[tool("cut \ud83d")]]})
    core = Core({"s": ServerSpec("s")}, script)
    (shown,) = core.namespace.view.routes["tools"]
    client = WireClient(core, "http")
    client.post(call(b'{"name":"%s"}' % shown.encode()))
    assert b'"params":{"name":"cut \\ud83d"}' in core.child("s").written[-1]


@pytest.mark.parametrize("name", [rb"\ud83d", rb"s__\uDEAD", rb"s__t\ud800\ud800"])
def test_unknown_name_with_half_a_character_is_answered_with_a_clear_error(name: bytes) -> None:
    _, client = begin()
    client.post(call(b'{"name":"%s"}' % name))
    client.post(jsonrpc.request(b"2", "resources/read", b'{"uri":"%s"}' % name))
    (tool_error, resource_error) = client.heard
    assert b'"code":-32602' in tool_error
    assert b'"code":-32002' in resource_error and name.lower() in resource_error


@pytest.mark.parametrize("depth", [900, 100_000])
def test_deep_payload_passes_or_is_refused_and_harms_nobody(depth: int) -> None:
    core, client = begin()
    arguments = b"[" * depth + b"]" * depth
    try:
        client.post(call(b'{"name":"s__t","arguments":%s}' % arguments))
    except jsonrpc.ParseError as refused:
        assert depth > 1000 and "nested too deeply" in refused.text
        return
    assert arguments in core.child("s").written[-1]
