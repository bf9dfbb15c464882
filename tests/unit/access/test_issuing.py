"""A wish for a key: what is wrong with it, and what becomes of it."""

from __future__ import annotations

import pytest

from metamcp.access import issuing, keys
from metamcp.access.issuing import KeysRefused, Wish, wish_of
from metamcp.access.keys import Keys, Record


def test_a_wish_becomes_a_key_that_its_record_knows() -> None:
    wish = wish_of(b'{"name": "laptop", "scopes": ["dev", "dev", "admin"], "expires": "2h"}')
    assert wish is not None and wish.problems() == []
    key, record = wish.issue(100, b"r" * keys.KEY_BYTES)
    assert Keys((record,)).find(key) is record
    assert (record.name, record.scopes, record.created, record.expires) == ("laptop", ("dev", "admin"), 100, 7300)
    assert wish.unknown_scopes(("other",)) == ["no endpoint is called 'dev' yet; configured: other"]
    assert Wish("a", ("admin",)).issue(1, b"r" * keys.KEY_BYTES)[1].expires is None


@pytest.mark.parametrize(
    ("wish", "members"),
    [
        (Wish("", ("dev",)), ["name"]), (Wish("anonymous", ("dev",)), ["name"]), (Wish("a", ()), ["scopes"]),
        (Wish("a", ("a b", "c/d")), ["scopes", "scopes"]), (Wish("a", ("dev",), "soon"), ["expires"]),
        (Wish("a b", (), ""), ["name", "scopes", "expires"]),
    ],
)  # fmt: skip
def test_every_mistake_at_once(wish: Wish, members: list[str]) -> None:
    assert [member for member, _ in wish.problems()] == members


NO_WISHES = [
    b"", b"[]", b'{"name": "a"}', b'{"name": "a", "scopes": "b"}', b'{"name": "a", "scopes": [], "more": 1}',
    b"[" * 100_000, b"\xff",
]  # fmt: skip


@pytest.mark.parametrize("body", NO_WISHES, ids=range(len(NO_WISHES)))
def test_what_is_no_wish(body: bytes) -> None:
    assert wish_of(body) is None


def test_the_list_is_bounded_and_somebody_must_be_able_to_give_orders() -> None:
    record = Record("a", "0" * 64, ("admin",), 0, 10)
    full = [record] * keys.MAX_KEYS
    with pytest.raises(KeysRefused, match="which is the most"):
        issuing.add(full, record)
    assert not issuing.locks_out([record], 9) and issuing.locks_out([record], 10)
    assert issuing.locks_out([Record("b", "1" * 64, ("dev",), 0)], 0) and issuing.locks_out([], 0)
