"""What Streamable HTTP says about headers, decided on paper: values in, verdicts out, no framework.

Rules of MCP 2025-06-18 and 2025-11-25, Transports. Lenient where known clients are wrong: an absent
``Accept`` or ``*/*`` means both kinds; one kind alone is answered in that kind.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from metamcp.errors import InvalidRequest, RequestRefused
from metamcp.protocol.versions import HANDSHAKE

JSON = "application/json"
SSE = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Accepts:
    """Which kinds of answer the client takes."""

    json: bool
    sse: bool


class NotAcceptable(InvalidRequest):
    http_status = 406


class UnsupportedMediaType(InvalidRequest):
    http_status = 415


class MisdirectedRequest(RequestRefused):
    """The Host is not one of ours: a rebound DNS name, or a name that the operator has not listed."""

    http_status = 421


def accepts(header: str | None) -> Accepts:
    """Read ``Accept``. Raises NotAcceptable when neither kind would be taken."""
    kinds = _kinds(header)
    both = "*/*" in kinds
    found = Accepts(json=both or JSON in kinds or "application/*" in kinds, sse=takes_events(header))
    if not (found.json or found.sse):
        raise NotAcceptable(f"Accept must contain {JSON}, {SSE} or both")
    return found


def takes_events(header: str | None) -> bool:
    """Does ``Accept`` admit server-sent events?"""
    return not _kinds(header).isdisjoint(("*/*", SSE, "text/*"))


def _kinds(header: str | None) -> frozenset[str]:
    text = header or "*/*"
    return _usual_kinds(text) if len(text) <= _USUAL_LENGTH else _read_kinds(text)


def _read_kinds(text: str) -> frozenset[str]:
    return frozenset([part.split(";", 1)[0].strip().lower() for part in text.split(",")])


_USUAL_LENGTH = 200
_usual_kinds = lru_cache(maxsize=256)(_read_kinds)
"""Each client sends the same with each request, and most clients that of others."""


def require_json(content_type: str | None) -> None:
    """A POST body is JSON (Transports, Sending Messages). Raises UnsupportedMediaType."""
    kind = (content_type or "").split(";", 1)[0].strip().lower()
    if kind != JSON:
        raise UnsupportedMediaType(f"Content-Type must be {JSON}, not {kind or 'absent'}")


def check_version(header: str | None) -> None:
    """An unsupported ``MCP-Protocol-Version`` is answered with 400 (Protocol Version Header). Absent is fine."""
    if header and header not in HANDSHAKE:
        raise InvalidRequest(
            f"MCP-Protocol-Version {header!r} is not supported", supported=sorted(HANDSHAKE), requested=header
        )


def check_host(host: str | None, allowed: Collection[str]) -> None:
    """The Host header against DNS rebinding. ``allowed`` holds names with or without port."""
    value = (host or "").strip().lower()
    if value not in allowed and host_name(value) not in allowed:
        raise MisdirectedRequest(f"Host {host!r} is not allowed; the operator can add it to METAMCP_ALLOWED_HOSTS")


def check_host_without_keys(host: str | None, allowed: Collection[str], loopback: Collection[str]) -> None:
    """Where nobody has a key yet, only this machine is served, whatever else is allowed."""
    if host_name((host or "").strip().lower()) not in loopback:
        check_host(host, allowed)
        raise MisdirectedRequest(
            f"Host {host!r} is not served as long as there is no API key: python -m metamcp keys create NAME --scope …"
        )


def check_origin(origin: str | None, allowed: Collection[str]) -> None:
    """An invalid Origin is answered with 403 (Transports, Security Warning). Absent means: not a browser."""
    if origin and not origin_allowed(origin, allowed):
        raise RequestRefused(f"Origin {origin!r} is not allowed; the operator can add it to METAMCP_ALLOWED_ORIGINS")


def origin_allowed(origin: str, allowed: Collection[str]) -> bool:
    """``allowed`` holds whole origins, and names of hosts that may have any scheme and port."""
    value = origin.strip().lower()
    return value in allowed or host_name(value.split("://", 1)[-1]) in allowed


def host_name(value: str) -> str:
    """``name:port`` without the port; ``[::1]:80`` gives ``[::1]``."""
    if value.startswith("["):
        return value.split("]", 1)[0] + "]"
    return value.split(":", 1)[0]
