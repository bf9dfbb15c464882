"""Questions that stay open: told at once, then with each change, and nothing is done while nobody asks."""

from __future__ import annotations

import json
from typing import Any

from fake_upstream import FakeReactor
from wiring import Got

from metamcp.config.live import Live
from metamcp.config.loader import Loaded
from metamcp.config.model import Allowlist, GatewayConfig, ServerSpec
from metamcp.gateway.interface import Ask, Is, Lines
from metamcp.gateway.standing import LOOK_SECONDS, MOST_WATCHERS, StderrStreams, Watching
from metamcp.runtime.stderr import StderrLog

# --- documents ---------------------------------------------------------------------------------------------


class House:
    """``a`` and ``b`` are documents; each time that one is made costs ``cost`` seconds."""

    def __init__(self) -> None:
        self.reactor = FakeReactor()
        self.documents: dict[str, dict[str, Any]] = {"a": {"n": 1}, "b": {"n": 2}}
        self.made = 0
        self.cost = self.spent = 0.0
        reactor: Any = self.reactor
        self.watching = Watching(
            reactor, {"a": lambda: self._make("a"), "b": lambda: self._make("b")}, stopwatch=lambda: self.spent
        )

    def _make(self, name: str) -> dict[str, Any]:
        self.made += 1
        self.spent += self.cost
        return self.documents[name]

    def watch(self) -> Got:
        got = Got()
        self.watching(got.reply, Ask("events"))
        return got


def told(got: Got) -> list[tuple[str, Any]]:
    pairs = [item.data.partition(b" ") for item in got.items if item.kind == Is.EVENT]
    return [(name.decode(), json.loads(data)) for name, _, data in pairs]


def test_each_document_comes_at_once_and_again_when_it_is_another_one() -> None:
    house = House()
    got = house.watch()
    assert got.items[0].kind == Is.OPENED and told(got) == [("a", {"n": 1}), ("b", {"n": 2})]
    house.reactor.advance(10 * LOOK_SECONDS)
    assert len(told(got)) == 2, "nothing changed"
    house.documents["b"] = {"n": 3}
    house.documents["b"] = {"n": 4}
    house.reactor.advance(LOOK_SECONDS)
    assert told(got)[2:] == [("b", {"n": 4})], "what changed twice is told once"


def test_whoever_comes_later_gets_all_and_the_others_nothing_twice() -> None:
    house = House()
    first = house.watch()
    house.documents["a"] = {"n": 9}
    second = house.watch()
    assert told(second) == [("a", {"n": 9}), ("b", {"n": 2})]
    house.reactor.advance(LOOK_SECONDS)
    assert told(first)[2:] == [("a", {"n": 9})] and len(told(second)) == 2


def test_nothing_is_made_while_nobody_watches() -> None:
    house = House()
    house.reactor.advance(5)
    assert house.made == 0
    got = house.watch()
    got.reply.close()
    house.reactor.advance(5)
    made = house.made
    house.reactor.advance(5)
    assert house.made == made and not house.reactor._timers
    assert told(house.watch())


def test_documents_that_take_long_are_looked_at_more_seldom() -> None:
    house = House()
    house.watch()
    house.cost = 0.5
    house.reactor.advance(LOOK_SECONDS)
    made = house.made
    house.reactor.advance(19)
    assert house.made == made, "a twentieth of the time at most"
    house.reactor.advance(2)
    assert house.made == made + 2


def test_a_document_that_cannot_be_made_ends_nothing() -> None:
    house = House()
    got = house.watch()
    del house.documents["a"]
    try:
        house.reactor.advance(LOOK_SECONDS)
    except KeyError:  # the reactor logs it
        house.documents |= {"a": {"n": 5}}
    house.reactor.advance(LOOK_SECONDS)
    assert told(got)[-1] == ("a", {"n": 5})


def test_too_many_watchers_are_told_so() -> None:
    house = House()
    watchers = [house.watch() for _ in range(MOST_WATCHERS)]
    late = house.watch()
    assert (late.final.kind, late.final.status) == (Is.ANSWER, 429)
    watchers[0].reply.close()
    assert told(house.watch())


# --- standard error ----------------------------------------------------------------------------------------


class Stderr:
    def __init__(self) -> None:
        config = GatewayConfig({"git": ServerSpec("git")}, {}, {})
        self.log = StderrLog(lambda: 1_800_000_000.0)
        self.log.keep(config.servers)
        self.streams = StderrStreams(Live(Loaded(config, Allowlist()), 0.0), self.log)

    def say(self, *lines: str) -> None:
        self.log.add("git", "metamcp-git-1", "session1", list(lines))

    def ask(self, server: str = "git", **lines: Any) -> Got:
        got = Got()
        self.streams(got.reply, Ask("stderr", server, lines=Lines(**lines)))
        return got


def lines(got: Got) -> list[str]:
    return [event["line"] for event in got.events]


def test_what_is_kept_comes_first_and_then_what_is_said() -> None:
    house = Stderr()
    house.say("one", "two")
    got = house.ask()
    house.say("three")
    assert got.items[0].kind == Is.OPENED and lines(got) == ["one", "two", "three"]
    assert got.events[0] == {
        "time": 1_800_000_000.0, "container": "metamcp-git-1", "session": "session1", "line": "one"
    }  # fmt: skip
    numbers = [item.number for item in got.items[1:]]
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]


def test_whoever_comes_back_gets_what_is_behind_the_last_number() -> None:
    house = Stderr()
    house.say("one", "two", "three")
    got = house.ask(follow=False)
    assert got.final.kind == Is.ENDED and lines(got) == ["one", "two", "three"]
    again = house.ask(after=got.items[1].number, tail=1)
    assert lines(again) == ["two", "three"]
    assert lines(house.ask(tail=1)) == ["three"] and lines(house.ask(tail=0)) == []


def test_a_server_that_there_is_not_is_404_and_one_that_goes_ends_its_stream() -> None:
    house = Stderr()
    unknown = house.ask("nobody")
    assert unknown.final.status == 404 and "configured: git" in unknown.answer["error"]
    got = house.ask()
    house.log.keep([])
    assert got.final.kind == Is.ENDED


def test_a_stream_that_is_closed_hears_nothing_and_makes_room() -> None:
    house = Stderr()
    open_ones = [house.ask() for _ in range(MOST_WATCHERS)]
    assert house.ask().final.status == 429
    assert lines(house.ask(follow=False)) == []
    open_ones[0].reply.close()
    house.say("one")
    assert lines(open_ones[0]) == [] and lines(open_ones[1]) == ["one"]
    assert lines(house.ask()) == ["one"]
