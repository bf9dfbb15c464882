"""Sockets at which an engine usually listens, and the file system as far as an engine is looked for in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

NPIPE = "npipe:////./pipe/docker_engine"
PODMAN = "Podman"
MOST_BYTES = 4 * 1024 * 1024

Names = Callable[[str], list[str]]


class Files(Protocol):
    def is_socket(self, path: str) -> bool:
        """Links are followed."""

    def is_readable(self, path: str) -> bool:
        """Whether it is a file that this process may read."""

    def names(self, folder: str) -> list[str]:
        """What is in it, sorted; empty where there is no such folder."""

    def read(self, path: str) -> str | None:
        """None: there is no such file. Raises OSError and ValueError."""

    def home(self) -> str:
        """Of the user, where HOME is not set."""


class ThisMachine:
    def is_socket(self, path: str) -> bool:
        try:
            return stat.S_ISSOCK(Path(path).stat().st_mode)
        except (OSError, ValueError):
            return False

    def is_readable(self, path: str) -> bool:
        return Path(path).is_file() and os.access(path, os.R_OK)

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(entry.name for entry in Path(folder).iterdir())
        except OSError:
            return []

    def read(self, path: str) -> str | None:
        try:
            with Path(path).open("rb") as file:
                return file.read(MOST_BYTES).decode("utf-8-sig")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def home(self) -> str:
        try:
            return str(Path.home())
        except RuntimeError:
            return "/"


def candidates(platform: str, environ: Mapping[str, str], home: str, names: Names) -> list[tuple[str, str]]:
    """(path, whose it is), the first one that is there counts. The very first is the docker command's own default.

    The paths are those that the products document: rootless Docker and Podman below ``XDG_RUNTIME_DIR``, Docker
    Desktop below ``~/.docker``, Colima (each profile has a folder), Rancher Desktop, OrbStack.
    """
    of_home = [
        (f"{home}/.docker/run/docker.sock", "Docker Desktop" if platform == "darwin" else "rootless Docker"),
        (f"{home}/.docker/desktop/docker.sock", "Docker Desktop"),
        *_colima(environ, home, names),
        (f"{home}/.rd/docker.sock", "Rancher Desktop"),
        (f"{home}/.orbstack/run/docker.sock", "OrbStack"),
    ]
    first = ("/var/run/docker.sock", "Docker")
    if platform == "darwin":
        return [first, *of_home, (f"{home}/.local/share/containers/podman/machine/podman.sock", PODMAN)]
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    rootless = [(f"{runtime}/docker.sock", "rootless Docker")] if runtime else []
    podman = [(f"{runtime}/podman/podman.sock", f"rootless {PODMAN}")] if runtime else []
    return [first, *rootless, *of_home, *podman, ("/run/podman/podman.sock", PODMAN)]


def _colima(environ: Mapping[str, str], home: str, names: Names) -> list[tuple[str, str]]:
    """The profile "default" before the others."""
    found = []
    for folder in dict.fromkeys((environ.get("COLIMA_HOME", ""), f"{home}/.colima", f"{home}/.config/colima")):
        profiles = [name for name in names(folder) if not name.startswith(("_", "."))] if folder else []
        found += [
            (f"{folder}/{profile}/docker.sock", f"Colima (profile {profile})")
            for profile in sorted(profiles, key=lambda name: (name != "default", name))
        ]
    return found
