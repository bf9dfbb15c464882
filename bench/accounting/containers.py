"""Containers by their labels, asked of the docker command."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

_SECONDS = 30.0


def containers(labels: Sequence[str], every: bool = False) -> set[str]:
    """Short ids of those that carry all ``labels`` (``name=value``) and run, or with ``every`` exist.

    Raises subprocess.CalledProcessError or TimeoutExpired.
    """
    filters = [word for label in labels for word in ("--filter", f"label={label}")]
    argv = ["docker", "ps", "-aq" if every else "-q", *filters]
    return set(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=_SECONDS).stdout.split())


def remove_containers(labels: Sequence[str]) -> int:
    """Of whatever state; how many there were. Without labels nothing is removed."""
    left = sorted(containers(labels, every=True)) if labels else []
    if left:
        subprocess.run(["docker", "rm", "-f", *left], capture_output=True, timeout=2 * _SECONDS, check=False)
    return len(left)


def kill_containers(ids: Sequence[str]) -> None:
    """SIGKILL, from the engine."""
    subprocess.run(["docker", "kill", *ids], capture_output=True, timeout=_SECONDS, check=False)
