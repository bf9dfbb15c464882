"""Whose turn it is to be read, on a clock that stands still."""

from __future__ import annotations

from fake_upstream import FakeReactor
from hypothesis import given
from hypothesis import strategies as st

from metamcp.gateway.reading_order import MOST_AT_ALL, MOST_READINGS, PATIENCE_SECONDS, ReadingOrder


class House:
    def __init__(self) -> None:
        self.reactor = FakeReactor()
        self.begun: list[str] = []
        self.order = ReadingOrder(self.reactor, self.begun.append)  # type: ignore[arg-type]


def test_a_few_are_read_at_a_time_in_their_order() -> None:
    house = House()
    for name in "abcdefg":
        house.order.add(name)
    assert house.begun == list("abcd")
    house.order.over("c")
    assert house.begun == list("abcde")


def test_who_is_waited_for_comes_before_all_others() -> None:
    house = House()
    for number in range(100):
        house.order.add(str(number))
    house.order.hurry(["97", "98", "0", "unknown"])
    for name in "0123":
        house.order.over(name)
    assert set(house.begun[4:6]) == {"97", "98"} and house.begun[6:] == ["4", "5"]


def test_those_that_hang_hold_the_others_up_for_a_bounded_time_only() -> None:
    house = House()
    for number in range(9):
        house.order.add(str(number))
    house.reactor.advance(PATIENCE_SECONDS - 0.1)
    assert len(house.begun) == MOST_READINGS
    house.reactor.advance(2 * PATIENCE_SECONDS)
    assert len(house.begun) == MOST_AT_ALL
    house.order.over("7")
    assert len(house.begun) == 9


def test_where_everything_takes_long_no_more_than_a_few_are_under_way() -> None:
    house = House()
    for number in range(100):
        house.order.add(str(number))
    house.reactor.advance(PATIENCE_SECONDS * 100)
    assert len(house.begun) == MOST_AT_ALL


def test_readings_that_end_at_once_do_not_pile_up() -> None:
    reactor, begun = FakeReactor(), []
    order: ReadingOrder

    def begin(name: str) -> None:
        begun.append(name)
        order.over(name)

    order = ReadingOrder(reactor, begin)  # type: ignore[arg-type]
    order._looping = True  # as if one of them were just being begun
    for number in range(5000):
        order.add(str(number))
    order._looping = False
    order.add("last")
    assert len(begun) == 5001


def test_one_that_is_not_wanted_any_more_is_not_begun() -> None:
    house = House()
    for name in "abcdef":
        house.order.add(name)
    house.order.over("e")
    house.order.over("a")
    assert house.begun == list("abcdf")


@given(st.lists(st.tuples(st.sampled_from(["add", "over", "hurry", "time"]), st.integers(0, 9)), max_size=80))
def test_never_more_than_the_bound_and_everyone_gets_a_turn(steps: list[tuple[str, int]]) -> None:
    house = House()
    added: set[str] = set()
    for step, number in steps:
        name = str(number)
        if step == "add" and name not in house.order._under_way:
            house.order.add(name)
            added.add(name)
        elif step == "over" and name in house.order._under_way:
            house.order.over(name)
        elif step == "hurry":
            house.order.hurry([name])
        elif step == "time":
            house.reactor.advance(PATIENCE_SECONDS / 2)
        under_way, counting = len(house.order._under_way), len(house.order._counting)
        assert counting <= MOST_READINGS and under_way <= MOST_AT_ALL
        assert not house.order._waiting or counting == MOST_READINGS or under_way == MOST_AT_ALL
    while house.order._under_way:
        house.order.over(min(house.order._under_way))
    assert set(house.begun) == added and not house.order._waiting
