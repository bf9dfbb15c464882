from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.errors import ConfigInvalid, EngineUnavailable
from metamcp.runtime import labels
from metamcp.runtime.facts import ContainerFacts
from metamcp.runtime.instance import load_instance_id
from metamcp.runtime.labels import Identity, container_labels, container_name
from metamcp.runtime.reaper import orphans, sweep

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


def test_sweep_removes_orphans_and_spares_everything_else() -> None:
    store = Store(of("mine", "before"), of("mine", "long ago"), of("mine", "now"), of("other", "before"))
    assert sweep(store, ME) == ["mine-before", "mine-long ago"]
    assert set(store.held) == {"mine-now", "other-before"}


def test_sweep_does_not_report_what_is_still_there() -> None:
    store = Store(of("mine", "a"), of("mine", "b"), stuck="mine-a")
    assert sweep(store, ME) == ["mine-b"]


def test_sweep_without_orphans_asks_once() -> None:
    store = Store(of("mine", "now"))
    assert sweep(store, ME) == []
    assert store.asked == 1


def test_sweep_passes_on_that_the_engine_is_away() -> None:
    class Away(Store):
        def containers(self, labels: Mapping[str, str], all: bool = True) -> list[ContainerFacts]:
            raise EngineUnavailable("away")

    with pytest.raises(EngineUnavailable):
        sweep(Away(), ME)


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
