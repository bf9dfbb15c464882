"""Ports as the docker CLI reads them (``--expose``, ``--publish``), for the Engine API. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Any

from metamcp.runtime.command.create_values import InvalidValueError, invalid

_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_PROTOCOLS = ("tcp", "udp", "sctp")
_MOST = 65535

Json = dict[str, Any]


def exposed(values: Sequence[str]) -> Json:
    """``PORT[-PORT][/PROTOCOL]`` → ``{"80/tcp": {}}``. Raises InvalidValueError."""
    found: Json = {}
    for value in values:
        if ":" in value:
            raise InvalidValueError(f"invalid port format for --expose: {value}")
        ports, _, protocol = value.partition("/")
        protocol = protocol or "tcp"  # whatever it is, as in the CLI
        first, last = _range("expose", value, ports)
        found |= {f"{port}/{protocol}": {} for port in range(first, last + 1)}
    return found


def published(values: Sequence[str]) -> Json:
    """``[[ADDRESS:]HOST-PORT:]PORT[/PROTOCOL]`` with ranges, or ``target=…,published=…,protocol=…``."""
    bindings: dict[str, list[dict[str, str]]] = {}
    for value in values:
        for port, binding in _bound(value, _short(value) if "=" in value else value):
            bindings.setdefault(port, []).append(binding)
    return {"ExposedPorts": {port: {} for port in bindings}, "HostConfig": {"PortBindings": bindings}}


def _short(value: str) -> str:
    pairs = [field.partition("=") for field in value.split(",")]
    if not all(key and equals for key, equals, _ in pairs):
        raise InvalidValueError(f"invalid publish opts format (should be name=value): {value}")
    fields = {"protocol": "tcp"} | {key: text for key, _, text in pairs}
    return f"{fields.get('published', '')}:{fields.get('target', '')}/{fields['protocol']}"


def _bound(value: str, spec: str) -> Iterator[tuple[str, dict[str, str]]]:
    *before, inner = spec.split(":")
    outer = before.pop() if before else ""
    host = _host(value, ":".join(before))
    ports, protocol = _protocol(value, inner)
    first, last = _range("publish", value, ports)
    from_, to = _range("publish", value, outer) if outer else (0, 0)
    if outer and last - first != to - from_ and first != last:
        raise invalid("publish", value, "invalid ranges specified for container and host Ports")
    for step in range(last - first + 1):
        chosen = "" if not outer else f"{from_}-{to}" if first == last and from_ != to else str(from_ + step)
        yield f"{first + step}/{protocol}", {"HostIp": host, "HostPort": chosen}


def _host(value: str, text: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(bare if not bare or ipaddress.ip_address(bare) else "")
    except ValueError:
        raise invalid("publish", value, f"invalid IP address: {bare}") from None


def _protocol(value: str, text: str) -> tuple[str, str]:
    ports, _, protocol = text.partition("/")
    if (protocol or "tcp").lower() not in _PROTOCOLS:
        raise invalid("publish", value, f"invalid proto: {protocol}")
    return ports, (protocol or "tcp").lower()


def _range(flag: str, value: str, text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not all(_PORT.fullmatch(port) and int(port) <= _MOST for port in ((first, last) if dash else (first,))):
        raise invalid(flag, value, f"invalid range format: {text or 'no port specified'}")
    begin, end = int(first), int(last if dash else first)
    if end < begin:
        raise invalid(flag, value, f"invalid range specified for port: {text}")
    return begin, end
