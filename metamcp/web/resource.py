"""An endpoint as a protected resource (RFC 9728): its URL, which tokens are meant for, and where that is described."""

from __future__ import annotations

import re

from metamcp.protocol.http_rules import host_name
from metamcp.web.incoming import Incoming

WELL_KNOWN = "/.well-known/oauth-protected-resource"
KINDS = ("mcp", "sse")

_AUTHORITY = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")


def base_url(incoming: Incoming) -> str:
    """The gateway's own address as the client sees it: configured, or as its request says. The Host was checked; the
    scheme is that of the proxy, which only whoever asks could forge, and only for its own answer."""
    return incoming.state.public_url or used_url(incoming)


def used_url(incoming: Incoming) -> str:
    """The address of this request."""
    forwarded = incoming.header("X-Forwarded-Proto")
    scheme = forwarded if forwarded in ("http", "https") else incoming.scheme
    host = incoming.header("Host") or ""
    return f"{scheme}://{host if _AUTHORITY.fullmatch(host) else host_name(host)}"


def path_of(endpoint: str, kind: str, short: bool) -> str:
    """``short``: the endpoint ``default`` at its other address."""
    return f"/{kind}" if short else f"/metamcp/{endpoint}/{kind}"


def metadata_url(incoming: Incoming, endpoint: str) -> str:
    """Where the resource that is asked for is described; messages of HTTP+SSE belong to their stream."""
    last = incoming.path.rstrip("/").rpartition("/")[2]
    kind = "sse" if last in ("sse", "message") else "mcp"
    return base_url(incoming) + WELL_KNOWN + path_of(endpoint, kind, not incoming.path.startswith("/metamcp/"))


def audiences(incoming: Incoming, endpoint: str) -> list[str]:
    """Every URL of the endpoint: a token for one of them is a token for it."""
    forms = (False, True) if endpoint == "default" else (False,)
    paths = [path_of(endpoint, kind, short) for kind in KINDS for short in forms]
    return [base_url(incoming) + path + slash for path in paths for slash in ("", "/")]
