from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_upstream import FakeReactor
from hypothesis import given
from hypothesis import strategies as st

from metamcp.errors import ConfigInvalid, EngineUnavailable
from metamcp.runtime import labels
from metamcp.runtime.facts import ContainerFacts
from metamcp.runtime.instance import load_instance_id
from metamcp.runtime.labels import Identity, container_labels, container_name
from metamcp.runtime.reaper import Reaper, clear, orphans, strays

ME = Identity("mine", "now")
short = st.text("ab", max_size=2)


def container(container_id: str, given: Mapping[str, str]) -> ContainerFacts:
    return ContainerFacts(container_id, f"name-{container_id}", given, "running", "image", 0.0)


def of(instance: str, generation: str) -> ContainerFacts:
    found = container_labels(Identity(instance, generation), "git", "s1", "f00d")
    return container(f"{instance}-{generation}", found)


class Store:
    """An engine in memory that finds by label as Docker does; what is ``stuck`` cannot be removed."""

    def __init__(self, *held: ContainerFacts, stuck: str = "") -> None:
        self.held = {item.id: item for item in held}
        self.stuck = stuck
        self.asked = 0

    def containers(self, labels: Mapping[str, str], all: bool = True) -> list[ContainerFacts]:
        self.asked += 1
        return [item for item in self.held.values() if labels.items() <= item.labels.items()]

    def remove(self, container_id: str) -> bool:
        if container_id == self.stuck:
            return False
        self.held.pop(container_id, None)
        return True


def test_only_dead_generations_of_this_instance_are_orphans() -> None:
    dead = of("mine", "before")
    alive = [of("mine", "now"), of("other", "before"), of("other", "now"), container("x", {})]
    assert orphans([*alive, dead], ME) == [dead]


def test_container_without_a_generation_is_left_alone() -> None:
    assert orphans([container("x", {labels.INSTANCE: "mine"})], ME) == []


@given(st.lists(st.tuples(short, short)), short, short)
def test_an_orphan_is_always_ours_and_never_of_this_generation(
    made: list[tuple[str, str]], instance: str, generation: str
) -> None:
    for item in orphans([of(*each) for each in made], Identity(instance, generation)):
        assert item.labels[labels.INSTANCE] == instance
        assert item.labels[labels.GENERATION] not in ("", generation)


def test_what_was_cleared_is_confirmed() -> None:
    store = Store(of("mine", "a"), of("mine", "b"), stuck="mine-a")
    assert clear(store, ME, [of("mine", "a"), of("mine", "b")]) == ["name-mine-b"]


def test_a_stray_is_of_this_generation_and_has_no_living_child() -> None:
    mine, dead, other = of("mine", "now"), of("mine", "before"), of("other", "now")
    assert strays([mine, dead, other, container("x", {})], ME, ()) == [mine]
    assert strays([mine, dead, other], ME, {mine.name}) == []


def test_the_probe_of_a_running_diagnosis_is_no_stray() -> None:
    probe = container("p", container_labels(ME, labels.PROBE, "unique", labels.PROBE))
    assert strays([probe], ME, ()) == []


@given(st.lists(st.tuples(short, short)), st.sets(st.sampled_from(["name-a-b", "name-b-a", "name-aa-b"])))
def test_no_living_and_no_foreign_container_is_ever_a_stray(made: list[tuple[str, str]], living: set[str]) -> None:
    me = Identity("a", "b")
    for item in strays([of(*each) for each in made], me, living):
        assert item.labels[labels.INSTANCE] == "a" and item.labels[labels.GENERATION] == "b"
        assert item.name not in living


class Sweeping:
    """A reaper whose worker does a job when it is told to."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.reactor: Any = FakeReactor()
        self.jobs: list[Callable[[], None]] = []
        self.living: set[str] = set()
        self.seen: list[str] = []
        self.removed: list[int] = []
        workers: Any = self
        self.reaper = Reaper(
            self.reactor, workers, store, ME, lambda: self.living, lambda item: self.seen.append(item.name),
            self.removed.append,
        )

    def submit(self, job: Callable[[], None]) -> bool:
        self.jobs.append(job)
        return True

    def work(self) -> None:
        """Until nothing is left to do."""
        while self.jobs:
            self.jobs.pop(0)()
            self.reactor.turn()


def test_a_sweep_removes_the_dead_and_the_strays_and_spares_everything_else() -> None:
    sweeping = Sweeping(Store(of("mine", "before"), of("mine", "now"), of("other", "before"), of("other", "now")))
    sweeping.reaper.reap()
    sweeping.work()
    assert set(sweeping.store.held) == {"other-before", "other-now"}
    assert sweeping.seen == ["name-mine-now"]
    assert sweeping.removed == [2]


def test_a_child_that_begins_while_the_engine_lists_is_not_taken_for_a_stray() -> None:
    sweeping = Sweeping(Store(of("mine", "now")))
    sweeping.reaper.reap()
    sweeping.jobs.pop(0)()  # the list has been made; its judgement waits behind what came to the reactor before
    sweeping.living.add("name-mine-now")
    sweeping.reactor.turn()
    sweeping.work()
    assert set(sweeping.store.held) == {"mine-now"}


def test_a_sweep_without_anything_to_remove_asks_once() -> None:
    sweeping = Sweeping(Store(of("other", "now")))
    sweeping.reaper.reap()
    sweeping.work()
    assert sweeping.store.asked == 1


def test_who_asks_during_a_sweep_gets_one_more() -> None:
    sweeping = Sweeping(Store())
    for _ in range(3):
        sweeping.reaper.reap()
    assert len(sweeping.jobs) == 1
    sweeping.work()
    assert sweeping.store.asked == 2


def test_an_engine_that_is_away_makes_no_noise_and_the_next_sweep_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    class Away(Store):
        def containers(self, labels: Mapping[str, str], all: bool = True) -> list[ContainerFacts]:
            super().containers(labels, all)
            raise EngineUnavailable("away")

    sweeping = Sweeping(Away())
    for _ in range(2):
        sweeping.reaper.reap()
        sweeping.work()
    assert sweeping.store.asked == 2 and not caplog.records


def test_all_five_labels_are_set() -> None:
    assert container_labels(ME, "git", "s1", "f00d") == {
        "metamcp.instance": "mine",
        "metamcp.server": "git",
        "metamcp.session": "s1",
        "metamcp.generation": "now",
        "metamcp.config": "f00d",
    }


def test_name_shows_the_server_and_the_unique_part() -> None:
    assert container_name("git", "0a1b2c3d") == "metamcp-git-0a1b2c3d"


@given(st.text(), st.text())
def test_any_server_gets_a_name_that_docker_takes(server: str, unique: str) -> None:
    name = container_name(server, unique.encode("utf-8", "replace").decode())
    assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name)
    assert re.search(r"-[0-9a-f]{8}$", name)
    assert len(name) <= 63


def test_instance_id_is_made_once_and_private(tmp_path: Path) -> None:
    assert load_instance_id(tmp_path, lambda: "first") == "first"
    assert load_instance_id(tmp_path, lambda: "second") == "first"
    assert stat.S_IMODE((tmp_path / "instance-id").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["instance-id"]


def test_starters_at_the_same_time_agree_on_one_instance_id(tmp_path: Path) -> None:
    barrier = threading.Barrier(8, timeout=10)
    found: list[str] = []

    def start(number: int) -> None:
        def new_id() -> str:
            barrier.wait()
            return f"id-{number}"

        found.append(load_instance_id(tmp_path, new_id))

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert len(set(found)) == 1


def test_file_system_without_hard_links_keeps_the_id_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert load_instance_id(tmp_path, lambda: "first") == "first"
    assert load_instance_id(tmp_path, lambda: "second") == "first"


@pytest.mark.parametrize("content", ["", "two words", "x" * 65, "-option", "é"])
def test_spoilt_instance_file_is_refused_with_its_path(tmp_path: Path, content: str) -> None:
    (tmp_path / "instance-id").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigInvalid, match="instance-id"):
        load_instance_id(tmp_path, lambda: "new")


def test_missing_state_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="must be writable"):
        load_instance_id(tmp_path / "nope", lambda: "new")
