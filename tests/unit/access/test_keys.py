"""API keys on paper: their form, what is kept, whose one is, and what the command line's words mean."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.access import keys
from metamcp.access.keys import KEY_BYTES, Keys, KeysUnusable, Record

random_bytes = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
URL_SAFE = string.ascii_letters + string.digits + "_-"


def record(key: str, name: str = "laptop", **more: object) -> Record:
    return Record(**{"name": name, "sha256": keys.hash_of(key), "scopes": ("dev",), "created": 1, **more})  # type: ignore[arg-type]


@given(random_bytes, random_bytes)
def test_a_key_is_found_by_itself_and_by_no_other_one(one: bytes, two: bytes) -> None:
    first, second = keys.mint(one), keys.mint(two)
    known = Keys((record(first, "one"),), configured=True)
    assert keys.looks_like_key(first) and len(first) == 48
    found = known.find(first)
    assert found is not None and found.name == "one"
    assert (known.find(second) is None) == (one != two)


@given(st.text())
def test_no_text_that_is_not_a_key_is_looked_for(text: str) -> None:
    known = Keys((record(keys.mint(bytes(KEY_BYTES))),))
    assert known.find(text) is None
    assert known.holder(text, text) is None


def test_a_key_is_made_of_all_its_bytes_or_not_at_all() -> None:
    with pytest.raises(ValueError, match="32"):
        keys.mint(b"short")


def test_what_is_kept_tells_nothing_of_the_key() -> None:
    key = keys.mint(bytes(range(KEY_BYTES)))
    kept = keys.encode([record(key)])
    assert key.encode() not in kept and key[5:].encode() not in kept


# --- time --------------------------------------------------------------------------------------------------


def test_a_key_ends_with_the_second_that_it_names() -> None:
    made = record(keys.mint(bytes(KEY_BYTES)), expires=100)
    assert (made.valid(99.9), made.valid(100)) == (True, False)
    assert record(keys.mint(bytes(KEY_BYTES))).valid(1e12)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("5m", 300), ("12h", 43200), ("90d", 7776000), ("52w", 31449600), ("3650d", 315360000)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert keys.seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "90", "d", "0d", "-1d", "1.5d", "3651d", "99999999999d", "90 d", "90D", "1d2h", "\u0669d"]
)
def test_what_is_no_duration_or_longer_than_ten_years_is_none(text: str) -> None:
    assert keys.seconds_of(text) is None


@given(st.text())
def test_any_text_is_a_duration_within_bounds_or_none(text: str) -> None:
    seconds = keys.seconds_of(text)
    assert seconds is None or 0 < seconds <= keys.YEARS


# --- where a key stands ------------------------------------------------------------------------------------

KEY = keys.mint(bytes(KEY_BYTES))
OTHER = keys.mint(bytes(KEY_BYTES - 1) + b"x")


@pytest.mark.parametrize(
    ("authorization", "x_api_key", "query", "found"),
    [
        (None, None, None, None),
        ("", "", "", None),
        (f"Bearer {KEY}", None, None, KEY),
        (f"bearer   {KEY}  ", None, None, KEY),
        (KEY, None, None, None),
        (f"Basic {KEY}", None, None, None),
        (None, KEY, None, KEY),
        (None, None, KEY, KEY),
        (f"Bearer {KEY}", OTHER, None, KEY),
        ("Bearer eyJ0.e30.", KEY, OTHER, KEY),
        ("Bearer eyJ0.e30.", None, KEY, KEY),
        ("Bearer eyJ0.e30.", None, None, "eyJ0.e30."),
        ("Bearer a b", "x", None, "x"),
    ],
)
def test_the_first_that_looks_like_a_key_is_meant(
    authorization: str | None, x_api_key: str | None, query: str | None, found: str | None
) -> None:
    assert keys.presented(authorization, x_api_key, query) == found


@given(st.text(), st.text(), st.text())
def test_no_header_upsets_the_reader(authorization: str, x_api_key: str, query: str) -> None:
    found = keys.presented(authorization, x_api_key, query)
    assert found is None or found in (x_api_key, query) or found in authorization


# --- tickets -----------------------------------------------------------------------------------------------


def test_a_ticket_is_good_for_its_session_and_its_key_alone() -> None:
    mine, other = record(KEY, "mine"), record(OTHER, "other")
    ticket = keys.ticket_of(mine, "session-1")
    known = Keys((other, mine), configured=True)
    assert known.holder(ticket, "session-1") == mine
    assert known.holder(ticket, "session-2") is None
    assert Keys((other,)).holder(ticket, "session-1") is None
    assert mine.sha256 not in ticket


# --- names and the file ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "good"),
    [("laptop", True), ("ci.2026~a_b-c", True), ("anonymous", False), ("a@b", False), ("", False), ("a b", False)],
)
def test_a_name_can_be_taken_for_no_other_principal(name: str, good: bool) -> None:
    assert (keys.name_problem(name) is None) is good


@pytest.mark.parametrize(("scope", "good"), [("admin", True), ("dev", True), ("", False), ("a b", False), ("*", False)])
def test_a_scope_is_an_endpoint_or_admin(scope: str, good: bool) -> None:
    assert (keys.scope_problem(scope) is None) is good


names = st.text(alphabet=URL_SAFE, min_size=1, max_size=64).filter(lambda name: keys.name_problem(name) is None)
records = st.builds(
    Record, names, random_bytes.map(lambda key: keys.hash_of(keys.mint(key))), st.lists(names).map(tuple),
    st.integers(0, 2**40), st.none() | st.integers(0, 2**40),
)  # fmt: skip


@given(st.lists(records))
def test_what_is_written_is_what_is_read(made: list[Record]) -> None:
    assert keys.parse(keys.encode(made)) == Keys(tuple(made), configured=True)


@given(st.binary())
def test_a_file_of_any_bytes_is_read_or_refused(content: bytes) -> None:
    try:
        keys.parse(content)
    except KeysUnusable as refused:
        assert "it" in str(refused)


def document(**changed: object) -> bytes:
    one = {"name": "a", "sha256": "0" * 64, "scopes": ["dev"], "created": 1, "expires": None}
    return json.dumps({"version": 1, "keys": [one | changed]}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{}", b'{"version": 2, "keys": []}', b'{"version": 1, "keys": [], "more": 1}',
        document(name="anonymous"), document(name="a@b"), document(sha256="0" * 63), document(sha256="A" * 64),
        document(scopes=["a b"]), document(scopes="dev"), document(more=1), document(created=None),
        document(expires="soon"), b" " * (keys.MAX_FILE_BYTES + 1),
    ],
)  # fmt: skip
def test_a_file_that_is_not_ours_is_refused_as_a_whole(content: bytes) -> None:
    with pytest.raises(KeysUnusable) as refused:
        keys.parse(content)
    assert "anonymous" not in str(refused.value), "nothing of it is repeated"


def test_too_many_keys_are_refused() -> None:
    with pytest.raises(KeysUnusable, match="1000"):
        keys.parse(keys.encode([record(KEY)] * (keys.MAX_KEYS + 1)))


def test_no_keys_and_no_more_keys_are_two_things() -> None:
    assert not Keys().configured
    assert keys.parse(keys.encode([])) == Keys((), configured=True)


def test_revoking_takes_every_key_of_a_name_or_the_one_that_is_meant() -> None:
    first, second, other = record(KEY), record(OTHER), record(keys.mint(b"y" * KEY_BYTES), "other")
    assert keys.without([first, second, other], "laptop") == (other,)
    assert keys.without([first, second, other], "laptop", first.id) == (second, other)
    assert keys.without([first, other], "laptop", other.id) == (first, other)
