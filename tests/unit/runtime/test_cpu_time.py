"""CPU time of containers, from cgroup trees of every layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from metamcp.runtime.cpu_time import container_cpu

ID = "f00d" * 16
FOLDERS = (
    f"system.slice/docker-{ID}.scope", f"docker/{ID}", f"machine.slice/libpod-{ID}.scope", f"libpod_parent/libpod-{ID}",
)  # fmt: skip


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(text)


@pytest.mark.parametrize("folder", FOLDERS)
def test_cgroup_v2_counts_microseconds(tmp_path: Path, folder: str) -> None:
    write(tmp_path / folder / "cpu.stat", "usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n")
    assert container_cpu(ID, tmp_path) == 1.5


@pytest.mark.parametrize("controller", ["cpu,cpuacct", "cpuacct"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_cgroup_v1_counts_nanoseconds(tmp_path: Path, folder: str, controller: str) -> None:
    write(tmp_path / controller / folder / "cpuacct.usage", "2500000000\n")
    assert container_cpu(ID, tmp_path) == 2.5


def test_what_is_not_there_or_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    assert container_cpu(ID, tmp_path) is None and container_cpu("", tmp_path) is None
    write(tmp_path / "cpuacct" / FOLDERS[0] / "cpuacct.usage", "none\n")
    assert container_cpu(ID, tmp_path) is None
