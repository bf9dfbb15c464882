"""Fetching the keys of an issuer: over real connections, bounded, and never somewhere else."""

from __future__ import annotations

import json

import pytest
from issuer import running_issuer
from loopback import Line, loopback

from metamcp.access import fetch
from metamcp.access.fetch import FetchFailed, fetch_keys, metadata_urls


def test_keys_are_found_at_their_address_and_through_the_issuers_metadata() -> None:
    with running_issuer() as issuer:
        assert fetch_keys(issuer.url, f"{issuer.url}/keys") == [issuer.keys[0].jwk]
        assert issuer.asked == ["/keys"]
        assert fetch_keys(issuer.url, issuer.url) == [issuer.keys[0].jwk]
        assert issuer.asked[1:] == [
            "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/keys",
        ]  # fmt: skip


def test_metadata_is_looked_for_where_clients_do() -> None:
    assert list(metadata_urls("https://a.example/realms/one/")) == [
        "https://a.example/.well-known/oauth-authorization-server/realms/one",
        "https://a.example/.well-known/openid-configuration/realms/one",
        "https://a.example/realms/one/.well-known/openid-configuration",
    ]


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://other.example", "jwks_uri": "http://localhost/keys"},
        {"jwks_uri": "http://localhost/keys"},
        {"issuer": "ISSUER"},
        {"issuer": "ISSUER", "jwks_uri": "http://keys.example/keys"},
        {"issuer": "ISSUER", "jwks_uri": "file:///etc/passwd"},
        ["ISSUER"],
    ],
)
def test_metadata_of_somebody_else_or_to_a_place_that_cannot_be_trusted_is_refused(metadata: object) -> None:
    url = ""
    with loopback(lambda line: line.answer("200 OK", json.dumps(metadata).replace("ISSUER", url).encode())) as server:
        url = server.url.removesuffix("/mcp")
        with pytest.raises(FetchFailed):
            fetch_keys(url, url)


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        ("404 Not Found", b"", "404"),
        ("200 OK", b"<html>", "no JSON"),
        ("200 OK", b"[]", "no JSON object"),
        ("200 OK", b'{"keys": {}}', "no JWK set"),
        ("200 OK", b"[" * 100_000, "no JSON"),
        ("200 OK", b'{"keys": [' + b" " * fetch.MAX_BYTES + b"]}", "KiB"),
    ],
)
def test_what_is_no_set_of_keys_is_told_with_its_address(status: str, body: bytes, text: str) -> None:
    with loopback(lambda line: line.answer(status, body)) as server:
        with pytest.raises(FetchFailed, match=text) as failed:
            fetch_keys("https://a.example", server.url)
        assert server.url in str(failed.value)


def test_no_redirect_is_followed() -> None:
    with running_issuer() as issuer:
        where = f"Location: {issuer.url}/keys"
        with loopback(lambda line: line.answer("302 Found", b"", where)) as server, pytest.raises(FetchFailed):
            fetch_keys("https://a.example", server.url)
        assert issuer.asked == []


def test_an_answer_that_drips_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "DEADLINE_SECONDS", 0.3)

    def drip(line: Line) -> None:
        line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(100_000):
            line.say(b" ")

    with loopback(drip) as server, pytest.raises(FetchFailed):
        fetch_keys("https://a.example", server.url)


def test_nobody_there_is_told_too() -> None:
    with running_issuer() as issuer:
        url = issuer.url
    with pytest.raises(FetchFailed, match="ConnectionError"):
        fetch_keys(url, f"{url}/keys")


def test_no_more_keys_than_the_bound_are_taken() -> None:
    body = json.dumps({"keys": [{"kid": str(number)} for number in range(1000)] + [5]}).encode()
    with loopback(lambda line: line.answer("200 OK", body)) as server:
        assert len(fetch_keys("https://a.example", server.url)) == fetch.MAX_KEYS
