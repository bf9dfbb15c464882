"""The flags that need no more than a table: kept as they are, dropped with a reason, or refused.

A flag in no table is refused. That is the point: a flag that a future CLI invents is closed until somebody
has thought about it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from metamcp.config.model import Allowance
from metamcp.runtime.command.flags import RUN
from metamcp.runtime.command.grammar import DockerRun
from metamcp.runtime.policy.case import WIDEN, Case, Part, Step, effective, joined, part, refuse

# They shape what happens inside the container, or only restrict it.
KEPT = frozenset({
    "cpuset-cpus", "dns", "dns-option", "dns-search", "domainname", "entrypoint", "expose", "hostname", "platform",
    "quiet", "stop-signal", "workdir",
})  # fmt: skip

_HEALTH = ("no-healthcheck", "nobody reads the health of a container; the gateway asks the server itself")

DROPPED: Mapping[str, tuple[str, str]] = MappingProxyType({
    "tty": ("no-tty", "a terminal would break the framing of JSON-RPC"),
    "detach": ("no-detach", "the gateway talks to the server over stdin and stdout"),
    "name": ("name-is-ours", "the gateway names its containers"),
    "label": ("labels-are-ours", "labels steer other programs on the engine's machine; the gateway sets its own"),
    "attach": ("attach-is-ours", "stdin, stdout and stderr are always attached"),
    "detach-keys": ("attach-is-ours", "there is no terminal to detach from"),
    "sig-proxy": ("attach-is-ours", "signals have to reach the server"),
    "log-opt": ("log-driver", "nothing is logged by the engine, so that no disk fills up"),
    "memory-reservation": ("memory-limit", "the memory limit itself applies"),
    "memory-swappiness": ("memory-limit", "there is no swap"),
    "kernel-memory": ("memory-limit", "the memory limit includes it, and engines no longer know it"),
    "stop-timeout": ("stop-is-ours", "the gateway stops its servers itself; an engine that ends must not wait for one"),
    "health-cmd": _HEALTH,
    "health-interval": _HEALTH,
    "health-retries": _HEALTH,
    "health-start-interval": _HEALTH,
    "health-start-period": _HEALTH,
    "health-timeout": _HEALTH,
})  # fmt: skip

_FILE = "it reads or writes the gateway's own files; write the values into the configuration"
_NAMESPACE = "it shares a namespace with the host or another container"
_DEVICE = "it opens devices of the host"
_LIMIT = "it is about the host's resources; use --memory, --cpus and --pids-limit"

REFUSED: Mapping[str, tuple[str, str]] = MappingProxyType({
    "privileged": ("privileged", "it switches the isolation off; ask for single capabilities instead"),
    "use-api-socket": ("api-socket", "it hands the engine's socket and the registry credentials to the container"),
    "pid": ("host-namespace", _NAMESPACE),
    "uts": ("host-namespace", _NAMESPACE),
    "userns": ("host-namespace", _NAMESPACE),
    "volumes-from": ("volumes-from", "it takes over another container's mounts; name each volume"),
    "volume-driver": ("volume-driver", "a driver can mount anything; use a named volume"),
    "env-file": ("host-file", _FILE),
    "label-file": ("host-file", _FILE),
    "cidfile": ("host-file", _FILE),
    "link": ("link", "it joins another container's network and environment"),
    "mac-address": ("network-identity", "it can impersonate another machine"),
    "runtime": ("runtime", "it replaces the program that isolates the container"),
    "annotation": ("runtime", "annotations steer the program that isolates the container"),
    "isolation": ("runtime", "it replaces the program that isolates the container"),
    "cgroup-parent": ("cgroup-parent", "it leaves the limits of the gateway's containers"),
    "sysctl": ("sysctl", "it sets kernel parameters"),
    "oom-kill-disable": ("oom", "a container over its limit would hang instead of ending"),
    "oom-score-adj": ("oom", "other processes would be killed in its place"),
    "device-cgroup-rule": ("device", _DEVICE),
    "device-read-bps": ("device", _DEVICE),
    "device-read-iops": ("device", _DEVICE),
    "device-write-bps": ("device", _DEVICE),
    "device-write-iops": ("device", _DEVICE),
    "blkio-weight-device": ("device", _DEVICE),
    "cpu-period": ("resource-flag", _LIMIT),
    "cpu-quota": ("resource-flag", _LIMIT),
    "cpu-rt-period": ("resource-flag", _LIMIT),
    "cpu-rt-runtime": ("resource-flag", _LIMIT),
    "cpu-shares": ("resource-flag", _LIMIT),
    "blkio-weight": ("resource-flag", _LIMIT),
    "help": ("help", "it prints a text instead of starting a server"),
})  # fmt: skip

_ALLOWED_BY: Mapping[str, tuple[str, Callable[[Allowance], bool], str]] = MappingProxyType({
    "publish": ("publish", lambda allow: allow.ports, "a server over stdio needs no port of the host"),
    "publish-all": ("publish", lambda allow: allow.ports, "a server over stdio needs no port of the host"),
    "gpus": ("gpus", lambda allow: allow.gpus, "it opens devices of the host"),
})  # fmt: skip

# Flags with harmless values beside dangerous ones: the values that are kept, the rule, why not the others.
_CHOICES: Mapping[str, tuple[frozenset[str], str, str]] = MappingProxyType({
    "ipc": (frozenset({"private", "none"}), "host-namespace", _NAMESPACE),
    "cgroupns": (frozenset({"private"}), "host-namespace", _NAMESPACE),
})  # fmt: skip


def rule_plain(case: Case, run: DockerRun, owned_elsewhere: frozenset[str]) -> Part:
    """Judge every flag that no other part owns."""
    names = [name for name in run.names() if name not in owned_elsewhere]
    return joined(_judge(case, name, *effective(run, name)) for name in names)


def _judge(case: Case, name: str, values: tuple[str, ...], steps: tuple[Step, ...]) -> Part:
    if name in KEPT:
        return part(name, values, *steps)
    if name in DROPPED:
        return part(name, (), Step("dropped", f"--{name}", *DROPPED[name]))
    if RUN.longs[name].arity == "bool" and values == ("false",):
        return part(name, (), Step("dropped", f"--{name}", "default-anyway", "off is the default"))
    return _judge_by_value(case, name, values, steps)


def _judge_by_value(case: Case, name: str, values: tuple[str, ...], steps: tuple[Step, ...]) -> Part:
    if name in _ALLOWED_BY:
        return _judge_allowance(case, name, values, steps)
    if name in _CHOICES:
        return _judge_choice(case, name, values, steps)
    if name in _SPECIAL:
        return _SPECIAL[name](case, values)
    rule, why = REFUSED.get(name, ("flag-not-allowed", "it is not on the list of allowed flags"))
    return refuse(case, rule, f"--{name} is refused: {why}", "remove it")


def _judge_allowance(case: Case, name: str, values: tuple[str, ...], steps: tuple[Step, ...]) -> Part:
    rule, allows, why = _ALLOWED_BY[name]
    if not allows(case.allow):
        refuse(case, rule, f"--{name} is refused: {why}", f"remove it, or {WIDEN}")
    return part(name, values, *steps, Step("kept", f"--{name}", rule, "the allowlist allows it for this image"))


def _judge_choice(case: Case, name: str, values: tuple[str, ...], steps: tuple[Step, ...]) -> Part:
    harmless, rule, why = _CHOICES[name]
    if values[-1] not in harmless:
        refuse(case, rule, f"--{name}={values[-1]} is refused: {why}", f"use {' or '.join(sorted(harmless))}")
    return part(name, values, *steps)


def _judge_pull(_case: Case, values: Sequence[str]) -> Part:
    if values[-1] in ("never", "missing"):
        return part("pull", values[-1:])
    note = "an image changes when somebody pulls it, not with each start"
    return part("pull", (), Step("dropped", "--pull", "pull", note))


def _judge_restart(case: Case, values: Sequence[str]) -> Part:
    if values[-1] != "no":
        refuse(case, "restart", "--restart is refused: the gateway restarts its servers itself", "remove it")
    return part("restart", (), Step("dropped", "--restart", "default-anyway", "no restart is the default"))


def _judge_devices(case: Case, values: Sequence[str]) -> Part:
    """A device is allowed as it is written, or by its path on the host."""
    for value in values:
        if not {value, value.partition(":")[0]} & set(case.allow.devices):
            refuse(case, "device", f"--device={value} is refused: {_DEVICE}", f"remove it, or {WIDEN}")
    return part("device", values, Step("kept", "--device", "device", "the allowlist allows it for this image"))


_SPECIAL: Mapping[str, Callable[[Case, Sequence[str]], Part]] = MappingProxyType({
    "pull": _judge_pull,
    "restart": _judge_restart,
    "device": _judge_devices,
})  # fmt: skip

# What can come out of this module; ``obeys`` has no other source for it.
PLAIN_OUTPUT = KEPT | set(_ALLOWED_BY) | set(_CHOICES) | {"pull", "device"}
