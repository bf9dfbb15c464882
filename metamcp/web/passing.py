"""Headers of a client's request that servers of its endpoint want to have (``passHeaders``)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from metamcp.access.signing_in import COOKIE
from metamcp.errors import InvalidRequest
from metamcp.gateway.interface import Passed
from metamcp.web.incoming import Incoming

MOST = 4096
"""Characters of one value."""

_VISIBLE = re.compile(r"[\x20-\x7e]+")
_OWN_KEY = re.compile(r"mmcp_[A-Za-z0-9_-]{43}")
_OWN_COOKIE = re.compile(rf"(?:^|;)\s*{COOKIE}=[^;]*")


def passed(incoming: Incoming, names: Sequence[str]) -> Passed:
    """Those of ``names`` that the client sent, without what opens the gateway itself. Raises InvalidRequest for a value
    that no server could be given."""
    found = {name: value for name in names if (value := _foreign(incoming, name))}
    for name, value in found.items():
        if len(value) > MOST or _VISIBLE.fullmatch(value) is None:
            text = f"the header {name} goes on to a server and may have {MOST} characters of visible ASCII at most"
            raise InvalidRequest(text)
    return Passed(tuple(found.items()))


def _foreign(incoming: Incoming, name: str) -> str:
    value = incoming.header(name) or ""
    door = incoming.door
    if name == "authorization" and door is not None and door.auth == "oauth":
        return ""  # the token is for this gateway (RFC 8707), and nobody else may get it
    if _OWN_KEY.search(value):
        return ""
    return _OWN_COOKIE.sub("", value).strip("; ") if name == "cookie" else value
