"""What a process sees of the container that it may run in, and when the engine's word counts."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from metamcp.errors import EngineUnavailable
from metamcp.runtime.diagnosis.own_container import candidates, is_this, own_container

ID, OTHER = "a1" * 32, "b2" * 32
HOST_NAME = ID[:12]
MOUNTS = f"""\
1019 1018 0:52 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/{OTHER}/diff
1042 1019 8:1 /var/lib/docker/containers/{ID}/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/sda1 rw
1043 1019 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/sda1 rw
"""
ON_THE_HOST = f"""\
25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
310 25 0:45 / /var/lib/docker/overlay2/{OTHER}/merged rw,relatime - overlay overlay rw
311 25 0:46 / /var/lib/docker/containers/{OTHER}/mounts/shm rw,nosuid - tmpfs shm rw,size=65536k
"""
PODMAN = f"""\
900 899 0:3 /containers/overlay-containers/{ID}/userdata/hosts /etc/hosts rw,nosuid - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("host_name", "mounts", "cgroup", "expected"),
    [
        (HOST_NAME, MOUNTS, "0::/\n", [ID, HOST_NAME]),
        ("gateway", MOUNTS, "0::/\n", [ID]),
        ("gateway", PODMAN, "", [ID]),
        ("gateway", "", f"12:memory:/docker/{ID}\n11:pids:/docker/{ID}\n", [ID]),
        ("gateway", "", f"0::/kubepods/pod1/cri-containerd-{ID}.scope\n", [ID]),
        ("laptop", ON_THE_HOST, "0::/user.slice/session-1.scope\n", []),
        ("laptop", "", "", []),
        ("deadbeefcafe", "half a line", "", ["deadbeefcafe"]),
    ],
)
def test_candidates_are_ids_that_an_engine_wrote_about_this_process(
    host_name: str, mounts: str, cgroup: str, expected: list[str]
) -> None:
    assert list(candidates(host_name, mounts, cgroup)) == expected


def inspected(identifier: str = ID, host_name: str = HOST_NAME, running: bool = True) -> dict[str, Any]:
    return {"Id": identifier, "State": {"Running": running}, "Config": {"Hostname": host_name}, "Image": "sha256:1"}


@pytest.mark.parametrize(
    ("found", "candidate", "host_name", "expected"),
    [
        (inspected(), ID, "anything", True),
        (inspected(), HOST_NAME, HOST_NAME, True),
        (inspected(host_name="other"), HOST_NAME, HOST_NAME, False),  # a machine that is called so by chance
        (inspected(running=False), ID, HOST_NAME, False),
        (inspected(OTHER), ID, HOST_NAME, False),
        ({}, ID, HOST_NAME, False),
    ],
)
def test_the_engine_has_to_know_it_as_this_one(
    found: dict[str, Any], candidate: str, host_name: str, expected: bool
) -> None:
    assert is_this(found, candidate, host_name) is expected


class Engine:
    def __init__(self, **known: dict[str, Any]) -> None:
        self.known, self.asked = known, list[str]()

    def inspect(self, container_id: str) -> dict[str, Any] | None:
        self.asked.append(container_id)
        return self.known.get(container_id)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    (tmp_path / "cgroup").write_text("0::/\n")
    return tmp_path


def test_own_container_is_the_first_candidate_that_the_engine_knows(proc: Path) -> None:
    engine: Any = Engine(**{ID: inspected()})
    found = own_container(engine, lambda: HOST_NAME, proc)
    assert found is not None and found["Image"] == "sha256:1"
    assert engine.asked == [ID]


def test_a_container_of_an_outer_engine_is_none_of_this_one(proc: Path) -> None:
    engine: Any = Engine()
    assert own_container(engine, lambda: HOST_NAME, proc) is None
    assert engine.asked == [ID, HOST_NAME]


def test_a_process_without_a_container_asks_the_engine_nothing(tmp_path: Path) -> None:
    engine: Any = Engine()
    assert own_container(engine, lambda: "laptop", tmp_path) is None
    assert engine.asked == []


def test_an_engine_that_is_away_is_no_answer(proc: Path) -> None:
    class Away(Engine):
        def inspect(self, container_id: str) -> dict[str, Any] | None:
            raise EngineUnavailable("away")

    engine: Any = Away()
    with pytest.raises(EngineUnavailable):
        own_container(engine, socket.gethostname, proc)
