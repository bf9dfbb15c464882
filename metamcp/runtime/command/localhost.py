"""Inside a container "localhost" is the container: point such values at the machine that runs the engine instead.

Only the host part of a URL, of ``host[:port]`` or of a comma list of these changes; everything else stays
byte for byte. A value that is not clearly an address (prose, a path, ``user@localhost``) is left alone: a
wrong rewrite is harder to find than a missing one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

HOST_GATEWAY = "host.docker.internal"

# These name hosts that are reached *without* a proxy; the container's own loopback has to stay among them.
_ABOUT_LOOPBACK = frozenset({"NO_PROXY"})

_ASSIGNMENT = re.compile(r"(-{0,2}[A-Za-z_][A-Za-z0-9_.-]*=)(.*)", re.DOTALL)
_SCHEME = r"(?:[A-Za-z][A-Za-z0-9+.-]*:)+//"  # several names: jdbc:postgresql://
_URL = re.compile(rf"({_SCHEME})([^/?#\\\s]*)(\S*)")
_NEXT_URL = re.compile(rf",(?={_SCHEME})")
_ORIGIN = re.compile(rf"{_SCHEME}[^/?#\\]*/?")
_ENDPOINT = re.compile(r"(\s*)(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]*)?(\s*)")


def rewrite(value: str) -> str:
    """``value`` with every loopback host replaced by ``host.docker.internal``; takes a value or ``NAME=value``."""
    core = value.strip()
    if not core:
        return value
    before, _, after = value.partition(core)
    return before + _rewrite_core(core) + after


def rewrite_env(env: Mapping[str, str]) -> dict[str, str]:
    """``rewrite`` over a whole environment, except for the variables that are about loopback itself."""
    return {name: rewrite_variable(name, value) for name, value in env.items()}


def rewrite_variable(name: str, value: str) -> str:
    return value if name.upper() in _ABOUT_LOOPBACK else rewrite(value)


def _rewrite_core(text: str) -> str:
    assignment = _ASSIGNMENT.fullmatch(text)
    if assignment:
        return assignment[1] + rewrite(assignment[2])
    if _URL.fullmatch(text):
        return _rewrite_urls(text)
    return HOST_GATEWAY if text == "::1" else _rewrite_list(text)


def _rewrite_urls(text: str) -> str:
    """One URL, or a comma list of origins. Behind a path or a query a comma belongs to that path or query."""
    urls = _NEXT_URL.split(text)
    if not all(_ORIGIN.fullmatch(url) for url in urls[:-1]):
        urls = [text]
    return ",".join(_URL.sub(_rewrite_url, url, count=1) for url in urls)


def _rewrite_url(url: re.Match[str]) -> str:
    scheme, authority, rest = url.groups()
    userinfo, at, hosts = authority.rpartition("@")
    hosts, semicolon, options = hosts.partition(";")  # jdbc:sqlserver://host:1433;databaseName=x
    return f"{scheme}{userinfo}{at}{_rewrite_list(hosts)}{semicolon}{options}{rest}"


def _rewrite_list(text: str) -> str:
    """``host[:port]``, or several with commas; unchanged as a whole when one item is anything else."""
    items = [_ENDPOINT.fullmatch(item) for item in text.split(",")]
    found = [item for item in items if item is not None]
    is_prose = any(char.isspace() for char in text) and not all(item[3] for item in found)
    if is_prose or len(found) < len(items):
        return text
    return ",".join(_rewrite_endpoint(item) for item in found)


def _rewrite_endpoint(item: re.Match[str]) -> str:
    before, host, port, after = item.groups("")
    return f"{before}{HOST_GATEWAY if _is_loopback(host) else host}{port}{after}"


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        return address == ipaddress.IPv6Address(1)
    return address.is_loopback or address == ipaddress.IPv4Address(0)
