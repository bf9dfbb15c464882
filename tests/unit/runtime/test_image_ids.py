"""Which image each server has now: asked once for each reference, and told when it is another one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest
from fake_upstream import FakeReactor

from metamcp.config.model import ServerSpec
from metamcp.errors import EngineUnavailable
from metamcp.runtime.command.effective import image_of
from metamcp.runtime.image_ids import ImageIds

GONE = EngineUnavailable("the engine does not answer", "start it")


def container(name: str, image: str) -> ServerSpec:
    return ServerSpec(name, command="docker", args=("run", "-i", image))


class House:
    """``engine``: image ids by reference. Rounds run when ``work`` is called."""

    def __init__(self, *specs: ServerSpec) -> None:
        self.reactor = FakeReactor()
        self.jobs: deque[Callable[[], None]] = deque()
        self.full = False
        self.engine: dict[str, str | EngineUnavailable] = {}
        self.asked: list[str] = []
        self.known: list[str] = []
        self.changed: list[str] = []
        self.refer: Callable[[ServerSpec], str | None] = image_of
        self.images = ImageIds(
            self.reactor, self, lambda spec: self.refer(spec), self.ask, specs,  # type: ignore[arg-type]
            self.known.append, self.changed.append,
        )  # fmt: skip

    def submit(self, job: Callable[[], None]) -> bool:
        if not self.full:
            self.jobs.append(job)
        return not self.full

    def ask(self, reference: str) -> str | None:
        self.asked.append(reference)
        found = self.engine.get(reference)
        if isinstance(found, EngineUnavailable):
            raise found
        return found

    def work(self) -> None:
        while self.jobs:
            self.jobs.popleft()()
            self.reactor.turn()

    def round(self) -> None:
        self.images.recheck()
        self.work()


ONE, TWO, PLAIN = container("one", "a:1"), container("two", "a:1"), ServerSpec("plain", command="python3")
OTHER, ELSEWHERE = container("other", "b:1"), ServerSpec("elsewhere", url="http://x")


def test_servers_with_one_reference_are_one_question() -> None:
    house = House(ONE, TWO, OTHER, PLAIN, ELSEWHERE)
    house.engine = {"a:1": "sha256:a", "b:1": "sha256:b"}
    house.round()
    assert house.asked == ["a:1", "b:1"]
    found = {name: house.images.id(name) for name in ("one", "two", "other", "plain", "elsewhere")}
    assert found == {"one": "sha256:a", "two": "sha256:a", "other": "sha256:b", "plain": None, "elsewhere": None}
    assert (house.known, house.changed) == (["one", "two", "other"], [])


def test_keys_are_image_and_configuration_and_unknown_images_have_none() -> None:
    house = House(ONE, OTHER, PLAIN)
    house.engine = {"a:1": "sha256:a"}
    assert house.images.key(ONE) == "" and not house.images.known("one") and house.images.known("plain")
    house.round()
    assert house.images.key(ONE) == f"sha256:a {ONE.fingerprint()}"
    assert house.images.key(OTHER) == "" and house.images.known("other")
    assert house.images.key(PLAIN) == PLAIN.fingerprint()


def test_another_image_is_told_once_for_each_of_its_servers() -> None:
    house = House(ONE, TWO, OTHER)
    house.engine = {"a:1": "sha256:a", "b:1": "sha256:b"}
    house.round()
    house.engine["a:1"] = "sha256:new"
    house.round()
    house.round()
    assert house.changed == ["one", "two"] and len(house.known) == 3


def test_an_image_that_goes_is_no_change_and_one_that_comes_is() -> None:
    house = House(ONE)
    house.round()
    assert (house.known, house.images.id("one")) == (["one"], None)
    house.engine["a:1"] = "sha256:a"
    house.round()
    assert house.changed == ["one"]
    del house.engine["a:1"]
    house.round()
    assert house.changed == ["one"] and house.images.id("one") is None


def test_an_engine_that_cannot_be_asked_changes_nothing_and_comes_back_unharmed() -> None:
    house = House(ONE)
    house.engine["a:1"] = "sha256:a"
    house.round()
    house.engine["a:1"] = GONE
    house.round()
    assert house.images.id("one") == "sha256:a"
    house.engine["a:1"] = "sha256:a"
    house.round()
    assert house.changed == []


def test_without_an_engine_servers_become_known_as_unknown_and_are_told_when_it_comes() -> None:
    house = House(ONE)
    house.engine["a:1"] = GONE
    house.round()
    assert house.known == ["one"] and house.images.key(ONE) == ""
    house.engine["a:1"] = "sha256:a"
    house.round()
    assert house.changed == ["one"]


def test_an_engine_that_does_not_answer_is_not_asked_for_everything() -> None:
    specs = [container(f"s{number}", f"i:{number}") for number in range(50)]
    house = House(*specs)
    house.engine = {f"i:{number}": GONE for number in range(50)}
    house.round()
    assert len(house.asked) == 2 and len(house.known) == 50


def test_one_reference_that_the_engine_refuses_is_asked_once_and_holds_nobody_back() -> None:
    bad = [container(f"bad{number}", "bad") for number in range(5)]
    house = House(bad[0], ONE, *bad[1:], OTHER)
    house.engine = {"bad": GONE, "a:1": "sha256:a", "b:1": "sha256:b"}
    house.round()
    assert house.asked == ["bad", "a:1", "b:1"] and house.images.id("other") == "sha256:b"


def test_what_may_not_run_is_not_asked_for_and_has_no_identity() -> None:
    house = House(ONE)
    house.engine["a:1"] = "sha256:a"
    house.refer = lambda _spec: None
    house.round()
    assert house.asked == [] and house.images.key(ONE) == "" and house.known == ["one"]
    house.refer = image_of
    house.round()
    assert house.changed == ["one"]


def test_no_round_begins_while_one_is_under_way_and_wishes_meanwhile_are_one_round_after_it() -> None:
    house = House(ONE)
    house.engine["a:1"] = "sha256:a"
    for _ in range(20):
        house.images.recheck()
    assert len(house.jobs) == 1
    house.work()
    assert house.asked == ["a:1"]
    house.reactor.advance(2)
    house.work()
    house.reactor.advance(60)
    house.work()
    assert house.asked == ["a:1", "a:1"]


@pytest.mark.parametrize("fails", ["refer", "ask"])
def test_a_round_that_breaks_is_not_the_last_one(fails: str) -> None:
    house = House(ONE)
    house.engine["a:1"] = "sha256:a"
    real = (house.refer, house.ask)

    def broken(_what: object) -> None:
        raise RuntimeError("a bug")

    if fails == "refer":
        house.refer = broken
    else:
        house.images._ask = broken
    house.images.recheck()
    with pytest.raises(RuntimeError):
        house.jobs.popleft()()
    house.reactor.turn()
    assert house.known == ["one"]
    house.refer, house.images._ask = real
    house.round()
    assert house.images.id("one") == "sha256:a"


def test_workers_that_are_too_busy_are_asked_again() -> None:
    house = House(ONE)
    house.engine["a:1"] = "sha256:a"
    house.full = True
    house.round()
    house.full = False
    house.round()
    assert house.known == ["one"]


def test_servers_come_and_go_while_a_round_is_under_way() -> None:
    house = House(ONE, OTHER)
    house.engine = {"a:1": "sha256:a", "b:1": "sha256:b"}
    house.images.recheck()
    house.images.remove("other")
    house.images.put(container("one", "b:1"))
    house.work()
    assert house.known == [] and house.images.id("one") is None
    house.reactor.advance(2)
    house.work()
    assert house.known == ["one"] and house.images.id("one") == "sha256:b"


def test_a_disabled_server_is_not_asked_for() -> None:
    house = House(ServerSpec("off", command="docker", args=("run", "a:1"), enabled=False))
    house.round()
    assert house.asked == [] and house.known == []
