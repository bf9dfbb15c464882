"""What the Docker engine says, as frozen records. Pure: JSON of the Engine API in, records out.

Every reading is tolerant: a member that an engine leaves out becomes an empty value, never a KeyError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

# The engine mixes these into the labels of an event's actor.
_NOT_LABELS = frozenset({"image", "name", "exitCode", "signal", "execDuration", "execID"})

_PODMAN_ACTIONS = {
    ("container", "died"): "die", ("image", "remove"): "delete", ("image", "loadfromarchive"): "load",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class EngineVersion:
    version: str
    api_version: str
    os: str
    arch: str


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """``memory_limit`` and its neighbours say whether the kernel can enforce that limit at all."""

    storage_driver: str
    cgroup_driver: str
    cgroup_version: str
    kernel: str
    operating_system: str
    cpus: int
    memory_total: int  # bytes
    memory_limit: bool
    swap_limit: bool
    cpu_limit: bool
    pids_limit: bool
    security_options: tuple[str, ...]
    runtimes: tuple[str, ...]
    default_runtime: str
    logging_driver: str
    containers_running: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImageFacts:
    id: str
    repo_digests: tuple[str, ...]
    created: str  # RFC 3339, as the engine writes it
    user: str
    size: int  # bytes
    architecture: str
    environment: tuple[str, ...] = ()  # NAME=VALUE
    ports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    id: str
    name: str
    labels: Mapping[str, str]
    state: str
    image: str
    created: float  # Unix seconds


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """``exit_code`` only with ``die``, ``signal`` (a number) only with ``kill``. Of an image, ``id`` is its id or the
    reference that was used, and ``name`` a reference. ``time``: Unix seconds on the engine's clock."""

    kind: str  # "container", "image" …
    id: str
    name: str
    action: str
    exit_code: int | None
    signal: int | None
    labels: Mapping[str, str]
    time: float


def engine_version(answer: Json) -> EngineVersion:
    """GET /version."""
    fields = (_text(answer, "Version"), _text(answer, "ApiVersion"), _text(answer, "Os"), _text(answer, "Arch"))
    return EngineVersion(*fields)


def engine_info(answer: Json) -> EngineInfo:
    """GET /info."""
    return EngineInfo(
        storage_driver=_text(answer, "Driver"),
        cgroup_driver=_text(answer, "CgroupDriver"),
        cgroup_version=_text(answer, "CgroupVersion"),
        kernel=_text(answer, "KernelVersion"),
        operating_system=_text(answer, "OperatingSystem"),
        cpus=_number(answer, "NCPU"),
        memory_total=_number(answer, "MemTotal"),
        memory_limit=bool(answer.get("MemoryLimit")),
        swap_limit=bool(answer.get("SwapLimit")),
        cpu_limit=bool(answer.get("CpuCfsQuota")),
        pids_limit=bool(answer.get("PidsLimit")),
        security_options=_texts(answer, "SecurityOptions"),
        runtimes=tuple(sorted(answer.get("Runtimes") or ())),
        default_runtime=_text(answer, "DefaultRuntime"),
        logging_driver=_text(answer, "LoggingDriver"),
        containers_running=_number(answer, "ContainersRunning"),
        warnings=_texts(answer, "Warnings"),
    )


def image_facts(answer: Json) -> ImageFacts:
    """GET /images/{name}/json."""
    return ImageFacts(
        id=_text(answer, "Id"),
        repo_digests=_texts(answer, "RepoDigests"),
        created=_text(answer, "Created"),
        user=_text(answer.get("Config") or {}, "User"),
        size=_number(answer, "Size"),
        architecture=_text(answer, "Architecture"),
        environment=_texts(answer.get("Config") or {}, "Env"),
        ports=tuple(sorted((answer.get("Config") or {}).get("ExposedPorts") or ())),
    )


def container_facts(answer: Json) -> ContainerFacts:
    """One item of GET /containers/json."""
    names = _texts(answer, "Names")
    return ContainerFacts(
        id=_text(answer, "Id"),
        name=names[0].removeprefix("/") if names else "",
        labels=dict(answer.get("Labels") or {}),
        state=_text(answer, "State"),
        image=_text(answer, "Image"),
        created=float(_number(answer, "Created")),
    )


def engine_event(answer: Json) -> EngineEvent:
    """One item of GET /events. Podman has other names for what happens to images."""
    actor = answer.get("Actor") or {}
    attributes = actor.get("Attributes") or {}
    return EngineEvent(
        kind=_text(answer, "Type"),
        id=_text(actor, "ID"),
        name=_text(attributes, "name"),
        action=_PODMAN_ACTIONS.get((_text(answer, "Type"), _text(answer, "Action")), _text(answer, "Action")),
        exit_code=_decimal(attributes, "exitCode"),
        signal=_decimal(attributes, "signal"),
        labels={key: value for key, value in attributes.items() if key not in _NOT_LABELS},
        time=_number(answer, "timeNano") / 1e9 if answer.get("timeNano") else float(_number(answer, "time")),
    )


def memory_in_use(answer: Json) -> int | None:
    """GET /containers/{id}/stats: bytes in use without the reclaimable page cache, as ``docker stats`` counts them.

    None when the container does not run: the engine then sends empty statistics.
    """
    memory = answer.get("memory_stats") or {}
    if not memory.get("usage"):
        return None
    stats = memory.get("stats") or {}
    cache = stats.get("total_inactive_file", stats.get("inactive_file", 0))  # cgroup v1, v2
    return max(0, int(memory["usage"]) - int(cache))


def _text(answer: Json, key: str) -> str:
    return str(answer.get(key) or "")


def _number(answer: Json, key: str) -> int:
    return int(answer.get(key) or 0)


def _decimal(answer: Json, key: str) -> int | None:
    """A number that the engine writes as text."""
    written = str(answer.get(key, ""))
    return int(written) if written.isdecimal() and written.isascii() else None


def _texts(answer: Json, key: str) -> tuple[str, ...]:
    return tuple(str(item) for item in answer.get(key) or ())
