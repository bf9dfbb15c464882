from __future__ import annotations

import json
from typing import Any

import pytest

from metamcp.errors import ServerMisbehaved
from metamcp.protocol import translate
from metamcp.protocol.envelope import SERVER_INFO
from metamcp.protocol.translate import CACHEABLE

INFO = b'{"name": "gateway"}'


def stateless(result: bytes, method: str = "tools/call", **options: Any) -> Any:
    return json.loads(translate.to_stateless(method, result, INFO, **options))


def asking(requests: str) -> bytes:
    return b'{"resultType":"input_required","inputRequests":' + requests.encode() + b',"requestState":"s" }'


def test_each_question_of_a_result_becomes_what_is_made_of_it() -> None:
    seen: list[tuple[str, bytes]] = []

    def asked(method: str, params: bytes) -> bytes:
        seen.append((method, params))
        return b'{"b":2}' if params else b""

    result = asking('{"x":{"method":"m","params":{"a": 1},"more":3},"y":{"method":"roots/list"}}')
    assert json.loads(translate.with_questions(result, asked)) == {
        "resultType": "input_required", "requestState": "s",
        "inputRequests": {"x": {"method": "m", "params": {"b": 2}, "more": 3}, "y": {"method": "roots/list"}},
    }  # fmt: skip
    assert seen == [("m", b'{"a": 1}'), ("roots/list", b"")]


def test_params_that_are_taken_away_from_a_question_are_gone() -> None:
    found = translate.with_questions(asking('{"x":{"method":"m","params":{"a":1}}}'), lambda *_: b"")
    assert json.loads(found)["inputRequests"] == {"x": {"method": "m"}}


@pytest.mark.parametrize(
    "raw",
    [b'{ "content":[] }', b'{"resultType":"complete","inputRequests":{"x":{"method":"m"}}}',
     b'{"resultType":"input_required","requestState":"s"}'],
)  # fmt: skip
def test_result_that_asks_nothing_keeps_its_bytes(raw: bytes) -> None:
    assert translate.with_questions(raw, lambda *_: pytest.fail("nothing is asked")) == raw


def test_spelling_of_the_type_hides_no_question() -> None:
    raw = asking('{"x":{"method":"m"}}').replace(b"input_required", b"input\\u005frequired")
    assert b"{}" in translate.with_questions(raw, lambda *_: b"{}")


@pytest.mark.parametrize("requests", ['[1]', '{"x":1}', '{"x":{}}', '{"x":{"method":1}}'])
def test_questions_that_cannot_be_read_are_the_servers_fault(requests: str) -> None:
    with pytest.raises(ServerMisbehaved):
        translate.with_questions(asking(requests), lambda _method, params: params)


# --- results for 2026-07-28 --------------------------------------------------------------------------------


def test_a_result_gets_its_type_and_the_servers_name() -> None:
    assert stateless(b'{"content":[]}') == {
        "content": [],
        "resultType": "complete",
        "_meta": {SERVER_INFO: {"name": "gateway"}},
    }


def test_what_a_result_has_already_stays() -> None:
    given = {"resultType": "task", "_meta": {SERVER_INFO: {"name": "other"}, "k": 1}, "x": 1}
    assert stateless(json.dumps(given).encode()) == given


def test_meta_keeps_its_other_keys() -> None:
    assert stateless(b'{"_meta":{"k":1}}')["_meta"] == {"k": 1, SERVER_INFO: {"name": "gateway"}}


def test_unchanged_members_keep_their_bytes_and_order() -> None:
    found = translate.to_stateless("tools/call", b'{"b": {"n": 1.50}, "a":"\\u0061","_meta":{"k": [1 ]}}', INFO)
    assert found.startswith(b'{"b":{"n": 1.50},"a":"\\u0061","_meta":{"k":[1 ],')
    assert INFO in found


@pytest.mark.parametrize("method", sorted(CACHEABLE))
def test_cacheable_results_say_how_long_they_hold(method: str) -> None:
    found = stateless(b"{}", method)
    assert (found["ttlMs"], found["cacheScope"]) == (0, "private")
    found = stateless(b'{"ttlMs":5}', method, ttl_ms=60_000, scope="public")
    assert (found["ttlMs"], found["cacheScope"]) == (5, "public")


@pytest.mark.parametrize("method", ["tools/call", "prompts/get", "completion/complete", "subscriptions/listen"])
def test_other_results_do_not(method: str) -> None:
    assert not {"ttlMs", "cacheScope"} & set(stateless(b"{}", method))


def test_a_result_that_asks_for_input_is_never_cached() -> None:
    found = stateless(b'{"resultType":"input_required","requestState":"s"}', "resources/read")
    assert found["resultType"] == "input_required" and "ttlMs" not in found


def test_null_is_as_good_as_absent() -> None:
    found = stateless(b'{"_meta":null,"resultType":null,"ttlMs":null,"cacheScope":null}', "tools/list")
    assert (found["resultType"], found["ttlMs"], found["cacheScope"]) == ("complete", 0, "private")
    assert found["_meta"] == {SERVER_INFO: {"name": "gateway"}}


@pytest.mark.parametrize("result", [b"[]", b"null", b'"text"', b"7"])
def test_a_result_that_is_no_object_is_the_servers_fault(result: bytes) -> None:
    with pytest.raises(ServerMisbehaved):
        translate.to_stateless("tools/call", result, INFO)


# --- errors for 2026-07-28 ---------------------------------------------------------------------------------


def error(raw: bytes, method: str = "resources/read", uri: str = "test://x") -> Any:
    return json.loads(translate.error_to_stateless(method, raw, uri))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", {"uri": "test://x"}),
        (b',"data":null', {"uri": "test://x"}),
        (b',"data":"gone"', {"uri": "test://x"}),
        (b',"data":{"why":"gone"}', {"why": "gone", "uri": "test://x"}),
        (b',"data":{"uri":"test://own"}', {"uri": "test://own"}),
    ],
)
def test_a_resource_that_is_not_found_is_invalid_params_with_its_uri(data: bytes, expected: Any) -> None:
    found = error(b'{"code":-32002,"message":"m"' + data + b"}")
    assert found == {"code": -32602, "message": "m", "data": expected}


def test_the_old_code_leaves_no_other_method_either() -> None:
    raw = b'{"code":-32002,"message":"m","data":"d"}'
    assert error(raw, "tools/call", "") == {"code": -32602, "message": "m", "data": "d"}


@pytest.mark.parametrize("code", [-32042, -32023, -32099])
def test_reserved_codes_without_a_meaning_become_internal_errors(code: int) -> None:
    assert error(b'{"code":%d,"message":"m","data":1}' % code) == {"code": -32603, "message": "m", "data": 1}


@pytest.mark.parametrize(
    "raw",
    [b'{"code": -32602, "message":"m"}', b'{"code":-32021 ,"message":"m"}', b'{"code":-32001,"message":"m" }',
     b'{"code":-32100,"message": "m"}', b'{"code":"-32002"}', b"{ }"],
)  # fmt: skip
def test_other_errors_keep_their_bytes(raw: bytes) -> None:
    assert translate.error_to_stateless("resources/read", raw, "test://x") is raw


def test_an_error_that_is_no_object_is_the_servers_fault() -> None:
    with pytest.raises(ServerMisbehaved):
        translate.error_to_stateless("tools/call", b'"text"', "")


# --- URL elicitations --------------------------------------------------------------------------------------


def asked(raw: bytes) -> Any:
    found = translate.elicitations_of(raw)
    return found and [{name: json.loads(bytes(value)) for name, value in each.items()} for each in found]


def test_url_elicitations_become_params_without_their_id() -> None:
    raw = (
        b'{"code":-32042,"message":"m","data":{"elicitations":['
        b'{"mode":"url","elicitationId":"e1","url":"https://a","message":"A"},{"url":"https://b","message":"B"}]}}'
    )
    assert asked(raw) == [
        {"mode": "url", "url": "https://a", "message": "A"},
        {"mode": "url", "url": "https://b", "message": "B"},
    ]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"code":-32602,"message":"m","data":{"elicitations":[{"url":"u"}]}}',
        b'{"code":-32042,"message":"m"}',
        b'{"code":-32042,"data":{}}',
        b'{"code":-32042,"data":{"elicitations":[]}}',
        b'{"code":-32042,"data":{"elicitations":["u"]}}',
        b'{"code":-32042,"data":"text"}',
        b'"text"',
    ],
)
def test_an_error_that_asks_for_nothing_readable_has_no_elicitations(raw: bytes) -> None:
    assert asked(raw) is None


# --- results for older clients -----------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"[1]", b"7", b"null", b'"text"', b"true"])
def test_structured_content_that_is_no_object_is_removed(content: bytes) -> None:
    raw = b'{"content":[ ],"structuredContent":' + content + b',"resultType":"complete"}'
    assert translate.to_handshake("tools/call", raw) == b'{"content":[ ],"resultType":"complete"}'


@pytest.mark.parametrize("schema", [b'{"type":"array"}', b'{"type":["object"]}', b'{"anyOf":[]}', b"true", b"null"])
def test_an_output_schema_of_another_type_is_removed(schema: bytes) -> None:
    raw = b'{"tools":[{"name":"a","outputSchema":' + schema + b'},{"name":"b","x": 1}],"ttlMs": 0}'
    assert translate.to_handshake("tools/list", raw) == b'{"tools":[{"name":"a"},{"name":"b","x": 1}],"ttlMs":0}'


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("tools/call", b'{"structuredContent": {"a":1}}'),
        ("tools/call", b'{"content": []}'),
        ("tools/list", b'{"tools": [{"outputSchema": {"type":"object"}},{}]}'),
        ("tools/list", b'{ "other":1}'),
        ("prompts/get", b'{"structuredContent": 7}'),
        ("resources/read", b"[]"),
    ],
)
def test_what_older_clients_take_keeps_its_bytes(method: str, raw: bytes) -> None:
    assert translate.to_handshake(method, raw) is raw


@pytest.mark.parametrize("raw", [b"[]", b'{"tools":7}', b'{"tools":[7]}'])
def test_a_listing_that_is_none_is_the_servers_fault(raw: bytes) -> None:
    with pytest.raises(ServerMisbehaved):
        translate.to_handshake("tools/list", raw)
