"""Who calls, as the gateway is told: the principal, and the address by which those without a name are told apart."""

from __future__ import annotations

import ipaddress
from typing import Literal

from flask import request

from metamcp.gateway.interface import Client
from metamcp.web.auth import principal

_UNKNOWN = "unknown"


def client(endpoint: str, transport: Literal["http", "sse"], session: str = "", revision: str = "") -> Client:
    """Of the present request."""
    return Client(endpoint, principal(), transport, session, revision, address())


def owner() -> str:
    """Who is limited by the present request."""
    return client("", "http").owner


def address() -> str:
    """Behind the trusted proxies (``METAMCP_TRUSTED_PROXIES``) what the last of them has seen."""
    return network(request.remote_addr or "")


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
