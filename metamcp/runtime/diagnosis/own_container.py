"""Which container this process runs in, if it is one of this very engine.

Nothing that a process sees of itself is a proof: a host name may be anything, and mounts and control groups may be
those of an outer engine. So the engine is asked for each candidate, and has to know it.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from metamcp.runtime.engine import Engine

_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_SHORT = re.compile(r"[0-9a-f]{12}")
_ENGINE_WRITES = frozenset({"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"})
"""Files that an engine mounts into a container from a folder named after it. On the engine's own machine other mounts
name the containers that run there."""


def candidates(hostname: str, mountinfo: str, cgroup: str) -> Iterator[str]:
    """Ids, or the beginning of one, from what proc(5) shows of a process; the best first."""
    found: dict[str, None] = {}
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if len(fields) > 4 and fields[4] in _ENGINE_WRITES:
            found |= dict.fromkeys(_ID.findall(fields[3]))
    for line in cgroup.splitlines():
        found |= dict.fromkeys(_ID.findall(line.rpartition(":")[2])[-1:])
    if _SHORT.fullmatch(hostname):
        found[hostname] = None
    yield from found


def is_this(inspected: Mapping[str, Any], candidate: str, hostname: str) -> bool:
    """Whether the container that the engine knows by ``candidate`` is this one. A whole id cannot be guessed; a short
    one is only the host name, so the engine has to have given it that name."""
    if not str(inspected.get("Id", "")).startswith(candidate) or not (inspected.get("State") or {}).get("Running"):
        return False
    return len(candidate) == 64 or (inspected.get("Config") or {}).get("Hostname") == hostname


def own_container(
    engine: Engine, hostname: Callable[[], str] = socket.gethostname, proc: Path = Path("/proc/self")
) -> Mapping[str, Any] | None:
    """GET /containers/{id}/json of it; None: this process runs in none of this engine's. Raises EngineUnavailable."""
    name = hostname()
    for candidate in candidates(name, _read(proc / "mountinfo"), _read(proc / "cgroup")):
        inspected = engine.inspect(candidate)
        if inspected is not None and is_this(inspected, candidate, name):
            return inspected
    return None


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text("utf-8", "replace")
    return ""
