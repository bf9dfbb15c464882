"""The networks of a container, and who it is there, for the Engine API. Pure."""

from __future__ import annotations

from typing import Any

from metamcp.runtime.command.create_values import InvalidValueError
from metamcp.runtime.command.grammar import DockerRun

_BUILT_IN = frozenset({"bridge", "default", "host", "none"})

Json = dict[str, Any]


def networking(run: DockerRun) -> Json:
    """``NetworkMode`` and ``NetworkingConfig``. Aliases and addresses belong to the first network; the engine judges
    the addresses. Raises InvalidValueError where the CLI refuses."""
    names = run.values("network")
    own = {name for name in names if name not in _BUILT_IN}
    if len(set(names)) < len(names):
        raise InvalidValueError("a network is specified multiple times")
    if own and len(own) < len(names):
        raise InvalidValueError(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
        )
    first = _identity(run)
    if "Aliases" in first and not own:
        raise InvalidValueError("network-scoped aliases are only supported for user-defined networks")
    endpoints: dict[str, Json] = {name: {} for name in names if len(names) > 1}
    if first:
        endpoints[names[0] if names else "default"] = first
    found: Json = {"HostConfig": {"NetworkMode": names[0]}} if names else {}
    return found | ({"NetworkingConfig": {"EndpointsConfig": endpoints}} if endpoints else {})


def _identity(run: DockerRun) -> Json:
    addresses: Json = {}
    for key, name in (("IPv4Address", "ip"), ("IPv6Address", "ip6")):
        if values := run.values(name):
            addresses[key] = values[-1]
    if links := run.values("link-local-ip"):
        addresses["LinkLocalIPs"] = list(links)
    found: Json = {"IPAMConfig": addresses} if addresses else {}
    aliases = run.values("network-alias")
    return found | ({"Aliases": list(aliases)} if aliases else {})
