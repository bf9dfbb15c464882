from __future__ import annotations

import pytest

from metamcp.errors import InvalidRequest, RequestRefused
from metamcp.protocol import http_rules
from metamcp.protocol.http_rules import Accepts, MisdirectedRequest, NotAcceptable, UnsupportedMediaType
from metamcp.protocol.versions import HANDSHAKE

ALLOWED = frozenset({"localhost", "[::1]", "mcp.example:8443", "https://app.example", "console.example"})


@pytest.mark.parametrize(
    ("header", "json", "sse"),
    [
        (None, True, True),
        ("", True, True),
        ("*/*", True, True),
        ("application/json, text/event-stream", True, True),
        ("Application/JSON;q=0.9 , TEXT/event-stream; charset=utf-8", True, True),
        ("application/json", True, False),
        ("application/*", True, False),
        ("text/event-stream", False, True),
        ("text/*, image/png", False, True),
        ("text/html, */*;q=0.1", True, True),
    ],
)
def test_accept_says_which_kinds_the_client_takes(header: str | None, json: bool, sse: bool) -> None:
    assert http_rules.accepts(header) == Accepts(json, sse)


@pytest.mark.parametrize("header", ["text/html", "application/xml, image/*", ",", "application/jsonx"])
def test_accept_of_neither_kind_is_406(header: str) -> None:
    with pytest.raises(NotAcceptable) as caught:
        http_rules.accepts(header)
    assert caught.value.http_status == 406


@pytest.mark.parametrize("header", ["application/json", "APPLICATION/JSON", " application/json ; charset=utf-8"])
def test_json_with_any_parameters_is_taken(header: str) -> None:
    http_rules.require_json(header)


@pytest.mark.parametrize("header", [None, "", "text/plain", "application/json-rpc", "multipart/form-data"])
def test_body_that_is_not_json_is_415(header: str | None) -> None:
    with pytest.raises(UnsupportedMediaType) as caught:
        http_rules.require_json(header)
    assert caught.value.http_status == 415
    assert (header or "absent") in caught.value.text


@pytest.mark.parametrize("header", [None, "", *HANDSHAKE])
def test_known_or_absent_version_passes(header: str | None) -> None:
    http_rules.check_version(header)


@pytest.mark.parametrize("header", ["2024-10-07", "1.0", "2025-06-18 ", "DRAFT"])
def test_unknown_version_is_400_and_names_what_we_speak(header: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        http_rules.check_version(header)
    assert caught.value.http_status == 400
    assert caught.value.data == {"supported": sorted(HANDSHAKE), "requested": header}


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "LOCALHOST:1", "[::1]", "[::1]:80", "mcp.example:8443", " console.example "]
)
def test_listed_host_passes_with_any_port_unless_the_port_is_listed(host: str) -> None:
    http_rules.check_host(host, ALLOWED)


@pytest.mark.parametrize(
    "host",
    [None, "", ":80", "mcp.example", "mcp.example:80", "evil.example", "localhost.evil.example", "[::2]", "a@[::1]"],
)
def test_foreign_host_is_421(host: str | None) -> None:
    with pytest.raises(MisdirectedRequest) as caught:
        http_rules.check_host(host, ALLOWED)
    assert caught.value.http_status == 421
    assert "METAMCP_ALLOWED_HOSTS" in caught.value.text


@pytest.mark.parametrize(
    "origin", [None, "", "http://localhost:5173", "https://app.example", "HTTPS://App.Example", "http://[::1]:6274"]
)
def test_absent_or_listed_origin_passes(origin: str | None) -> None:
    http_rules.check_origin(origin, ALLOWED)


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "http://app.example", "http://localhost.evil.example", "file://", "http://"]
)
def test_foreign_origin_is_403(origin: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        http_rules.check_origin(origin, ALLOWED)
    assert caught.value.http_status == 403


@pytest.mark.parametrize("check", [http_rules.check_host, http_rules.check_origin])
def test_empty_list_allows_nobody(check: object) -> None:
    assert callable(check)
    with pytest.raises(RequestRefused):
        check("http://localhost", ())
