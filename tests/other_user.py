"""Another user of this machine, as whom a test runs code: what the kernel lets it do, and not what modes look like."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROBE = ROOT / "tests/servers/probe.py"
NOBODY = pwd.getpwnam("nobody")


def require_root() -> None:
    """For tests of what only root can set up. As with engines: REQUIRE_ENGINE=1 turns the lack into a failure."""
    if os.geteuid() != 0:
        give_up = pytest.fail if os.environ.get("REQUIRE_ENGINE") == "1" else pytest.skip
        give_up("only root can start processes of another user")


def python_for_everybody() -> tuple[str, dict[str, str]]:
    """An interpreter of our version that every user can execute, and the environment with which it finds our packages:
    the one of this test, unless it lives in a closed home."""
    own = sys.executable
    if _runs(own, {}):
        return own, {"PYTHONPATH": str(ROOT)}
    system = shutil.which("python3", path="/usr/local/bin:/usr/bin") or ""
    env = {"PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}"}
    assert system and _runs(system, env), f"no interpreter that {NOBODY.pw_name} can execute finds our packages"
    return system, env


def _runs(python: str, env: dict[str, str]) -> bool:
    argv = [python, "-c", "import sys, gunicorn, gevent, msgspec; print(*sys.version_info[:2])"]
    try:
        done = subprocess.run(argv, env=env, user="nobody", group=NOBODY.pw_gid, extra_groups=[], capture_output=True,
                              cwd="/", timeout=30)  # fmt: skip
    except PermissionError:
        return False
    return done.stdout.split() == [str(part).encode() for part in sys.version_info[:2]]


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that everybody can go through; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(prefix="mmcp-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)


def attempts(python: str, wishes: list[list[str]], *, user: int, groups: list[int], group: int) -> list[str]:
    """What the kernel says to each wish (a word and its argument, below) of a process of that user: ``done`` or the
    name of an errno."""
    done = subprocess.run(
        [python, "-I", "-S", "-c", PROBE.read_text(), json.dumps(wishes)], user=user, group=group, extra_groups=groups,
        cwd="/", capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found
