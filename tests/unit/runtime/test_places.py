"""Who may come when how many are there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.runtime.places import Caps, Place, Places


@pytest.mark.parametrize(
    ("taken", "wanted", "scope"),
    [
        ([], Place("git", 1), None),
        ([Place("git", 1)], Place("git", 1), "server"),
        ([Place("git", 1)], Place("time", 1), None),
        ([Place("git", 9, "me"), Place("time", 9, "me")], Place("x", 9, "me"), "principal"),
        ([Place("git", 9, "me"), Place("time", 9, "me")], Place("x", 9, "you"), None),
        ([Place("git", 9, "me"), Place("time", 9, "me")], Place("x", 9), None),
        ([Place("git", 9), Place("time", 9), Place("x", 9)], Place("y", 9, "me"), "gateway"),
        ([Place("git", 1), Place("time", 9), Place("x", 9)], Place("git", 1, own=True), None),
        ([Place("git", 1, own=True)] * 5, Place("git", 1), None),
    ],
)
def test_what_is_full_for_one_more(taken: list[Place], wanted: Place, scope: str | None) -> None:
    places = Places(Caps(in_all=3, of_principal=2))
    for place in taken:
        places.enter(place)
    assert places.lacking(wanted) == scope


@pytest.mark.parametrize(
    ("other", "scope", "gives_way"),
    [
        (Place("git", 1, "you"), "server", True),
        (Place("time", 1, "me"), "server", False),
        (Place("time", 1, "me"), "principal", True),
        (Place("time", 1, "you"), "principal", False),
        (Place("time", 1, "you"), "gateway", True),
        (Place("git", 1, "me", own=True), "gateway", False),
    ],
)
def test_who_may_give_way(other: Place, scope: str, gives_way: bool) -> None:
    assert Place("git", 1, "me").shares(other, scope) is gives_way  # type: ignore[arg-type]


PLACES = st.builds(Place, st.sampled_from(["a", "b"]), st.just(3), st.sampled_from(["", "p", "q"]), st.booleans())


@given(st.lists(PLACES, max_size=40))
def test_nobody_who_is_let_in_passes_a_cap_and_all_who_leave_leave_nothing(wanted: list[Place]) -> None:
    places, inside = Places(Caps(in_all=5, of_principal=2)), []
    for place in wanted:
        if places.lacking(place) is None:
            places.enter(place)
            inside.append(place)
    counted = [place for place in inside if not place.own]
    assert len(counted) <= 5
    assert all(sum(place.server == name for place in counted) <= 3 for name in "ab")
    assert all(sum(place.principal == name for place in counted) <= 2 for name in "pq")
    for place in inside:
        places.leave(place)
    assert all(places.lacking(place) is None for place in wanted)
