"""The thread that follows the engine's events, over its absences, and what of them is told."""

from __future__ import annotations

import queue
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing

import pytest

from metamcp.concurrency.reactor import Reactor
from metamcp.errors import EngineUnavailable
from metamcp.runtime import watch as watch_module
from metamcp.runtime.cuts import Cuts
from metamcp.runtime.facts import EngineEvent
from metamcp.runtime.labels import INSTANCE
from metamcp.runtime.watch import Watch

SECONDS = 10.0


def event(kind: str, action: str, instance: str = "mine") -> EngineEvent:
    labels = {INSTANCE: instance} if kind == "container" else {}
    return EngineEvent(kind, "f00d", "name", action, None, None, labels, 1.0)


class Stream(Iterator[EngineEvent]):
    """Its events are put in; None ends it."""

    def __init__(self) -> None:
        self.queue: queue.Queue[EngineEvent | None] = queue.Queue()

    def __next__(self) -> EngineEvent:
        item = self.queue.get(timeout=SECONDS)
        if item is None:
            raise StopIteration
        return item

    def close(self) -> None:
        self.queue.put(None)


class Engine:
    """Each subscription takes the next of ``offers``: a stream, or an absence. At the end of them it is away."""

    def __init__(self) -> None:
        self.offers: queue.Queue[Stream | None] = queue.Queue()
        self.asked: queue.Queue[tuple[Collection[str], Collection[str]]] = queue.Queue()

    def offer(self) -> Stream:
        stream = Stream()
        self.offers.put(stream)
        return stream

    def events(
        self, labels: Mapping[str, str], since: float | None, kinds: Collection[str], actions: Collection[str]
    ) -> Stream:
        self.asked.put((kinds, actions))
        try:
            offered = self.offers.get_nowait()
        except queue.Empty:
            offered = None
        if offered is None:
            raise EngineUnavailable("no engine", "start it")
        return offered


class House:
    """A watch on a real reactor; ``told`` is what its audience heard, in order."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.told: queue.Queue[str] = queue.Queue()
        self.reactor = Reactor()
        self.reactor.start()
        self.cuts = Cuts()
        self.watch = Watch(self.engine, self.reactor, "mine", self, self.cuts)

    def engine_connected(self) -> None:
        self.told.put("connected")

    def engine_lost(self) -> None:
        self.told.put("lost")

    def container_event(self, event: EngineEvent) -> None:
        self.told.put(f"container {event.action}")

    def image_event(self, event: EngineEvent) -> None:
        self.told.put(f"image {event.action}")

    def hear(self, count: int) -> list[str]:
        return [self.told.get(timeout=SECONDS) for _ in range(count)]

    def close(self) -> None:
        self.watch.close(SECONDS)
        self.reactor.close()


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(watch_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(watch_module, "MOST_PAUSE", 0.02)
    with closing(House()) as built:
        yield built


def test_what_concerns_this_instance_is_told_and_nothing_else(house: House) -> None:
    stream = house.engine.offer()
    house.watch.start()
    for told in (
        event("container", "oom"), event("container", "die", "other"), event("image", "tag"),
        event("network", "connect"), event("image", "save"), event("container", "die"),
    ):  # fmt: skip
        stream.queue.put(told)
    assert house.hear(4) == ["connected", "container oom", "image tag", "container die"]
    kinds, actions = house.engine.asked.get(timeout=SECONDS)
    assert set(kinds) == {"container", "image"} and {"oom", "die", "kill", "pull", "untag"} <= set(actions)


def test_a_lost_subscription_is_told_and_made_anew(house: House) -> None:
    first, second = house.engine.offer(), house.engine.offer()
    house.watch.start()
    first.close()
    second.queue.put(event("container", "die"))
    assert house.hear(4) == ["connected", "lost", "connected", "container die"]


def test_an_absent_engine_is_told_in_one_line_when_it_goes_and_one_when_it_comes(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    first = house.engine.offer()
    for _ in range(5):
        house.engine.offers.put(None)
    house.engine.offer()
    house.watch.start()
    first.close()
    assert house.hear(3) == ["connected", "lost", "connected"]
    said = [record.message for record in caplog.records if record.name.endswith("runtime.watch")]
    assert said == ["engine-away", "engine-back"]


def test_a_subscription_that_only_had_to_be_renewed_makes_no_noise(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    first = house.engine.offer()
    house.engine.offer()
    house.watch.start()
    first.close()
    assert house.hear(3) == ["connected", "lost", "connected"]
    assert not [record for record in caplog.records if record.name.endswith("runtime.watch")]


class Hands:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("silent", "away", "told"), [(600.4, False, True), (600.4, True, False), (33.0, False, False)],
    ids=["a proxy's time", "the engine went", "any time, once"],
)  # fmt: skip
def test_a_stream_that_is_cut_for_its_silence_is_told_with_what_to_do(
    house: House, caplog: pytest.LogCaptureFixture, silent: float, away: bool, told: bool
) -> None:
    clock = house.watch._clock = Hands()
    first = house.engine.offer()
    house.watch.start()
    first.queue.put(event("container", "die"))
    assert house.hear(2) == ["connected", "container die"]
    clock.now += silent
    if away:
        house.engine.offers.put(None)
    house.engine.offer()
    first.close()
    assert house.hear(2) == ["lost", "connected"]
    said = [record for record in caplog.records if record.message == "engine-connections-cut"]
    assert bool(said) is told
    assert house.cuts.seconds == (silent if told else None)
    if told:
        assert said[0].fields["seconds"] == 600 and "timeout server" in said[0].fields["hint"]  # type: ignore[attr-defined]


def test_pauses_grow_up_to_their_bound(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: queue.Queue[float] = queue.Queue()
    wait = house.watch._ending.wait

    def recorded(seconds: float) -> bool:
        pauses.put(seconds)
        return wait(seconds)

    monkeypatch.setattr(house.watch._ending, "wait", recorded)
    monkeypatch.setattr(watch_module, "MOST_PAUSE", 0.05)
    house.watch.start()
    seen = [pauses.get(timeout=SECONDS) for _ in range(5)]
    assert seen == [0.02, 0.04, 0.05, 0.05, 0.05]


@pytest.mark.parametrize("watched", [True, False], ids=["while it follows", "while the engine is away"])
def test_closing_ends_the_thread_soon(house: House, watched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "MOST_PAUSE", SECONDS)
    monkeypatch.setattr(watch_module, "FIRST_PAUSE", SECONDS)
    if watched:
        house.engine.offer()
    house.watch.start()
    house.engine.asked.get(timeout=SECONDS)
    house.watch.close(SECONDS)
    assert "engine-watch" not in [thread.name for thread in threading.enumerate()]


def test_a_watch_that_was_never_started_can_be_closed(house: House) -> None:
    house.watch.close()
    assert house.told.empty()
