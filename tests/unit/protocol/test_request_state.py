from __future__ import annotations

import base64

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metamcp.errors import InvalidParams
from metamcp.protocol import jsonrpc
from metamcp.protocol.request_state import PREFIX, Claims, digest, is_ours, seal, unseal

KEY = b"k" * 32
PARAMS = jsonrpc.decode_object(b'{"name":"t","arguments":{"a":1}}')
CLAIMS = Claims("call-7", 2, "alice", digest("tools/call", PARAMS), 1000)

claims = st.builds(Claims, st.text(), st.integers(0, 99), st.text(), st.text(), st.integers(1, 2**40))


def opened(token: str, now: float = 999.9, principal: str = "alice", of: str = CLAIMS.digest) -> Claims:
    return unseal(KEY, token, now, principal, of)


@given(st.binary(), claims)
def test_what_was_sealed_comes_back_and_looks_like_ours(key: bytes, sealed: Claims) -> None:
    token = seal(key, sealed)
    assert is_ours(token)
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert unseal(key, token, sealed.expiry - 1, sealed.principal, sealed.digest) == sealed


@given(st.data())
def test_a_state_with_any_changed_piece_is_refused(data: st.DataObject) -> None:
    token = seal(KEY, CLAIMS)
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, len(token)))
    changed = token[:start] + data.draw(st.text(max_size=3)) + token[end:]
    assume(changed != token)
    with pytest.raises(InvalidParams):
        opened(changed)


@pytest.mark.parametrize("token", ["", ".", PREFIX, PREFIX + ".", PREFIX + "é.é", "opaque", "metamcp.2.e30.x", "ö" * 9])
def test_what_we_never_gave_is_refused(token: str) -> None:
    with pytest.raises(InvalidParams, match="not one that this gateway gave") as caught:
        opened(token)
    assert (caught.value.code, caught.value.http_status) == (-32602, 400)


def test_claims_under_the_signature_of_others_are_refused() -> None:
    mine, other = seal(KEY, CLAIMS), seal(KEY, Claims("call-8", 2, "alice", CLAIMS.digest, 1000))
    with pytest.raises(InvalidParams):
        opened(other.rpartition(".")[0] + "." + mine.rpartition(".")[2])


def test_the_state_of_another_key_is_refused() -> None:
    with pytest.raises(InvalidParams, match="not one that this gateway gave"):
        opened(seal(b"x" * 32, CLAIMS))


def test_a_state_ends_with_its_expiry() -> None:
    token = seal(KEY, CLAIMS)
    assert opened(token, now=999.999) == CLAIMS
    for now in (1000, 1e12):
        with pytest.raises(InvalidParams, match="expired"):
            opened(token, now=now)


def test_a_state_of_another_principal_or_request_is_refused_and_does_not_say_which() -> None:
    token = seal(KEY, CLAIMS)
    texts = set()
    for wrong in ({"principal": "bob"}, {"of": digest("prompts/get", PARAMS)}):
        with pytest.raises(InvalidParams) as caught:
            opened(token, **wrong)  # type: ignore[arg-type]
        texts.add(caught.value.text)
    assert texts == {"requestState belongs to another request"}


def test_the_state_of_a_server_behind_us_is_not_ours() -> None:
    assert not is_ours("eyJhIjoxfQ.abc") and not is_ours("") and not is_ours("Metamcp.1.x")


def test_the_key_is_not_in_the_state() -> None:
    body = seal(KEY, CLAIMS).removeprefix(PREFIX).partition(".")[0]
    assert base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)) == jsonrpc.encode(CLAIMS)


# --- digest ------------------------------------------------------------------------------------------------


def test_a_retry_has_the_digest_of_its_request() -> None:
    retry = jsonrpc.decode_object(
        b'{"requestState":"s","arguments":{"a":1},"inputResponses":{"k":{}},"name":"t","_meta":{"progressToken":2}}'
    )
    assert digest("tools/call", retry) == CLAIMS.digest


@pytest.mark.parametrize(
    "params",
    [b"{}", b'{"name":"t"}', b'{"name":"u","arguments":{"a":1}}', b'{"name":"t","arguments":{"a":2}}',
     b'{"name":"t","arguments":{"a":1},"cursor":null}'],
)  # fmt: skip
def test_another_request_has_another_digest(params: bytes) -> None:
    assert digest("tools/call", jsonrpc.decode_object(params)) != CLAIMS.digest


def test_another_method_has_another_digest() -> None:
    assert digest("prompts/get", PARAMS) != CLAIMS.digest
