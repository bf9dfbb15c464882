"""Memory of containers, from cgroup trees of every layout."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.runtime.memory import container_memory, counter

ID = "f00d" * 16
V1, V2 = ("memory.usage_in_bytes", "total_inactive_file"), ("memory.current", "inactive_file")


def grown(root: Path, place: str, usage: str, cache: str) -> None:
    folder = root / place
    folder.mkdir(parents=True)
    (folder / usage).write_text("10000\n")
    (folder / "memory.stat").write_text(f"anon 1\n{cache} 4000\nfile 2\n")


@pytest.mark.parametrize(
    ("place", "names"),
    [
        (f"system.slice/docker-{ID}.scope", V2),
        (f"docker/{ID}", V2),
        (f"memory/system.slice/docker-{ID}.scope", V1),
        (f"memory/docker/{ID}", V1),
        (f"machine.slice/libpod-{ID}.scope", V2),
        (f"libpod_parent/libpod-{ID}", V2),
        (f"memory/machine.slice/libpod-{ID}.scope", V1),
        (f"memory/libpod_parent/libpod-{ID}", V1),
    ],
)
def test_what_can_be_reclaimed_does_not_count(tmp_path: Path, place: str, names: tuple[str, str]) -> None:
    grown(tmp_path, place, *names)
    assert container_memory(ID, tmp_path) == 6000


def test_a_container_without_a_cgroup_to_be_seen_is_unknown(tmp_path: Path) -> None:
    grown(tmp_path, f"docker/{ID}", *V2)
    assert container_memory("beef" * 16, tmp_path) is None
    assert container_memory("", tmp_path) is None


def test_a_cgroup_that_goes_while_it_is_read_is_unknown(tmp_path: Path) -> None:
    grown(tmp_path, f"docker/{ID}", *V2)
    (tmp_path / f"docker/{ID}/memory.stat").unlink()
    assert container_memory(ID, tmp_path) is None


@given(st.text(), st.text(min_size=1))
def test_any_statistics_can_be_read(statistics: str, name: str) -> None:
    assert counter(statistics, name) >= 0


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), st.integers(0, 2**62), min_size=1))
def test_every_number_is_found_by_its_name(numbers: dict[str, int]) -> None:
    statistics = "".join(f"{name} {number}\n" for name, number in numbers.items())
    assert {name: counter(statistics, name) for name in numbers} == numbers
