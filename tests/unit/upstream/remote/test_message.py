from __future__ import annotations

import json

import pytest

from metamcp.upstream.remote.message import answers, headers, messages, read, refusal


def test_kind_and_key_are_read_from_the_line() -> None:
    out = read(b'{"jsonrpc":"2.0","id":"\\u0061","method":"tools/call","params":{"name":"x"}}\n')
    assert (out.kind, out.method, out.key, out.version, out.cancels) == ("request", "tools/call", b'"a"', "", b"")
    assert read(b'{"jsonrpc":"2.0","method":"n/x","params":{"requestId":"\\u0061"}}').cancels == b'"a"'


@pytest.mark.parametrize("meta", ['"x"', "[]", '{"io.modelcontextprotocol/protocolVersion":5}', "{}", "null"])
def test_message_without_a_version_in_its_envelope_is_of_the_session(meta: str) -> None:
    line = f'{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"_meta":{meta},"t":"modelcontextprotocol"}}}}'
    out = read(line.encode())
    assert out.version == ""
    assert headers(out, "s", "v") == {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Mcp-Session-Id": "s",
        "MCP-Protocol-Version": "v",
    }


def test_name_of_a_tool_is_the_params_own_and_not_that_of_an_argument() -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    params = {"arguments": {"name": "wrong"}, "name": "right", "_meta": meta}
    out = read(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode())
    assert headers(out, "s", "v")["Mcp-Name"] == "right"
    assert "Mcp-Session-Id" not in headers(out, "s", "v")


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b" \r\n", []),
        (b'{"a":\n 1}', [b'{"a":  1}']),
        (b'[{"a":1}, {"b":2}]', [b'{"a":1}', b'{"b":2}']),
        (b"[broken", [b"[broken"]),
        (b"junk", [b"junk"]),
    ],
)
def test_data_becomes_lines(data: bytes, lines: list[bytes]) -> None:
    assert messages(data) == lines


def test_only_the_response_to_a_request_answers_it() -> None:
    assert answers(b'{"jsonrpc":"2.0","id":1,"result":{}}', b"1")
    assert answers(b'{"jsonrpc":"2.0","id":"\\u0061","error":{}}', b'"a"')
    for line in (b'{"jsonrpc":"2.0","id":"1","result":{}}', b'{"jsonrpc":"2.0","id":1,"method":"ping"}', b"junk"):
        assert not answers(line, b"1")


@pytest.mark.parametrize("body", [b"", b"junk", b"[]", b'{"error":"x"}', b'{"error":{"message":5}}', b"\xff"])
def test_body_without_an_error_message_says_nothing(body: bytes) -> None:
    assert refusal(body) == ""


def test_error_message_is_given_whole_to_be_masked_before_it_is_cut() -> None:
    assert refusal(json.dumps({"error": {"message": "x" * 1000}}).encode()) == "x" * 1000


TRACED = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"traceparent":"%s","baggage":"a=b"}}}'
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_trace_context_stands_in_headers_where_traces_are_wanted_and_only_there() -> None:
    line = TRACED % PARENT.encode()
    plain, traced = headers(read(line), "s", "v"), headers(read(line, traced=True), "s", "v")
    assert traced == plain | {"traceparent": PARENT, "baggage": "a=b"}
    assert "traceparent" not in plain
    assert read(line, traced=True).body == line
