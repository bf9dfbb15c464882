"""What a web worker knows of the endpoints: what it was told last, and nothing while nobody tells it."""

from __future__ import annotations

import pytest
from fake_gateway import AWAY, FakeGateway, event

from metamcp.access import policy
from metamcp.access.policy import Door, Policy
from metamcp.errors import SupervisorAway
from metamcp.gateway.interface import Ask, Is, Outbound
from metamcp.web.doors import FIRST_SECONDS, ToldDoors

KEYS, NONE = Policy({"dev": Door("api-key")}), Policy({"dev": Door("none")})


def said(what: Policy) -> Outbound:
    return event(policy.encode(what))


def test_it_asks_once_and_takes_in_each_change_with_the_next_question() -> None:
    gateway = FakeGateway(said(NONE), None, said(KEYS), said(KEYS), None, None)
    doors = ToldDoors(gateway)
    assert [doors.policy() for _ in range(3)] == [NONE, KEYS, KEYS]
    assert gateway.requests == [Ask("access")]
    assert gateway.exchanges[0].timeouts == [FIRST_SECONDS, 0, 0, 0, 0, 0], "it waits for the first word alone"


def test_while_the_supervisor_is_away_nothing_is_known() -> None:
    gateway = FakeGateway(said(NONE), None, Outbound(Is.FAILED, AWAY.data, 503))
    doors = ToldDoors(gateway)
    assert doors.policy() == NONE
    gateway.items = (AWAY,)
    for _ in range(2):
        with pytest.raises(SupervisorAway):
            doors.policy()
    gateway.items = (said(KEYS), None)
    assert doors.policy() == KEYS, "the next one is asked at once"


def test_one_that_says_nothing_is_waited_for_once() -> None:
    gateway = FakeGateway(None, None, said(KEYS), None)
    doors = ToldDoors(gateway)
    for _ in range(2):
        with pytest.raises(SupervisorAway):
            doors.policy()
    assert doors.policy() == KEYS
    assert len(gateway.exchanges) == 1
    assert gateway.exchanges[0].timeouts[:2] == [FIRST_SECONDS, 0]


def test_the_end_of_its_use_ends_the_question() -> None:
    gateway = FakeGateway(said(NONE), None)
    doors = ToldDoors(gateway)
    doors.policy()
    doors.close()
    assert gateway.exchanges[0].closed
