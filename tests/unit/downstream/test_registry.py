from __future__ import annotations

import pytest

from metamcp.downstream.registry import IDLE_SECONDS, SessionRegistry, new_id
from metamcp.downstream.session import ClientSession
from metamcp.errors import AtCapacity, SessionUnknown, TooManyRequests


class World:
    def __init__(self, of_one: int = 1000, in_all: int = 1000) -> None:
        self.now = 100.0
        self.closed: list[ClientSession] = []
        self.registry = SessionRegistry(lambda: self.now, self.closed.append, of_one, in_all)


@pytest.fixture
def world() -> World:
    return World()


def test_session_is_found_by_its_owner_alone(world: World) -> None:
    session = world.registry.create("dev", "alice", "http")
    assert world.registry.find(session.id, "dev", "alice", "http") is session
    for foreign in (("ops", "alice", "http"), ("dev", "bob", "http"), ("dev", "alice", "sse")):
        with pytest.raises(SessionUnknown):
            world.registry.find(session.id, *foreign)


def test_ids_are_long_different_and_visible_ascii() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(text) >= 32 and all(0x21 <= ord(char) <= 0x7E for char in text) for text in ids)


def test_idle_session_is_closed_and_a_busy_one_is_not(world: World) -> None:
    idle, busy = (world.registry.create("dev", "alice", "http") for _ in range(2))
    busy.begin(b"1", lambda _params: None)
    world.now += IDLE_SECONDS
    world.registry.sweep()
    assert world.closed == [idle]
    assert world.registry.sessions == (busy,)


def test_use_renews_a_session(world: World) -> None:
    session = world.registry.create("dev", "alice", "http")
    world.now += IDLE_SECONDS - 1
    world.registry.find(session.id, "dev", "alice", "http")
    world.now += IDLE_SECONDS - 1
    world.registry.sweep()
    assert len(world.registry) == 1


def test_full_registry_lets_the_longest_idle_go_and_refuses_when_all_are_busy() -> None:
    world = World(in_all=2)
    first = world.registry.create("dev", "alice", "http")
    world.now += 1
    second = world.registry.create("dev", "alice", "http")
    third = world.registry.create("dev", "alice", "http")
    assert world.closed == [first]
    for session in (second, third):
        session.begin(b"1", lambda _params: None)
    with pytest.raises(AtCapacity):
        world.registry.create("dev", "alice", "http")


def test_a_stranger_who_opens_a_hundred_thousand_sessions_throws_out_only_their_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("ERROR")  # two lines for each session are most of the work, and would be kept until the end
    world = World(of_one=100, in_all=1000)
    others = [world.registry.create("dev", "anonymous", "http", f"10.0.0.{number}") for number in range(200)]
    for _ in range(100_000):
        world.registry.create("dev", "anonymous", "http", "192.0.2.1")
    assert {session.owner for session in world.closed} == {"192.0.2.1"}
    assert len(world.registry) == 300
    assert all(world.registry.find(session.id, "dev", "anonymous", "http") is session for session in others)


def test_at_the_bound_of_all_the_one_gives_way_who_has_most() -> None:
    world = World(of_one=100, in_all=10)
    modest = world.registry.create("dev", "anonymous", "http", "10.0.0.1")
    for _ in range(9):
        world.registry.create("dev", "anonymous", "http", "192.0.2.1")
    world.registry.create("dev", "anonymous", "http", "10.0.0.2")
    assert [session.owner for session in world.closed] == ["192.0.2.1"]
    assert modest in world.registry.sessions


def test_a_client_whose_sessions_are_all_in_use_is_refused_alone() -> None:
    world = World(of_one=1)
    world.registry.create("dev", "alice", "http").begin(b"1", lambda _params: None)
    with pytest.raises(TooManyRequests):
        world.registry.create("dev", "alice", "http")
    assert world.registry.create("dev", "bob", "http").principal == "bob"


def test_the_session_that_was_used_last_stays_longest() -> None:
    world = World(of_one=2)
    first, second = (world.registry.create("dev", "alice", "http") for _ in range(2))
    world.registry.find(first.id, "dev", "alice", "http")
    world.registry.create("dev", "alice", "http")
    assert world.closed == [second]


def test_closing_twice_frees_once(world: World) -> None:
    session = world.registry.create("dev", "alice", "http")
    world.registry.close(session, "one")
    world.registry.close(session, "two")
    assert world.closed == [session]


def test_sweep_answers_for_a_client_that_does_not_answer(world: World) -> None:
    class Stream:
        def event(self, data: bytes) -> None: ...

        def end(self, reason: str) -> None: ...

    answers: list[bytes | None] = []
    session = world.registry.create("dev", "alice", "http")
    session.attach(Stream())
    session.ask("roots/list", b"{}", lambda _result, error: answers.append(error), world.now + 60)
    world.registry.sweep()
    world.now += 60
    world.registry.sweep()
    assert len(answers) == 1 and answers[0] is not None and b"did not answer in time" in answers[0]


def test_closed_session_is_unknown(world: World) -> None:
    session = world.registry.create("dev", "alice", "http")
    world.registry.close_all("shutting down")
    assert (len(world.registry), session.closed) == (0, "shutting down")
    with pytest.raises(SessionUnknown):
        world.registry.find(session.id, "dev", "alice", "http")
