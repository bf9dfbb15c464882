from __future__ import annotations

import json
from typing import Any

import pytest

from metamcp.errors import MissingClientCapability
from metamcp.protocol import ladder
from metamcp.protocol.envelope import CLIENT_CAPABILITIES, CLIENT_INFO, PROTOCOL_VERSION, REVISION
from metamcp.protocol.headers import Headers
from metamcp.protocol.http_rules import Accepts
from metamcp.protocol.ladder import METHODS, Asked, Refused, Told, climb
from metamcp.protocol.versions import HANDSHAKE

META = {PROTOCOL_VERSION: REVISION, CLIENT_CAPABILITIES: {}}
REMOVED = (
    "initialize",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
    "tasks/list",
    "tasks/result",
)


def post(method: str = "tools/list", identifier: Any = 1, meta: Any = META, **params: Any) -> bytes:
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": identifier, "method": method}
    message["params"] = params if meta is None else params | {"_meta": meta}
    return json.dumps(message).encode()


def fields(method: str | None = "tools/list", name: str | None = None, **others: str | None) -> Headers:
    sent = {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": REVISION,
        "Mcp-Method": method,
        "Mcp-Name": name,
    } | {key.replace("_", "-"): value for key, value in others.items()}
    return Headers([(key, value) for key, value in sent.items() if value is not None])


def refused(headers: Headers, body: bytes) -> tuple[int, int, bytes]:
    """Code, HTTP status and echoed id."""
    found = climb(headers, body)
    assert isinstance(found, Refused), found
    return found.error.code, found.error.http_status, found.id


MISMATCH = (-32020, 400, b"1")


# --- what passes -------------------------------------------------------------------------------------------


def test_a_request_that_passes_is_described_as_it_was_asked() -> None:
    body = post("tools/call", "a\u00e9", META | {CLIENT_INFO: {"name": "c"}}, name="echo", arguments={"n": 1})
    found = climb(fields("tools/call", "echo", Mcp_Param_Region="=?base64?w6k=?=", Mcp_Param_Bad="\xff"), body)
    assert isinstance(found, Asked)
    assert (found.id, found.method, found.accepts) == (b'"a\\u00e9"', "tools/call", Accepts(json=True, sse=True))
    assert json.loads(found.params)["arguments"] == {"n": 1}
    assert (found.envelope.version, bytes(found.envelope.client_info)) == (REVISION, b'{"name": "c"}')
    assert found.mirrored == {"region": "é", "bad": None}


@pytest.mark.parametrize("method", sorted(METHODS - set(ladder.NAMED)))
def test_every_method_without_a_name_passes_without_one(method: str) -> None:
    found = climb(fields(method), post(method))
    assert isinstance(found, Asked) and found.method == method


@pytest.mark.parametrize("method", sorted(METHODS - set(ladder.NAMED)))
def test_a_name_that_mirrors_nothing_is_ignored(method: str) -> None:
    assert isinstance(climb(fields(method, "whatever"), post(method, name="other", uri="u:x")), Asked)


@pytest.mark.parametrize(
    ("method", "source"), [("tools/call", "name"), ("prompts/get", "name"), ("resources/read", "uri")]
)
@pytest.mark.parametrize("header", ["t://é", None])
def test_a_name_is_decoded_before_it_is_compared(method: str, source: str, header: str | None) -> None:
    coded = "  =?base64?dDovL8OpIA==?= "  # "t://é "
    assert isinstance(climb(fields(method, coded), post(method, **{source: "t://é "})), Asked)
    assert refused(fields(method, header), post(method, **{source: "t://é "})) == MISMATCH


def test_blanks_around_a_name_do_not_count() -> None:
    assert isinstance(climb(fields("tools/call", " \techo  "), post("tools/call", name="echo")), Asked)


def test_header_names_are_read_in_any_case() -> None:
    given = [("ACCEPT", "*/*"), ("content-type", "application/json"), ("mcp-protocol-version", REVISION)]
    assert isinstance(climb(Headers([*given, ("MCP-METHOD", "tools/list")]), post()), Asked)


@pytest.mark.parametrize("identifier", [b"0", b"-7", b'"0"', b'""', b"12345678901234567890123"])
def test_an_id_is_echoed_in_value_and_type(identifier: bytes) -> None:
    body = post("nope").replace(b'"id": 1', b'"id": ' + identifier)
    assert refused(fields("nope"), body) == (-32601, 404, identifier)


# --- the rungs in their order ------------------------------------------------------------------------------


def test_an_accept_of_neither_kind_is_406_and_another_body_type_415() -> None:
    assert refused(fields(Accept="text/html"), post())[1:] == (406, b"")
    assert refused(fields(Content_Type="text/plain"), post())[1:] == (415, b"")


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/event-stream"])
def test_a_lax_accept_is_taken(accept: str | None) -> None:
    assert isinstance(climb(fields(Accept=accept), post()), Asked)


def test_a_body_that_is_no_json_is_a_parse_error_without_id() -> None:
    assert refused(fields(), b'{"jsonrpc":"2.0","id":1,') == (-32700, 400, b"")


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"[" + post() + b"]",
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}',
        b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}',
        b'{"jsonrpc":"1.0","id":1,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}',
        b'{"jsonrpc":"2.0","id":1,"method":7}',
        b"7",
    ],
)
def test_a_batch_a_response_and_a_malformed_message_are_invalid_requests(body: bytes) -> None:
    assert refused(fields(), body) == (-32600, 400, b"")


def test_a_notification_is_taken_whatever_its_headers_lack() -> None:
    body = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}'
    assert climb(fields(method=None), body) == Told()


def test_a_notification_of_a_version_that_is_not_served_is_told_so() -> None:
    found = climb(fields(MCP_Protocol_Version="v999.0.0"), b'{"jsonrpc":"2.0","method":"notifications/x"}')
    assert isinstance(found, Refused) and (found.error.code, found.id) == (-32022, b"")


@pytest.mark.parametrize("name", ["MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"])
def test_a_routing_header_that_came_twice_is_refused_before_the_body_is_judged(name: str) -> None:
    twice = Headers([("Accept", "*/*"), ("Content-Type", "application/json"), (name, "x"), (name.upper(), "x")])
    assert refused(twice, post(meta=None)) == MISMATCH


def test_routing_headers_that_wsgi_has_joined_are_refused() -> None:
    for name, value in (("MCP_Protocol_Version", f"{REVISION},{REVISION}"), ("Mcp_Method", "tools/list, tools/list")):
        assert refused(fields(**{name: value}), post(meta=None)) == MISMATCH


@pytest.mark.parametrize(
    "meta",
    [None, "x", [], {}, {PROTOCOL_VERSION: REVISION}, {CLIENT_CAPABILITIES: {}}, META | {CLIENT_CAPABILITIES: 1}],
)
def test_a_defective_envelope_is_invalid_params_before_headers_are_compared(meta: Any) -> None:
    assert refused(fields(method="other"), post(meta=meta)) == (-32602, 400, b"1")


def test_each_mandatory_header_is_missed_and_compared() -> None:
    body = post("tools/call", name="echo")
    assert isinstance(climb(fields("tools/call", "echo"), body), Asked)
    for wrong in (
        fields("tools/call", "echo", MCP_Protocol_Version=None),
        fields("tools/call", "echo", MCP_Protocol_Version="v999.0.0"),
        fields(None, "echo"),
        fields("Tools/Call", "echo"),
        fields("tools/call", None),
        fields("tools/call", "Echo"),
        fields("tools/call", "=?base64?ZWNobw?="),
        fields("tools/call", "ech\u00f6"),
    ):
        assert refused(wrong, body) == MISMATCH


def test_a_name_in_the_body_that_is_no_string_equals_no_header() -> None:
    assert refused(fields("tools/call", "5"), post("tools/call", name=5)) == MISMATCH


@pytest.mark.parametrize("params", [{}, {"name": None}])
def test_a_body_without_a_name_is_left_to_the_handler(params: dict[str, Any]) -> None:
    assert isinstance(climb(fields("tools/call", None), post("tools/call", **params)), Asked)


@pytest.mark.parametrize("meta", [META | {PROTOCOL_VERSION: "v999.0.0"}, None, {}])
def test_a_version_that_is_not_served_is_told_with_what_is(meta: Any) -> None:
    found = climb(fields(MCP_Protocol_Version="v999.0.0"), post(meta=meta))
    assert isinstance(found, Refused)
    assert (found.error.code, found.error.http_status, found.id) == (-32022, 400, b"1")
    assert found.error.data == {"supported": [REVISION], "requested": "v999.0.0"}


def test_a_version_of_the_handshake_era_in_the_envelope_is_not_served() -> None:
    # Only a caller that routes by the body comes here with such a header.
    body = post(meta=META | {PROTOCOL_VERSION: "2025-11-25"})
    assert refused(fields(MCP_Protocol_Version="2025-11-25"), body) == (-32022, 400, b"1")


@pytest.mark.parametrize("method", [*REMOVED, "unknown/method", "notifications/cancelled", ""])
def test_a_removed_or_unknown_method_is_404(method: str) -> None:
    assert refused(fields(method), post(method)) == (-32601, 404, b"1")


def test_a_listen_of_a_client_that_takes_no_stream_is_406() -> None:
    assert refused(fields(ladder.LISTEN, Accept="application/json"), post(ladder.LISTEN))[1:] == (406, b"1")


@pytest.mark.parametrize(
    ("mode", "needed"), [("", {"sampling": {}}), ("tools", {"sampling": {"tools": {}}})]
)
def test_a_missing_capability_is_named_in_the_shape_of_client_capabilities(mode: str, needed: Any) -> None:
    found = climb(fields(), post())
    assert isinstance(found, Asked)
    with pytest.raises(MissingClientCapability) as caught:
        ladder.require(found.envelope, "sampling", mode)
    assert caught.value.as_jsonrpc()["data"] == {"requiredCapabilities": needed}
    assert (caught.value.code, caught.value.http_status) == (-32021, 400)


def test_a_declared_capability_is_enough() -> None:
    found = climb(fields(), post(meta=META | {CLIENT_CAPABILITIES: {"sampling": {}}}))
    assert isinstance(found, Asked)
    ladder.require(found.envelope, "sampling")


# --- statuses and eras -------------------------------------------------------------------------------------


def test_the_status_of_an_error_in_a_json_body() -> None:
    bad = (-32700, -32600, -32602, -32020, -32021, -32022)
    assert {ladder.http_status(code) for code in bad} == {400}
    assert ladder.http_status(-32601) == 404
    assert {ladder.http_status(code) for code in (-32603, -32000, -31001, 0, 1)} == {200}


MODERN = json.dumps({"_meta": META}).encode()
JUNK = "v999.0.0"


@pytest.mark.parametrize(
    ("header", "method", "params", "era"),
    [
        *[(version, "tools/list", MODERN, "handshake") for version in HANDSHAKE],
        (REVISION, "tools/list", b"", "stateless"),
        (REVISION, "initialize", b"", "stateless"),
        (f" {REVISION}\t", None, b"", "stateless"),
        (JUNK, "tools/list", b"{}", "stateless"),
        (JUNK, "initialize", MODERN, "stateless"),
        (JUNK, "initialize", b"{}", "handshake"),
        (None, "initialize", MODERN, "handshake"),
        (None, "tools/list", MODERN, "stateless"),
        (None, "tools/list", b'{"_meta":{"progressToken":1}}', "handshake"),
        (None, "tools/list", b"", "handshake"),
        ("", "tools/list", b"", "handshake"),
        (None, None, b"", "handshake"),
    ],
)
def test_the_version_header_decides_and_without_it_the_envelope(
    header: str | None, method: str | None, params: bytes, era: str
) -> None:
    assert ladder.era(header, method, params) == era


@pytest.mark.parametrize("body", [b"[]", b"{", b"", post()])
def test_a_body_that_is_no_message_belongs_to_the_era_of_its_header(body: bytes) -> None:
    assert ladder.era_of(fields(), body) == "stateless"
    assert ladder.era_of(fields(MCP_Protocol_Version="2025-03-26"), body) == "handshake"


def test_without_a_header_only_a_modern_message_is_modern() -> None:
    bare = fields(MCP_Protocol_Version=None)
    assert ladder.era_of(bare, post()) == "stateless"
    response = b'{"jsonrpc":"2.0","id":1,"result":1}'
    for body in (b"[" + post() + b"]", b"{", post(meta=None), post("initialize"), response):
        assert ladder.era_of(bare, body) == "handshake"
    assert ladder.era_of(fields(MCP_Protocol_Version=JUNK), b"[]") == "stateless"


def test_a_request_without_the_version_header_is_a_mismatch() -> None:
    assert refused(fields(MCP_Protocol_Version=None), post()) == MISMATCH
