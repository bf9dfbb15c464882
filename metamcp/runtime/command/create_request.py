"""What ``POST /containers/create`` is asked for a ``DockerRun``: the second rendering of a decision; ``grammar.emit``
is the first. It means what the docker CLI makes of that argv, which a differential test asks the installed CLI for.

Values that the CLI refuses itself are refused here in its words. Only what the policy may give back is rendered.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from metamcp.runtime.command.create_values import (
    InvalidValueError,
    address,
    capabilities,
    device,
    extra_host,
    gpu_request,
    search_domain,
    ulimit,
)
from metamcp.runtime.command.grammar import DockerRun
from metamcp.runtime.command.networks import networking
from metamcp.runtime.command.ports import exposed, published

Json = dict[str, Any]
Values = Sequence[str]

_STDIO = {
    "AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "OpenStdin": True, "StdinOnce": True, "Tty": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """``query``: name and platform. ``body`` holds what differs from the engine's defaults, values of environment
    variables among it: it must never be shown."""

    query: Mapping[str, str]
    body: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"CreateRequest(query={dict(self.query)!r})"


def create_request(run: DockerRun, environment: Mapping[str, str]) -> CreateRequest:
    """``environment``: the values of what ``run`` names by ``--env NAME``. Raises InvalidValueError."""
    body: Json = {"Image": run.image, "HostConfig": {}}
    if run.command:
        body["Cmd"] = list(run.command)
    for name in run.names():
        if name not in _ELSEWHERE:
            _merge(body, _rendered(name, run.values(name)))
    _merge(body, _environment(run, environment))
    _merge(body, networking(run))
    query = {name: run.values(name)[-1] for name in ("name", "platform") if run.values(name)}
    return CreateRequest(query, body)


def pulls(run: DockerRun) -> bool:
    """Whether an image that the engine does not have is to be fetched (``--pull=missing``, the default)."""
    return run.values("pull")[-1:] != ("never",)


# Parts of the path, of the client's own behaviour, or of several options together.
_ELSEWHERE = frozenset({
    "env", "ip", "ip6", "link-local-ip", "name", "network", "network-alias", "platform", "pull", "quiet",
})  # fmt: skip


def _rendered(name: str, values: Values) -> Json:
    render = _RENDER.get(name)
    if render is None:
        raise InvalidValueError(f"--{name} has no meaning for the Engine API here")
    try:
        return render(values)
    except InvalidValueError:
        raise
    except (ValueError, ArithmeticError) as error:
        raise InvalidValueError(f'invalid argument "{values[-1]}" for "--{name}" flag') from error


def _merge(body: Json, more: Mapping[str, Any]) -> None:
    """Objects are joined; everything else is set."""
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(body.get(key), dict):
            _merge(body[key], value)
        else:
            body[key] = value


def _environment(run: DockerRun, environment: Mapping[str, str]) -> Json:
    pairs = (text.partition("=") for text in run.values("env"))
    values = {name: value if equals else environment[name] for name, equals, value in pairs}
    return {"Env": [f"{name}={value}" for name, value in values.items()]} if values else {}


# --- one option each ---------------------------------------------------------------------------------------

_Render = Callable[[Values], Json]


def _text(key: str) -> _Render:
    return lambda values: {key: values[-1]}


def _of_host(key: str, read: Callable[[Values], Any]) -> _Render:
    return lambda values: {"HostConfig": {key: read(values)}}


def _host_text(key: str) -> _Render:
    return _of_host(key, lambda values: values[-1])


def _host_number(key: str) -> _Render:
    return _of_host(key, lambda values: int(values[-1]))


def _host_switch(key: str) -> _Render:
    return _of_host(key, lambda values: values[-1] == "true")


def _host_list(key: str, read: Callable[[str], Any] = str) -> _Render:
    return _of_host(key, lambda values: [read(value) for value in values])


def _nano_cpus(values: Values) -> int:
    nano = Decimal(values[-1]) * 1_000_000_000
    if nano != int(nano):
        raise InvalidValueError(f'invalid argument "{values[-1]}" for "--cpus" flag: value is too precise')
    return int(nano)


def _labels(values: Values) -> Json:
    return {"Labels": dict(value.partition("=")[::2] for value in values)}


def _volumes(values: Values) -> Json:
    """A lone target is a volume of the image's own kind: anonymous, and gone with the container."""
    found: Json = {"HostConfig": {"Binds": list(dict.fromkeys(value for value in values if ":" in value))}}
    anonymous: Json = {value: {} for value in values if ":" not in value}
    return found | ({"Volumes": anonymous} if anonymous else {})


def _mount(text: str) -> Json:
    fields = dict(field.partition("=")[::2] for field in next(csv.reader([text])))
    if not fields.get("target"):
        raise InvalidValueError(f'invalid argument "{text}" for "--mount" flag: target is required')
    found: Json = {"Type": fields["type"], "Target": fields["target"]}
    found |= {"Source": fields["source"]} if fields.get("source") else {}
    found |= {"ReadOnly": True} if fields.get("readonly") == "true" else {}
    found |= {"Consistency": fields["consistency"].lower()} if fields.get("consistency") else {}
    if propagation := fields.get("bind-propagation"):
        found["BindOptions"] = {"Propagation": propagation.lower()}
    if fields.get("volume-nocopy") == "true":
        found["VolumeOptions"] = {"NoCopy": True}
    if tmpfs := _tmpfs_options(text, fields):
        found["TmpfsOptions"] = tmpfs
    return found


def _tmpfs_options(text: str, fields: Mapping[str, str]) -> Json:
    found: Json = {"SizeBytes": int(fields["tmpfs-size"])} if "tmpfs-size" in fields else {}
    if "tmpfs-mode" in fields:
        try:
            found["Mode"] = int(fields["tmpfs-mode"], 8)
        except ValueError as error:
            raise InvalidValueError(f'invalid argument "{text}" for "--mount" flag: tmpfs-mode') from error
    return found


def _tmpfs(values: Values) -> Json:
    return dict(value.partition(":")[::2] for value in values)


def _ulimits(values: Values) -> list[Json]:
    return list({limit["Name"]: limit for limit in map(ulimit, values)}.values())


_RENDER: Mapping[str, _Render] = MappingProxyType({
    "interactive": lambda _values: dict(_STDIO),
    "no-healthcheck": lambda _values: {"Healthcheck": {"Test": ["NONE"]}},
    "hostname": _text("Hostname"),
    "domainname": _text("Domainname"),
    "user": _text("User"),
    "workdir": _text("WorkingDir"),
    "stop-signal": _text("StopSignal"),
    "entrypoint": lambda values: {"Entrypoint": [values[-1]]},
    "label": _labels,
    "expose": lambda values: {"ExposedPorts": exposed(values)},
    "publish": published,
    "volume": _volumes,
    "rm": _host_switch("AutoRemove"),
    "init": _host_switch("Init"),
    "read-only": _host_switch("ReadonlyRootfs"),
    "publish-all": _host_switch("PublishAllPorts"),
    "memory": _host_number("Memory"),
    "memory-swap": _host_number("MemorySwap"),
    "pids-limit": _host_number("PidsLimit"),
    "shm-size": _host_number("ShmSize"),
    "cpus": _of_host("NanoCpus", _nano_cpus),
    "cpuset-cpus": _host_text("CpusetCpus"),
    "ipc": _host_text("IpcMode"),
    "cgroupns": _host_text("CgroupnsMode"),
    "cap-add": _of_host("CapAdd", capabilities),
    "cap-drop": _of_host("CapDrop", capabilities),
    "security-opt": _host_list("SecurityOpt"),
    "group-add": _host_list("GroupAdd"),
    "dns": _host_list("Dns", lambda value: address("dns", value)),
    "dns-option": _host_list("DnsOptions"),
    "dns-search": _host_list("DnsSearch", search_domain),
    "add-host": _host_list("ExtraHosts", extra_host),
    "device": _host_list("Devices", device),
    "gpus": _host_list("DeviceRequests", gpu_request),
    "ulimit": _of_host("Ulimits", _ulimits),
    "mount": _host_list("Mounts", _mount),
    "tmpfs": _of_host("Tmpfs", _tmpfs),
    "log-driver": lambda values: {"HostConfig": {"LogConfig": {"Type": values[-1]}}},
})  # fmt: skip

RENDERED = _ELSEWHERE | set(_RENDER)
"""Every option that has a rendering."""
