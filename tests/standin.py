"""What the proof of the container image needs of Debian 13: a root file system, the second Docker Compose, and wheels
for its Python. Fetched once, like everything in ``fetched.py``."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

SUITE, PYTHON, GLIBC = "trixie", "3.13", ("2_17", "2_28", "2_34")
FOLDER = Path(__file__).parent / "engine" / "standin"
PACKAGES = FOLDER / "packages.txt"
REQUIREMENTS = Path(__file__).parent.parent / "requirements.txt"
ROOT_TAR, COMPOSE = "root.tar", "docker-compose"
SECONDS = 1200


def lacking() -> str:
    """Why there can be none here; empty where there can."""
    if os.geteuid() != 0:
        return "only root can make the root file system of a Debian"
    return "" if shutil.which("debootstrap") else "debootstrap is not installed (Debian: apt-get install debootstrap)"


def make_root(folder: Path) -> None:
    """``root.tar``, and ``docker-compose``: the static program that ``docker compose`` is."""
    folder.mkdir()
    names = ",".join(PACKAGES.read_text().split())
    # Whatever becomes of it, nothing of it stays: no mount and no process.
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    _run(*apart, str(FOLDER / "make-root.sh"), SUITE, names, str(folder))


def make_wheels(folder: Path) -> None:
    """Of requirements.txt, for that Debian's Python, by the pip and the package indexes of this machine."""
    folder.mkdir()
    machine = platform.machine()
    platforms = [f"--platform=manylinux_{version}_{machine}" for version in GLIBC]
    _run(
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:",
        "--implementation=cp", f"--python-version={PYTHON}", *platforms, f"--platform=manylinux2014_{machine}",
        "--dest", str(folder), "--requirement", str(REQUIREMENTS),
    )  # fmt: skip


def _run(*argv: str) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, f"{' '.join(argv)[:200]} said\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
