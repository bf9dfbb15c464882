"""Who calls, as the gateway is told: the principal, and the address by which those without a name are told apart."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

import msgspec

from metamcp.gateway.interface import Client, Transport
from metamcp.web import passing
from metamcp.web.incoming import Incoming

_UNKNOWN = "unknown"


def client(
    incoming: Incoming, endpoint: str, transport: Transport, session: str = "", revision: str = ""
) -> Client:
    """Its address is, behind the trusted proxies (``METAMCP_TRUSTED_PROXIES``), what the last of them has seen."""
    return Client(
        endpoint, incoming.principal, transport, session, revision, network(incoming.remote_address),
        incoming.request_id, incoming.trace,
    )  # fmt: skip


def opening(incoming: Incoming, endpoint: str, transport: Transport, revision: str = "") -> Client:
    """Of a request that may start instances for its client: with the headers that servers want of it. Raises
    InvalidRequest for one that cannot be passed on."""
    found = client(incoming, endpoint, transport, "", revision)
    door = incoming.door
    if door is None or not door.passes:
        return found
    return msgspec.structs.replace(found, passed=passing.passed(incoming, door.passes))


def owner(incoming: Incoming) -> str:
    """Who is limited by this request."""
    return client(incoming, "", "http").owner


@lru_cache(maxsize=4096)
def network(text: str) -> str:
    """An address of IPv4, or the /64 of one of IPv6: whoever has one has all of it."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return _UNKNOWN
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, 64), strict=False))
