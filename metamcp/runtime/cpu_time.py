"""How much CPU a container has used, read from its cgroup, as its memory is (``memory.py``)."""

from __future__ import annotations

from pathlib import Path

from metamcp.runtime.memory import ROOT, counter

_MICRO, _NANO = 1e6, 1e9

# cgroup v2, each as the systemd driver and the cgroupfs driver of Docker and of Podman name it
_PLACES = ("system.slice/docker-{}.scope", "docker/{}", "machine.slice/libpod-{}.scope", "libpod_parent/libpod-{}")
_CONTROLLERS = ("cpu,cpuacct", "cpuacct")  # of v1


def container_cpu(container_id: str, root: Path = ROOT) -> float | None:
    """Seconds, of all its processes together. None as for ``container_memory``."""
    if not container_id:
        return None
    for place in (place.format(container_id) for place in _PLACES):
        if (used := _number(root / place / "cpu.stat", "usage_usec")) is not None:
            return used / _MICRO
        for controller in _CONTROLLERS:
            if (used := _number(root / controller / place / "cpuacct.usage")) is not None:
                return used / _NANO
    return None


def _number(file: Path, name: str = "") -> int | None:
    """The one in ``file``, or that of ``name`` in it."""
    try:
        text = file.read_text(encoding="ascii")
        return counter(text, name) if name else int(text)
    except (OSError, ValueError):
        return None
