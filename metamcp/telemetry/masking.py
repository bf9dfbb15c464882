"""Addresses as a log may show them: without what opens a door."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

SECRET_PARAMETERS = frozenset({"api_key", "ticket", "access_token", "sessionid", "session_id"})
SECRET_HEADERS = frozenset({"authorization", "x-api-key", "cookie", "mcp-session-id", "proxy-authorization"})

MASK = "***"
_KEY = re.compile(r"mmcp_[A-Za-z0-9_-]{43}")
_BETWEEN = re.compile(r"([?&])")
_QUERY = re.compile(r"(?<=\?)[^\s'\"#]*")


def mask_query(query: str) -> str:
    """A query string whose secret values are gone, however their names are encoded, also in a URL within it."""
    return "".join(map(_mask_parameter, _BETWEEN.split(query)))


def mask_address(text: str) -> str:
    """The same for every query within ``text``: a URL, a request line, a message about one."""
    return _KEY.sub(MASK, _QUERY.sub(lambda found: mask_query(found[0]), text))


def _mask_parameter(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    return f"{name}={MASK}" if equals and value and unquote_plus(name).lower() in SECRET_PARAMETERS else parameter
