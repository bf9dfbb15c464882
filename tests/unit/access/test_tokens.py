"""Tokens judged on paper: real signatures, no network."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from issuer import SigningKey, claims
from jwt.algorithms import RSAAlgorithm, get_default_algorithms

from metamcp.access import tokens
from metamcp.access.policy import Trust
from metamcp.access.tokens import KeyUnknown, ScopeLacking, TokenInvalid, public_keys, subject

ISSUER, AUDIENCE = "https://login.example.com", "https://mcp.example.com/metamcp/dev/mcp"
TRUST = Trust(ISSUER, f"{ISSUER}/keys", (), ("mcp",))
KEY = SigningKey("one")
KEYS = public_keys([KEY.jwk])


def judge(token: str, known: tuple[tokens.PublicKey, ...] = KEYS, trust: Trust = TRUST) -> str:
    return subject(token, known, trust, [AUDIENCE])


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_good_token_says_whose_it_is() -> None:
    assert judge(KEY.sign(claims(ISSUER, AUDIENCE))) == "alice"
    assert judge(KEY.sign(claims(ISSUER, ["x", AUDIENCE]))) == "alice"


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"aud": "https://mcp.example.com/metamcp/dev"}, "another resource"),
        ({"aud": []}, "lacks a claim"),
        ({"iss": f"{ISSUER}/"}, "another issuer"),
        ({"exp": 1}, "has expired"),
        ({"nbf": 4_000_000_000}, "not valid yet"),
        ({"iat": 4_000_000_000}, "not valid yet"),
        ({"exp": None}, "lacks a claim"),
        ({"sub": None}, "lacks a claim"),
        ({"exp": "never"}, "not valid"),
        ({"sub": ""}, "whose it is"),
        ({"sub": "a b"}, "whose it is"),
        ({"sub": "x" * 256}, "whose it is"),
    ],
)
def test_each_claim_is_checked(changed: dict[str, Any], text: str) -> None:
    with pytest.raises(TokenInvalid, match=text):
        judge(KEY.sign(claims(ISSUER, AUDIENCE, **changed)))


def test_clocks_may_differ_by_a_little_and_no_more() -> None:
    now = int(time.time())
    assert judge(KEY.sign(claims(ISSUER, AUDIENCE, iat=now + 3, nbf=now + 3))) == "alice"
    with pytest.raises(TokenInvalid):
        judge(KEY.sign(claims(ISSUER, AUDIENCE, exp=now - tokens.LEEWAY_SECONDS - 1)))


def test_the_key_is_the_one_that_the_token_names_and_without_a_name_any_that_fits() -> None:
    other = SigningKey("two")
    both = public_keys([other.jwk, KEY.jwk])
    assert judge(KEY.sign(claims(ISSUER, AUDIENCE)), both) == "alice"
    assert judge(KEY.sign(claims(ISSUER, AUDIENCE), kid=None), both) == "alice"
    with pytest.raises(KeyUnknown):
        judge(SigningKey("three").sign(claims(ISSUER, AUDIENCE)), both)
    with pytest.raises(TokenInvalid, match="signature"):
        judge(SigningKey("two").sign(claims(ISSUER, AUDIENCE)), both)


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "HS512", "ES256K", "RS1", "", 5, None])
def test_no_other_algorithm_is_looked_at(algorithm: Any) -> None:
    head = part({"alg": algorithm, "kid": "one"})
    for signature in ("", "AAAA"):
        with pytest.raises(TokenInvalid):
            judge(f"{head}.{part(claims(ISSUER, AUDIENCE))}.{signature}")


def test_an_extension_that_must_be_understood_is_refused() -> None:
    with pytest.raises(TokenInvalid):
        judge(KEY.sign(claims(ISSUER, AUDIENCE), crit=["b64"], b64=True))


@pytest.mark.parametrize(
    "changed",
    [
        {"kty": "oct", "k": "c2VjcmV0"}, {"use": "enc"}, {"key_ops": ["sign"]}, {"key_ops": "verify"}, {"alg": "HS256"},
        {"alg": "ES384"}, {"crv": "P-384"}, {"crv": "secp256k1"}, {"x": "!"}, {"x": 5}, {"kty": None}, {"d": "AAAA"},
    ],
)  # fmt: skip
def test_what_is_no_public_key_for_signatures_is_passed_over(changed: dict[str, Any]) -> None:
    assert [key.kid for key in public_keys([KEY.jwk | {"kid": "bad"} | changed, KEY.jwk])] == ["one"]


def test_a_weak_key_is_passed_over() -> None:
    weak = json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key()))
    assert public_keys([weak | {"key_ops": ["verify"]}]) == ()


def test_a_key_that_names_its_algorithm_verifies_no_other() -> None:
    key = SigningKey("r", "RS256")
    token = key.sign(claims(ISSUER, AUDIENCE))
    assert judge(token, public_keys([key.jwk | {"alg": "RS256"}])) == "alice"
    with pytest.raises(KeyUnknown):
        judge(token, public_keys([key.jwk | {"alg": "PS256"}]))


@pytest.mark.parametrize(
    ("found", "enough"),
    [
        ({"scope": "mcp"}, True), ({"scope": "a mcp b"}, True), ({"scope": None, "scp": ["mcp"]}, True),
        ({"scope": None, "scp": "x mcp"}, True), ({"scope": "mcpx"}, False), ({"scope": None}, False),
        ({"scope": ["mcp"]}, True), ({"scope": {"mcp": 1}}, False), ({"scope": None, "scp": [["mcp"]]}, False),
    ],
)  # fmt: skip
def test_every_scope_that_is_asked_for_must_be_there(found: dict[str, Any], enough: bool) -> None:
    token = KEY.sign(claims(ISSUER, AUDIENCE, **found))
    if enough:
        assert judge(token) == "alice"
    else:
        with pytest.raises(ScopeLacking):
            judge(token)


json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x), max_leaves=5)


@given(st.dictionaries(st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "scope", "scp"]), json_values))
def test_signed_claims_of_any_type_are_refused_in_order(changed: dict[str, Any]) -> None:
    whole = claims(ISSUER, AUDIENCE) | changed
    signed = f"{part({'alg': 'ES256', 'kid': 'one'})}.{part(whole)}"
    signature = base64.urlsafe_b64encode(_sign(signed.encode())).rstrip(b"=").decode()
    try:
        assert judge(f"{signed}.{signature}") == whole["sub"]
    except (TokenInvalid, ScopeLacking):
        assert changed
    else:
        assert whole["iss"] == ISSUER and AUDIENCE in whole["aud"]


def _sign(data: bytes) -> bytes:
    return bytes(get_default_algorithms()["ES256"].sign(data, KEY.private))


@given(st.text() | st.lists(st.binary(max_size=30).map(lambda b: base64.urlsafe_b64encode(b).decode())).map(".".join))
def test_no_text_upsets_the_judge(text: str) -> None:
    with pytest.raises((TokenInvalid, KeyUnknown)):
        judge(text)


def test_a_token_beyond_all_measure_is_not_read() -> None:
    with pytest.raises(TokenInvalid, match="too long"):
        judge(KEY.sign(claims(ISSUER, AUDIENCE, more="x" * tokens.MAX_TOKEN)))
