from __future__ import annotations

import pytest

from metamcp.upstream.remote.address import endpoint, same_origin, shown


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://a/x", "http://a/y?z"),
        ("http://a", "http://A:80/"),
        ("https://a/", "https://a:443/b"),
        ("http://[::1]:8/", "http://[::1]:8/x"),
    ],
)
def test_same_scheme_host_and_port_is_one_origin(one: str, other: str) -> None:
    assert same_origin(one, other)


@pytest.mark.parametrize(
    "other", ["https://a/x", "http://b/x", "http://a:8080/x", "http://a.evil/x", "http://a:port/x", "/x", "http://[a"]
)
def test_another_scheme_host_or_port_is_another_origin(other: str) -> None:
    assert not same_origin("http://a/x", other)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("/m?sessionId=1", "http://a:1/m?sessionId=1"),
        ("m", "http://a:1/gate/m"),
        ("?s=1", "http://a:1/gate/sse?s=1"),
        (" http://a:1/x\n", "http://a:1/x"),
        ("http://b:1/x", None),
        ("//b/x", None),
        ("https://a:1/x", None),
        ("http://[a", None),
        ("", None),
    ],
)
def test_endpoint_is_resolved_against_the_stream_and_stays_at_its_origin(written: str, found: str | None) -> None:
    assert endpoint("http://a:1/gate/sse", written) == found


def test_only_scheme_host_and_port_are_shown() -> None:
    assert shown("https://user:key@mcp.example.com/secret/mcp?key=x#y") == "https://mcp.example.com"
    assert shown("http://[::1]:8080/mcp") == "http://[::1]:8080"
    assert shown("http://a:port/") == "its url"
