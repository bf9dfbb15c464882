"""What may run, said a second time and independently of ``policy``: a yes or no over the finished command line.

``decide`` transforms; this only looks. The lists are written out here on purpose: a slip in a table of the
policy must not be able to excuse itself.
"""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from metamcp.config.model import Allowance, ImageRule, ServerSpec
from metamcp.runtime.command.grammar import DockerRun
from metamcp.runtime.command.localhost import HOST_GATEWAY
from metamcp.runtime.policy.limits import DEFAULT_SHM, ULIMITS, cpus_limit

_EXACTLY: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "interactive": ("true",), "rm": ("true",), "init": ("true",), "cap-drop": ("ALL",), "log-driver": ("none",),
    "no-healthcheck": ("true",),
    "security-opt": ("no-new-privileges",),
})  # fmt: skip

_FREE = frozenset({
    "add-host", "cpuset-cpus", "dns", "dns-option", "dns-search", "domainname", "entrypoint", "env", "expose",
    "hostname", "platform", "quiet", "stop-signal", "workdir",
})  # fmt: skip

_CHECKED = frozenset({
    "cap-add", "cgroupns", "cpus", "device", "group-add", "ipc", "memory", "memory-swap", "mount", "network",
    "pids-limit", "pull", "read-only", "shm-size", "tmpfs", "ulimit", "user", "volume",
})  # fmt: skip

_WIDENED: Mapping[str, Callable[[Allowance], bool]] = MappingProxyType({
    "gpus": lambda allow: allow.gpus,
    "publish": lambda allow: allow.ports,
    "publish-all": lambda allow: allow.ports,
    "network-alias": lambda allow: allow.network,
    "ip": lambda allow: allow.network,
    "ip6": lambda allow: allow.network,
    "link-local-ip": lambda allow: allow.network,
})  # fmt: skip


def obeys(
    run: DockerRun,
    spec: ServerSpec,
    rule: ImageRule,
    *,
    bind_roots: Sequence[str],
    realpath: Callable[[str], str],
    host_gateway: bool,
) -> bool:
    """Whether ``run`` is one that ``decide`` may give back for these arguments."""
    allow = rule.allow
    roots = [realpath(root) for root in (*bind_roots, *allow.binds)]
    return (
        not run.global_options
        and _only_known(run, allow)
        and all(run.values(name) == values for name, values in _EXACTLY.items())
        and _limited(run, spec, allow)
        and _networks(run, spec, allow, host_gateway)
        and _mounts(run, spec, allow, roots, realpath)
        and _chosen(run, allow)
        and _somebody(run, spec, rule)
    )


def _only_known(run: DockerRun, allow: Allowance) -> bool:
    known = _FREE | _CHECKED | set(_EXACTLY) | {name for name, allows in _WIDENED.items() if allows(allow)}
    return set(run.names()) <= known


def _limited(run: DockerRun, spec: ServerSpec, allow: Allowance) -> bool:
    limits = [run.values(name) for name in ("memory", "cpus", "pids-limit")]
    if any(len(values) != 1 for values in limits):
        return False
    memory, cpus, pids = (values[0] for values in limits)
    shm = all(0 < int(size) <= max(DEFAULT_SHM, allow.shm_size or 0) for size in run.values("shm-size"))
    ulimits = dict(value.split("=") for value in run.values("ulimit"))
    return (
        run.values("memory-swap") == (memory,)
        and 0 < int(memory) <= spec.limits.memory
        and 0 < float(cpus) <= float(cpus_limit(spec.limits))
        and 0 < int(pids) <= spec.limits.pids
        and shm
        and set(ulimits) <= ULIMITS
        and ulimits.get("core") == "0"
        and all(0 <= int(number) <= 65536 for number in ulimits.get("nofile", "-1").split(":"))
    )


def _networks(run: DockerRun, spec: ServerSpec, allow: Allowance, host_gateway: bool) -> bool:
    joined = set(run.values("network"))
    permitted = {"none": {"none"}, "internal": {"none", "metamcp-internal"}}.get(spec.network)
    if permitted is not None and not (joined and joined <= permitted):
        return False
    if not allow.network and not joined <= {"none", "metamcp-internal", "bridge"}:
        return False
    if "host" in joined or not all(re.fullmatch(r"[\w.-]+", name, re.ASCII) for name in joined):
        return False
    named = [value for value in run.values("add-host") if value.lower().startswith(HOST_GATEWAY)]
    return named == [f"{HOST_GATEWAY}:host-gateway"] or not host_gateway or joined == {"none"}


def _mounts(
    run: DockerRun, spec: ServerSpec, allow: Allowance, roots: Sequence[str], realpath: Callable[[str], str]
) -> bool:
    mounts = [dict(field.partition("=")[::2] for field in next(csv.reader([text]))) for text in run.values("mount")]
    sources = [text.split(":")[0] for text in run.values("volume") if ":" in text]
    sources += [mount["source"] for mount in mounts if mount["type"] == "bind"]
    sizes = [mount["tmpfs-size"] for mount in mounts if mount["type"] == "tmpfs"]
    sizes += [option[5:] for text in run.values("tmpfs") for option in _options(text) if option.startswith("size=")]
    return (
        all(mount["type"] in ("bind", "volume", "tmpfs") for mount in mounts)
        and all(_source(source, roots, realpath) for source in sources)
        and all(any(option.startswith("size=") for option in _options(text)) for text in run.values("tmpfs"))
        and all(0 < int(size) <= spec.limits.memory for size in sizes)
        and (run.flag("read-only") or allow.writable)
    )


def _somebody(run: DockerRun, spec: ServerSpec, rule: ImageRule) -> bool:
    """Who the server is in its container."""
    wanted = rule.user or (spec.user if rule.allow.user else "")
    groups = {name.lower() for name in run.values("group-add")}
    if groups & {"0", "root", "docker", "podman", "disk", "keep-groups"}:
        return False
    return run.values("user") == (wanted,) if wanted else rule.allow.user or not run.values("user")


def _options(tmpfs: str) -> list[str]:
    return tmpfs.partition(":")[2].split(",")


def _source(source: str, roots: Sequence[str], realpath: Callable[[str], str]) -> bool:
    """A volume's name, or a path that is already resolved, below a root, and neither a socket nor the system's."""
    if "/" not in source:
        return not source.startswith((".", "~"))
    return (
        source == realpath(source) == posixpath.normpath(source)
        and any(posixpath.commonpath((source, root)) == root for root in roots)
        and not source.lower().endswith(".sock")
        and source not in ("/", "/etc", "/proc", "/run", "/sys", "/var", "/var/run", "/dev", "/root")
    )


def _chosen(run: DockerRun, allow: Allowance) -> bool:
    capabilities = {name.upper().removeprefix("CAP_") for name in allow.cap_add}
    return (
        ("ALL" in capabilities or set(run.values("cap-add")) <= capabilities)
        and all({value, value.partition(":")[0]} & set(allow.devices) for value in run.values("device"))
        and set(run.values("ipc")) <= {"private", "none"}
        and set(run.values("cgroupns")) <= {"private"}
        and set(run.values("pull")) <= {"never", "missing"}
    )
