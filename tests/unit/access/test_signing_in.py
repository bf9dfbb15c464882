"""Signing in, on paper: whose cookie and whose form it is, for how long, and that nobody can make one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.access import keys
from metamcp.access.keys import ADMIN, Keys, Record
from metamcp.access.signing_in import SECONDS, cookie_of, form_token, holder, is_form_token

NOW = 1_800_000_000.0
UNIQUE = "abcdefghijklmnopqrstuvwxyz012345"


def record(name: str, expires: int | None = None) -> Record:
    return Record(name, keys.hash_of(keys.mint(name.encode().ljust(keys.KEY_BYTES, b"."))), (ADMIN,), 1, expires)


ANN, BOB = record("ann"), record("bob")
BOTH = Keys((ANN, BOB), configured=True)


def test_a_cookie_is_of_the_key_that_signed_in_until_its_time_is_over() -> None:
    cookie = cookie_of(ANN, NOW, UNIQUE)
    assert holder(BOTH, cookie, NOW) == ANN
    assert holder(BOTH, cookie, NOW + SECONDS - 1) == ANN
    assert holder(BOTH, cookie, NOW + SECONDS) is None


def test_a_cookie_says_nothing_of_the_key() -> None:
    cookie = cookie_of(ANN, NOW, UNIQUE)
    assert ANN.sha256 not in cookie and "ann" not in cookie


def test_a_cookie_ends_with_its_key() -> None:
    cookie = cookie_of(ANN, NOW, UNIQUE)
    assert holder(Keys((BOB,), configured=True), cookie, NOW) is None
    short = record("short", int(NOW) + 60)
    cookie = cookie_of(short, NOW, UNIQUE)
    known = Keys((short,), configured=True)
    assert holder(known, cookie, NOW + 59) == short
    assert holder(known, cookie, NOW + 60) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda cookie: str(int(cookie.partition(".")[0]) + 1) + cookie[cookie.index(".") :],
        lambda cookie: cookie.replace("abc", "abd"),
        lambda cookie: cookie[:-1] + ("0" if cookie[-1] != "0" else "1"),
        lambda cookie: cookie + "0",
        lambda cookie: "0" + cookie,
        lambda cookie: cookie.upper(),
        lambda _cookie: "",
    ],
)
def test_no_other_cookie_is_taken(change: object) -> None:
    assert holder(BOTH, change(cookie_of(ANN, NOW, UNIQUE)), NOW) is None  # type: ignore[operator]


@given(st.text())
def test_no_text_is_a_cookie_by_chance(text: str) -> None:
    assert holder(BOTH, text, NOW) is None
    assert not is_form_token(ANN, cookie_of(ANN, NOW, UNIQUE), text)


def test_the_token_of_a_form_belongs_to_one_cookie_of_one_key() -> None:
    cookie, other = cookie_of(ANN, NOW, UNIQUE), cookie_of(ANN, NOW, UNIQUE[::-1])
    token = form_token(ANN, cookie)
    assert is_form_token(ANN, cookie, token)
    assert not is_form_token(ANN, other, token)
    assert not is_form_token(BOB, cookie, token)
    assert holder(BOTH, f"{int(NOW) + SECONDS}.{UNIQUE}.{token}", NOW) is None, "a token is no cookie"
