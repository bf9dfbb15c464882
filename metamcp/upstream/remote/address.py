"""Addresses of remote servers, on paper: which of them may get our headers, and what of them may be shown."""

from __future__ import annotations

from urllib.parse import SplitResult, urljoin, urlsplit

_PORTS = {"http": 80, "https": 443}


def same_origin(one: str, other: str) -> bool:
    """Scheme, host and port are equal (RFC 6454): what is meant for the one may be sent to the other."""
    try:
        return _origin(urlsplit(one)) == _origin(urlsplit(other))
    except ValueError:
        return False


def endpoint(stream: str, written: str) -> str | None:
    """The URL of an ``endpoint`` event, which may be relative to that of its stream; None when it is of another
    origin, where the configured headers must not go (MCP 2024-11-05, Transports: HTTP with SSE)."""
    try:
        found = urljoin(stream, written.strip())
    except ValueError:
        return None
    return found if written.strip() and same_origin(stream, found) else None


def shown(url: str) -> str:
    """Scheme, host and port alone: user, path and query may hold a key."""
    try:
        scheme, host, port = _origin(urlsplit(url))
    except ValueError:
        return "its url"
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" + ("" if port == _PORTS.get(scheme) else f":{port}")


def _origin(parts: SplitResult) -> tuple[str, str, int | None]:
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
