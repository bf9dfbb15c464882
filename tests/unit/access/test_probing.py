from __future__ import annotations

import pytest

from metamcp.access.keys import Keys, Record, hash_of, mint, ticket_of
from metamcp.access.probing import SECONDS, opens, ticket

NOW = 1_800_000_000.5
RECORD = Record("ops", hash_of(mint(b"k" * 32)), ("admin",), 1)
KEYS = Keys((RECORD,), configured=True)


def test_a_ticket_opens_while_it_and_its_key_are_good() -> None:
    shown = ticket(KEYS, NOW)
    assert opens(KEYS, shown, NOW)
    assert opens(KEYS, shown, NOW + SECONDS - 2)
    assert not opens(KEYS, shown, NOW + SECONDS)


def test_a_ticket_is_gone_with_its_key() -> None:
    shown = ticket(KEYS, NOW)
    assert not opens(Keys((), configured=True), shown, NOW)
    expired = Record(RECORD.name, RECORD.sha256, RECORD.scopes, 1, int(NOW) + 10)
    shown = ticket(Keys((expired,), configured=True), NOW)
    assert opens(Keys((expired,)), shown, NOW) and not opens(Keys((expired,)), shown, NOW + 11)


def test_only_a_good_key_makes_one() -> None:
    expired = Record("old", RECORD.sha256, ("dev",), 1, 2)
    assert ticket(Keys(), NOW) == ticket(Keys((expired,)), NOW) == ""
    assert opens(Keys((expired, RECORD)), ticket(Keys((expired, RECORD)), NOW), NOW)


@pytest.mark.parametrize("shown", ["", ".", "abc", "1800000100", "99999999999999.x", "-1.x", "١٨.x", "1800000100.zz"])
def test_anything_else_opens_nothing(shown: str) -> None:
    assert not opens(KEYS, shown, NOW)


def test_its_time_cannot_be_chosen_by_whoever_has_one() -> None:
    until, _, digest = ticket(KEYS, NOW).partition(".")
    assert not opens(KEYS, f"{int(until) + 60}.{digest}", NOW + 61)
    far = int(NOW) + 10 * SECONDS
    assert not opens(KEYS, f"{far}.{ticket_of(RECORD, f'probe until {far}')}", NOW)


def test_the_ticket_of_a_session_is_none_for_a_probe() -> None:
    until = int(NOW) + 60
    assert not opens(KEYS, f"{until}.{ticket_of(RECORD, str(until))}", NOW)
