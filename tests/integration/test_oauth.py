"""Tokens of OAuth over real gunicorn, with an issuer on loopback that publishes its keys."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from gateway_process import GatewayProcess, eventually, process_server, running_gateway
from issuer import Issuer, SigningKey, claims, running_issuer
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from requests import Response

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with running_issuer() as made:
        yield made


@pytest.fixture(scope="module")
def gateway(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    oauth = {"issuer": issuer.url, "scopes": ["mcp"]}
    nowhere = {"issuer": "http://localhost:9", "jwksUrl": "http://localhost:9/keys"}
    endpoints: dict[str, Any] = {
        "default": {"namespace": "default", "auth": "oauth"},
        "dev": {"namespace": "default", "auth": "oauth"},
        "named": {"namespace": "default", "auth": "oauth", "oauth": oauth | {"audience": "api://gateway"}},
        "lost": {"namespace": "default", "auth": "oauth", "oauth": nowhere},
        "keys": {"namespace": "default", "auth": "api-key"},
    }
    env = {"GUNICORN_CMD_ARGS": "--access-logfile -", "METAMCP_LOG_LEVEL": "DEBUG"}
    servers = {"good": process_server("good")}
    folder = tmp_path_factory.mktemp("oauth")
    with running_gateway(folder, servers, workers=2, endpoints=endpoints, oauth=oauth, env=env) as running:
        yield running


@pytest.fixture
def good(gateway: GatewayProcess, issuer: Issuer) -> str:
    return issuer.token(resource(gateway))


def resource(gateway: GatewayProcess, endpoint: str = "dev", kind: str = "mcp") -> str:
    return f"{gateway.url}/metamcp/{endpoint}/{kind}"


def enter(gateway: GatewayProcess, token: str, endpoint: str = "dev") -> Response:
    return gateway.rpc("initialize", HELLO, endpoint=endpoint, Authorization=f"Bearer {token}")


def challenge(answer: Response) -> dict[str, str]:
    header = answer.headers["WWW-Authenticate"]
    assert header.startswith("Bearer ")
    return dict(re.findall(r'(\w+)="([^"]*)"', header))


# --- the way to a token ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "described"),
    [
        ("/metamcp/dev/mcp", "/metamcp/dev/mcp"),
        ("/metamcp/dev/sse", "/metamcp/dev/sse"),
        ("/mcp", "/mcp"),
        ("/sse", "/sse"),
    ],
)
def test_a_client_without_a_token_is_led_to_its_issuer(
    gateway: GatewayProcess, issuer: Issuer, path: str, described: str
) -> None:
    answer = gateway.get(path)
    assert answer.status_code == 401
    found = challenge(answer)
    assert found["scope"] == "mcp" and "error" not in found
    assert found["resource_metadata"] == f"{gateway.url}/.well-known/oauth-protected-resource{described}"
    document = gateway.http.get(found["resource_metadata"], timeout=10).json()
    assert document["resource"] == gateway.url + path, "RFC 9728, 3.3: the address that was asked for"
    assert document["authorization_servers"] == [issuer.url]
    assert document["scopes_supported"] == ["mcp"]
    assert document["bearer_methods_supported"] == ["header"]


def test_messages_of_the_old_transport_belong_to_their_stream(gateway: GatewayProcess) -> None:
    url = f"{gateway.url}/metamcp/dev/message?sessionId=x"
    answer = gateway.http.post(url, json={}, timeout=10)
    assert challenge(answer)["resource_metadata"].endswith("/.well-known/oauth-protected-resource/metamcp/dev/sse")


@pytest.mark.parametrize(
    "path",
    ["/.well-known/oauth-protected-resource/metamcp/dev/mcp/", "/metamcp/dev/mcp/.well-known/oauth-protected-resource"],
)
def test_metadata_is_found_at_every_form_that_clients_try(gateway: GatewayProcess, path: str) -> None:
    assert gateway.get(path).json()["resource"] == resource(gateway)
    assert gateway.get("/.well-known/oauth-protected-resource").json()["resource"] == f"{gateway.url}/mcp"


def test_pages_may_read_the_metadata(gateway: GatewayProcess) -> None:
    url = f"{gateway.url}/.well-known/oauth-protected-resource/metamcp/dev/mcp"
    asked = {"Origin": "http://localhost:6274", "Access-Control-Request-Method": "GET"}
    assert gateway.http.options(url, headers=asked, timeout=10).status_code == 204
    answer = gateway.http.get(url, headers={"Origin": "http://localhost:6274"}, timeout=10)
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:6274"


def test_other_endpoints_have_no_metadata_and_look_alike(gateway: GatewayProcess) -> None:
    answers = [gateway.get(f"/.well-known/oauth-protected-resource/metamcp/{name}/mcp") for name in ("keys", "none")]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].text == answers[1].text


def test_behind_a_proxy_the_address_is_the_one_that_clients_use(gateway: GatewayProcess, issuer: Issuer) -> None:
    there = {"Host": "localhost", "X-Forwarded-Proto": "https"}
    answer = gateway.get("/metamcp/dev/mcp", headers=there)
    url = "https://localhost/.well-known/oauth-protected-resource/metamcp/dev/mcp"
    assert challenge(answer)["resource_metadata"] == url
    token = issuer.token("https://localhost/metamcp/dev/mcp")
    assert gateway.rpc("initialize", HELLO, endpoint="dev", Authorization=f"Bearer {token}", **there).status_code == 200
    assert enter(gateway, token).status_code == 401


# --- good and bad tokens -----------------------------------------------------------------------------------


def test_a_good_token_enters_and_its_session_is_its_own(gateway: GatewayProcess, issuer: Issuer, good: str) -> None:
    opened = enter(gateway, good)
    assert opened.status_code == 200
    session = opened.headers["Mcp-Session-Id"]
    other = issuer.token(resource(gateway), sub="mallory")
    for token, expected in ((good, 200), (issuer.token(resource(gateway), jti="next"), 200), (other, 404)):
        headers = {"Authorization": f"Bearer {token}"}
        assert gateway.rpc("tools/list", endpoint="dev", session=session, **headers).status_code == expected
    assert f"alice@{issuer.url}" in {it["principal"] for it in gateway.status()["sessions"]}


def test_a_good_token_enters_by_rest_too(gateway: GatewayProcess, good: str) -> None:
    url = f"{resource(gateway, kind='api')}/good__whoami"
    assert requests.post(url, headers={"Authorization": f"Bearer {good}"}, timeout=30).status_code == 200
    refused = requests.post(url, timeout=30)
    assert (refused.status_code, refused.headers["Content-Type"]) == (401, "application/problem+json")
    assert challenge(refused)["resource_metadata"].endswith("/metamcp/dev/mcp")


def test_each_asymmetric_algorithm_is_taken(gateway: GatewayProcess, issuer: Issuer) -> None:
    known = list(issuer.keys)
    keys = [SigningKey(f"of-{name}", name) for name in ("RS256", "PS256", "ES256", "ES384", "EdDSA")]
    issuer.keys += keys

    def enters(key: SigningKey) -> bool:
        return enter(gateway, issuer.token(resource(gateway), key)).status_code == 200

    try:
        eventually(lambda: enters(keys[0]), "the new keys are known", 15)
        assert all(enters(key) for key in keys)
    finally:
        issuer.keys[:] = known


def _unsigned(issuer: Issuer, audience: str) -> str:
    return jwt.encode(claims(issuer.url, audience), None, "none")


def _with_public_key_as_secret(issuer: Issuer, audience: str) -> str:
    """By hand: PyJWT refuses to make it."""
    public = issuer.keys[0].private.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = json.dumps({"alg": "HS256", "kid": "first"}).encode()
    signed = f"{part(head)}.{part(json.dumps(claims(issuer.url, audience)).encode())}"
    return f"{signed}.{part(hmac.digest(pem, signed.encode(), 'sha256'))}"


BAD = {
    "another audience": lambda i, a: i.token("https://other.example/metamcp/dev/mcp"),
    "another endpoint": lambda i, a: i.token(a.replace("/dev/", "/named/")),
    "no audience": lambda i, a: i.token(None),
    "expired": lambda i, a: i.token(a, exp=1_000_000_000),
    "without an end": lambda i, a: i.token(a, exp=None),
    "not yet": lambda i, a: i.token(a, nbf=4_000_000_000),
    "another issuer": lambda i, a: i.token(a, iss="https://evil.example"),
    "no subject": lambda i, a: i.token(a, sub=None),
    "a subject with a line break": lambda i, a: i.token(a, sub="a\nb"),
    "unsigned": _unsigned,
    "a public key as secret": _with_public_key_as_secret,
    "a stranger's signature": lambda i, a: i.token(a, SigningKey("first", "RS256")),
    "a stranger's key": lambda i, a: i.token(a, SigningKey("unknown", "ES256")),
    "another algorithm": lambda i, a: SigningKey("first", "ES256").sign(claims(i.url, a)),
    "a key of its own": lambda i, a: (k := SigningKey("own")).sign(claims(i.url, a), jwk=k.jwk, jku=f"{i.url}/mine"),
    "no token": lambda i, a: "nonsense",
    "an API key": lambda i, a: "mmcp_" + "A" * 43,
    "cut off": lambda i, a: i.token(a)[:-4],
}


@pytest.mark.parametrize("what", BAD)
def test_a_token_that_is_not_good_is_401_and_says_where_to_get_another(
    gateway: GatewayProcess, issuer: Issuer, what: str
) -> None:
    token = BAD[what](issuer, resource(gateway))  # type: ignore[no-untyped-call]
    answer = enter(gateway, token)
    assert answer.status_code == 401
    found = challenge(answer)
    assert found["error"] == "invalid_token" and found["error_description"]
    assert found["resource_metadata"].endswith("/metamcp/dev/mcp")
    assert "/mine" not in issuer.asked, "nobody goes where a token points"


def test_a_token_in_another_place_than_its_header_is_none(gateway: GatewayProcess, good: str) -> None:
    url = resource(gateway)
    places: list[dict[str, Any]] = [
        {"params": {"api_key": good}}, {"params": {"access_token": good}}, {"headers": {"X-API-Key": good}},
    ]  # fmt: skip
    for place in places:
        answer = gateway.http.post(url, json={}, timeout=10, **place)
        assert answer.status_code == 401 and "error" not in challenge(answer)


@pytest.mark.parametrize("changed", [{"scope": None}, {"scope": "other"}, {"scope": "", "scp": ["x"]}])
def test_a_token_without_the_scope_is_403_and_says_which(
    gateway: GatewayProcess, issuer: Issuer, changed: dict[str, Any]
) -> None:
    answer = enter(gateway, issuer.token(resource(gateway), **changed))
    assert answer.status_code == 403
    found = challenge(answer)
    assert (found["error"], found["scope"]) == ("insufficient_scope", "mcp")
    assert "resource_metadata" in found


def test_a_configured_audience_replaces_the_address(gateway: GatewayProcess, issuer: Issuer) -> None:
    assert enter(gateway, issuer.token(["x", "api://gateway"]), "named").status_code == 200
    assert enter(gateway, issuer.token(resource(gateway, "named")), "named").status_code == 401


def test_a_token_of_one_transport_is_good_for_the_other(gateway: GatewayProcess, issuer: Issuer) -> None:
    for aud in (resource(gateway, "dev", "sse"), resource(gateway) + "/"):
        assert enter(gateway, issuer.token(aud)).status_code == 200
    assert enter(gateway, issuer.token(f"{gateway.url}/mcp"), "default").status_code == 200


# --- the issuer's keys -------------------------------------------------------------------------------------


def test_keys_that_the_issuer_changes_are_followed_within_bounds(gateway: GatewayProcess, issuer: Issuer) -> None:
    old, new = issuer.keys[0], SigningKey("second", "ES256")
    issuer.keys[:] = [new]
    try:
        eventually(lambda: enter(gateway, issuer.token(resource(gateway))).status_code == 200, "the new key works", 15)
        assert enter(gateway, issuer.token(resource(gateway), old)).status_code == 401, "the old one no more"
        asked = issuer.asked.count("/keys")
        for number in range(30):
            assert enter(gateway, issuer.token(resource(gateway), SigningKey(f"made-up-{number}"))).status_code == 401
        assert issuer.asked.count("/keys") <= asked + 1, "whoever makes up keys does not make us ask each time"
    finally:
        issuer.keys[:] = [old]
        eventually(lambda: enter(gateway, issuer.token(resource(gateway))).status_code == 200, "as it was", 15)


def test_an_issuer_that_is_down_takes_nothing_from_who_has_a_token(gateway: GatewayProcess, issuer: Issuer) -> None:
    issuer.down = True
    try:
        assert enter(gateway, issuer.token(resource(gateway))).status_code == 200
        assert enter(gateway, issuer.token(resource(gateway), SigningKey("new"))).status_code == 401
    finally:
        issuer.down = False


def test_without_the_keys_of_an_issuer_nobody_enters(gateway: GatewayProcess, issuer: Issuer) -> None:
    assert gateway.get("/metamcp/lost/mcp").status_code == 401
    token = SigningKey("any").sign(claims("http://localhost:9", resource(gateway, "lost")))
    answer = enter(gateway, token, "lost")
    assert answer.status_code == 503
    assert "issuer-not-asked" in gateway.log and "localhost:9" in gateway.log


# --- clients, and what is left of it -----------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["mcp", "sse"])
def test_sdk_client_with_a_token_lists_and_calls(gateway: GatewayProcess, issuer: Issuer, transport: str) -> None:
    url = resource(gateway, "dev", transport)
    headers = {"Authorization": f"Bearer {issuer.token(url)}"}

    async def converse(streams: Any) -> str:
        async with ClientSession(streams[0], streams[1]) as client:
            await client.initialize()
            assert "good__echo" in {tool.name for tool in (await client.list_tools()).tools}
            result = await client.call_tool("good__echo", {"text": "hello"})
            return str(result.content[0].text)  # type: ignore[union-attr]

    async def use() -> str:
        if transport == "sse":
            async with sse_client(url, headers=headers) as streams:
                return await converse(streams)
        async with (
            httpx2.AsyncClient(headers=headers) as http,
            streamable_http_client(url, http_client=http) as streams,
        ):
            return await converse(streams)

    assert asyncio.run(use()) == "hello"


def test_no_token_is_in_any_log_answer_or_file(gateway: GatewayProcess, issuer: Issuer) -> None:
    url = resource(gateway)
    bad = issuer.token("https://other.example")
    for token in (issuer.token(url), bad, issuer.token(url, scope="none")):
        answer = gateway.http.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=10)
        wrong = gateway.http.get(url, params={"access_token": token, "api_key": token}, timeout=10)
        for response in (answer, wrong):
            assert token not in response.text and token not in str(response.headers)
        signature = token.rpartition(".")[2].encode()
        for file in (it for it in gateway.folder.rglob("*") if it.is_file()):
            assert signature not in file.read_bytes(), file
