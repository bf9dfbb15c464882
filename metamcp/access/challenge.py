"""Values of ``WWW-Authenticate`` (RFC 9110, 11.6.1; RFC 6750, 3; RFC 9728, 5.1; MCP 2025-11-25, Authorization)."""

from __future__ import annotations

import re

from metamcp.config.names import oauth_scope

REALM = "metamcp"
_UNQUOTABLE = re.compile(r"[^\x20-\x7e]")


def bearer(error: str = "", description: str = "", scopes: tuple[str, ...] = (), metadata: str = "") -> str:
    """One challenge. ``metadata`` is the URL of the resource's metadata; without it clients need a key, not a token.
    ``scopes`` may come from a URL: what is no scope is left out."""
    parameters = {
        "resource_metadata": metadata,
        "realm": "" if metadata else REALM,
        "error": error,
        "error_description": description,
        "scope": " ".join(scope for scope in scopes if oauth_scope(scope) is None),
    }
    shown = ", ".join(f'{name}="{_quoted(value)}"' for name, value in parameters.items() if value)
    return f"Bearer {shown}"


def _quoted(text: str) -> str:
    """RFC 9110, 5.6.4; what a header cannot hold becomes ``?``."""
    return _UNQUOTABLE.sub("?", text).replace("\\", "\\\\").replace('"', '\\"')
