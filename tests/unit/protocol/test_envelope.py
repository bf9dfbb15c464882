from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.errors import InvalidParams
from metamcp.protocol import envelope, jsonrpc
from metamcp.protocol.envelope import (
    CLIENT_CAPABILITIES,
    CLIENT_INFO,
    LOG_LEVEL,
    PROTOCOL_VERSION,
    REVISION,
    declares,
)
from metamcp.protocol.jsonrpc import JsonObject

OURS = (PROTOCOL_VERSION, CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL)
REQUIRED = {PROTOCOL_VERSION: REVISION, CLIENT_CAPABILITIES: {}}


def members(value: dict[str, Any] | bytes) -> JsonObject:
    return jsonrpc.decode_object(value if isinstance(value, bytes) else json.dumps(value).encode())


def plain(params: JsonObject) -> Any:
    return json.loads(jsonrpc.encode(params))


# --- read --------------------------------------------------------------------------------------------------


def test_the_whole_envelope_is_read_with_raw_client_info() -> None:
    found = envelope.read(
        members(
            b'{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
            b'"io.modelcontextprotocol/clientCapabilities":{"roots":{ }},'
            b'"io.modelcontextprotocol/clientInfo":{"name": "c"},"io.modelcontextprotocol/logLevel":"warning"}}'
        )
    )
    assert (found.version, found.log_level) == (REVISION, "warning")
    assert {name: bytes(raw) for name, raw in found.capabilities.items()} == {"roots": b"{ }"}
    assert bytes(found.client_info) == b'{"name": "c"}'


def test_client_info_and_log_level_may_be_absent() -> None:
    found = envelope.read(members({"_meta": REQUIRED}))
    assert (bytes(found.client_info), found.log_level, found.capabilities) == (b"", "", {})


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({}, PROTOCOL_VERSION),
        ({"_meta": {}}, CLIENT_CAPABILITIES),
        ({"_meta": {PROTOCOL_VERSION: REVISION}}, CLIENT_CAPABILITIES),
        ({"_meta": {CLIENT_CAPABILITIES: {}}}, PROTOCOL_VERSION),
        ({"_meta": None}, "_meta"),
        ({"_meta": "x"}, "_meta"),
        ({"_meta": []}, "_meta"),
        ({"_meta": REQUIRED | {PROTOCOL_VERSION: 20260728}}, PROTOCOL_VERSION),
        ({"_meta": REQUIRED | {CLIENT_CAPABILITIES: None}}, CLIENT_CAPABILITIES),
        ({"_meta": REQUIRED | {CLIENT_CAPABILITIES: ["roots"]}}, CLIENT_CAPABILITIES),
        ({"_meta": REQUIRED | {LOG_LEVEL: 3}}, LOG_LEVEL),
        ({"_meta": REQUIRED | {LOG_LEVEL: "verbose"}}, LOG_LEVEL),
    ],
)
def test_a_defect_is_invalid_params_and_is_named(params: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        envelope.read(members(params))
    assert named in caught.value.text and (caught.value.code, caught.value.http_status) == (-32602, 400)


# --- is_modern ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "modern"),
    [
        (b"", False),
        (b"{}", False),
        (b"[]", False),
        (b'{"_meta":{"progressToken":1}}', False),
        (b'{"_meta":[]}', False),
        (b'{"_meta":null}', False),
        (b'{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}', False),
        (b'{"_meta":{"io.modelcontextprotocol/clientCapabilities":{}}}', False),
        (b'{"_meta":{"io.modelcontextprotocol/protocolVersion":"v999"}}', True),
        (b'{"_meta":{"io.modelcontextprotocol\\/protocolVersion":null}}', True),
    ],
)
def test_only_the_reserved_version_key_marks_a_modern_request(params: bytes, modern: bool) -> None:
    assert envelope.is_modern(params) is modern


# --- strip and wrap ----------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
names = st.sampled_from(["progressToken", "traceparent", "com.example/key", *OURS]) | st.text(max_size=4)
metas = st.dictionaries(names, json_values, max_size=5)
requests = st.builds(
    lambda others, meta: others | ({} if meta is None else {"_meta": meta}),
    st.dictionaries(st.sampled_from(["name", "arguments", "uri", "cursor"]), json_values),
    st.none() | metas,
)


@given(requests)
def test_strip_removes_the_envelope_and_nothing_else(params: dict[str, Any]) -> None:
    kept = {key: value for key, value in params.get("_meta", {}).items() if key not in OURS}
    expected = {key: value for key, value in params.items() if key != "_meta"} | ({"_meta": kept} if kept else {})
    assert plain(envelope.strip(members(params))) == expected


@given(requests, st.sampled_from(["", "debug"]))
def test_what_wrap_adds_is_read_again_and_stripped_again(params: dict[str, Any], level: str) -> None:
    wrapped = envelope.wrap(members(params), b'{"sampling":{}}', b'{"name":"c"}', level)
    found = envelope.read(wrapped)
    assert (found.version, bytes(found.client_info), found.log_level) == (REVISION, b'{"name":"c"}', level)
    assert {name: bytes(raw) for name, raw in found.capabilities.items()} == {"sampling": b"{}"}
    assert plain(envelope.strip(wrapped)) == plain(envelope.strip(members(params)))


ODD = b'{"name":"a\\u0062","arguments":{"n": 1.50, "big": 123456789012345678901234567890},"_meta":{"k": [1 ,2]}}'


def test_members_that_do_not_change_keep_their_bytes() -> None:
    params = members(ODD)
    assert jsonrpc.encode(envelope.strip(params)) == ODD
    wrapped = envelope.wrap(params, b'{ "roots" : {} }', b"{ }")
    for name in ("name", "arguments"):
        assert bytes(wrapped[name]) == bytes(params[name])
    meta = jsonrpc.decode_object(wrapped["_meta"])
    assert bytes(meta["k"]) == b"[1 ,2]"
    assert bytes(meta[CLIENT_CAPABILITIES]) == b'{ "roots" : {} }'
    assert bytes(meta[CLIENT_INFO]) == b"{ }"


def test_what_they_are_given_is_left_alone() -> None:
    params = members({"_meta": REQUIRED | {"k": 1}, "name": "x"})
    before = jsonrpc.encode(params)
    envelope.strip(params)
    envelope.wrap(params, b"{}")
    assert jsonrpc.encode(params) == before


@pytest.mark.parametrize("meta", [b'"text"', b"null", b"[1]"])
def test_a_meta_that_is_no_object_is_left_for_its_reader_by_strip_and_refused_by_wrap(meta: bytes) -> None:
    params = members(b'{"_meta":' + meta + b"}")
    assert bytes(envelope.strip(params)["_meta"]) == meta
    with pytest.raises(InvalidParams):
        envelope.wrap(params, b"{}")


@pytest.mark.parametrize(
    ("given_", "expected"), [(b"", b"{}"), (b'{"tasks":{},"roots":{"x": 1}}', b'{"roots":{"x": 1}}')]
)
def test_capabilities_lose_their_tasks(given_: bytes, expected: bytes) -> None:
    meta = jsonrpc.decode_object(envelope.wrap({}, given_)["_meta"])
    assert bytes(meta[CLIENT_CAPABILITIES]) == expected
    assert CLIENT_INFO not in meta and LOG_LEVEL not in meta


def test_the_envelope_of_another_client_does_not_pass_through_wrap() -> None:
    params = members({"_meta": REQUIRED | {LOG_LEVEL: "debug", CLIENT_INFO: {"name": "other"}}})
    assert plain(envelope.wrap(params, b"{}"))["_meta"] == REQUIRED


# --- capabilities ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capabilities", "kind", "mode", "declared"),
    [
        ({}, "roots", "", False),
        ({"roots": {}}, "roots", "", True),
        ({"roots": None}, "roots", "", False),
        ({"elicitation": {}}, "elicitation", "form", True),
        ({"elicitation": {}}, "elicitation", "url", False),
        ({"elicitation": {"url": {}}}, "elicitation", "url", True),
        ({"elicitation": {"url": {}}}, "elicitation", "form", False),
        ({"sampling": {}}, "sampling", "tools", False),
        ({"sampling": {}}, "sampling", "form", False),
        ({"sampling": {"tools": {}}}, "sampling", "tools", True),
    ],
)
def test_what_a_client_has_declared(capabilities: dict[str, Any], kind: str, mode: str, declared: bool) -> None:
    assert declares(members(capabilities), kind, mode) is declared
