"""By which port a container could reach the gateway itself, decided on paper."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metamcp.runtime.diagnosis.advice import socket_path
from metamcp.runtime.diagnosis.outcomes import NotApplicableError

GATEWAY_NAME = "host.docker.internal"
ADD_HOST = ("--add-host", f"{GATEWAY_NAME}:host-gateway")


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the web tier listens, as METAMCP_BIND says; an IPv6 address without brackets."""

    host: str
    port: int

    @classmethod
    def of(cls, bind: str) -> Listening:
        host, _, port = bind.rpartition(":")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    @property
    def here(self) -> tuple[str, int]:
        """An address by which this very machine (or container) can try it."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host), self.port

    @property
    def loopback_only(self) -> bool:
        return _is_loopback(self.host)


def port_for_containers(listening: Listening, docker_host: str, own: Mapping[str, Any] | None) -> int:
    """The port at ``host.docker.internal``. ``own``: the container that the gateway runs in, as the engine describes
    it. Raises NotApplicableError where no container can reach the gateway there, and nothing is wrong with that."""
    if not listening.port:
        raise NotApplicableError("METAMCP_BIND leaves the port to the system")
    if listening.loopback_only:
        raise NotApplicableError(
            f"the gateway listens to {listening.host} alone (METAMCP_BIND), where no container reaches it; "
            f"if servers are to call it: METAMCP_BIND=0.0.0.0:{listening.port}, with API keys"
        )
    if own is None or (own.get("HostConfig") or {}).get("NetworkMode") == "host":
        if own is None and socket_path(docker_host) is None:
            raise NotApplicableError(f"{GATEWAY_NAME} is the machine of the engine at {docker_host}, not this one")
        return listening.port
    return _published(listening.port, own)


def _published(port: int, own: Mapping[str, Any]) -> int:
    ports = (own.get("NetworkSettings") or {}).get("Ports") or {}
    published = ports.get(f"{port}/tcp") or []
    if not published:
        raise NotApplicableError(
            f"port {port} of the gateway's container is not published, so {GATEWAY_NAME} does not lead to it; "
            "servers in a network of the gateway reach it there by its name"
        )
    reachable = [item for item in published if not _is_loopback(str(item.get("HostIp", "")))]
    if not reachable:
        raise NotApplicableError(
            f"port {port} of the gateway's container is published for {published[0].get('HostIp')} alone, where no "
            f"container reaches it; if servers are to call it, publish it without an address"
        )
    return int(reachable[0]["HostPort"])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
