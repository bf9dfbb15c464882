"""``doctor`` as a program of another user, at a socket that is not its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from other_user import NOBODY, open_folder, python_for_everybody, require_root

GROUP = 47_211
"""Of the engine's socket; nobody is in it."""


@pytest.fixture
def folder() -> Iterator[Path]:
    require_root()
    with open_folder() as place:
        yield place


def findings(python: str, env: dict[str, str], groups: list[int]) -> dict[str, dict[str, Any]]:
    argv = [python, "-m", "metamcp", "doctor", "--json", "--only", "engine"]
    done = subprocess.run(
        argv, env=env, user="nobody", group=NOBODY.pw_gid, extra_groups=groups, cwd="/", capture_output=True, timeout=60
    )
    assert done.returncode == 1, done.stderr
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_a_user_without_the_sockets_group_is_told_the_group_and_the_fix(folder: Path) -> None:
    path = folder / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        os.chown(path, 0, GROUP)
        path.chmod(0o660)
        listener.listen()
        python, env = python_for_everybody()
        env |= {"DOCKER_HOST": f"unix://{path}", "METAMCP_STATE_DIR": str(folder / "none"), "PATH": "/usr/bin:/bin"}
        found = findings(python, env, [])
        allowed = findings(python, env, [GROUP])
    assert list(found) == ["socket", "socket-permissions", "engine"]
    assert found["socket"]["status"] == "pass" and found["engine"]["status"] == "skip"
    assert found["socket-permissions"]["status"] == "fail"
    assert f"belongs to group {GROUP}" in found["socket-permissions"]["detail"]
    assert f'group_add: ["{GROUP}"]' in found["socket-permissions"]["hint"]
    assert allowed["socket-permissions"]["status"] == "pass"
