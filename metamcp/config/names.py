"""What the names in the configuration may look like. Each check gives a problem, or None."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_SERVER = re.compile(r"[A-Za-z0-9_-]{1,32}")
_URL_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,63}")
_TOOL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, section 5.6.2
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_USER_NAME = r"(?:[0-9]{1,10}|[A-Za-z_][A-Za-z0-9_.-]{0,31})"
_USER = re.compile(rf"{_USER_NAME}(?::{_USER_NAME})?")
_CAPABILITY = re.compile(r"(?:CAP_)?[A-Z][A-Z_]*")
_TEMPLATE = re.compile(r"\$\{[^}]*\}")

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749, section 3.3
_PLAIN_HTTP = ("localhost", "127.0.0.1", "::1", "host.docker.internal")

_OF_THE_CONNECTION = frozenset({
    "accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
    "keep-alive", "last-event-id", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip

RESERVED_ENDPOINT = "admin"  # a key's scope is the name of an endpoint, or this word


def server_name(name: str) -> str | None:
    """Tools are called ``<server>__<tool>``: ``__`` in a name, or ``_`` at its end, leaves open where to cut."""
    if _SERVER.fullmatch(name) is None:
        return "is no name for a server: 1 to 32 of A-Z a-z 0-9 _ -"
    if "__" in name or name.endswith("_"):
        return "is no name for a server: tools are called <server>__<tool>, so no __ within it and no _ at its end"
    return None


def url_safe_name(name: str) -> str | None:
    if _URL_SAFE.fullmatch(name) is None:
        return "is no usable name: 1 to 64 of A-Z a-z 0-9 . _ ~ -, beginning with a letter or digit"
    return None


def endpoint_name(name: str) -> str | None:
    if name == RESERVED_ENDPOINT:
        return f"cannot be called {RESERVED_ENDPOINT}: that word is the scope of keys for operators"
    return url_safe_name(name)


def tool_name(name: str) -> str | None:
    return None if _TOOL.fullmatch(name) else "must be 1 to 64 of A-Z a-z 0-9 _ -, because clients refuse others"


def variable_name(name: str) -> str | None:
    return None if _VARIABLE.fullmatch(name) else "is no name for an environment variable"


def header_name(name: str) -> str | None:
    return None if _HEADER.fullmatch(name) else "is no name for an HTTP header"


def passed_header(name: str) -> str | None:
    """A header that may go on from a client to a server: none that is about this one connection, or its body."""
    if name.lower() in _OF_THE_CONNECTION or name.lower().startswith("mcp-"):
        return "belongs to the client's connection with the gateway, and cannot be passed on"
    return header_name(name)


def header_value(text: str) -> str | None:
    return "must not contain line breaks or control characters" if _CONTROL.search(text) else None


def command(text: str) -> str | None:
    return "must be the program itself: ${…} is replaced in args, env, url and headers only" if "${" in text else None


def remote_url(text: str) -> str | None:
    """What stands in ``${…}`` is not known yet, so a URL that begins with it is not looked into."""
    if text.startswith("${"):
        return None
    try:
        parts = urlsplit(_TEMPLATE.sub("1", text))
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    return None if usable and not re.search(r"\s", text) else "must be a URL such as https://mcp.example.com/mcp"


def trusted_url(text: str) -> str | None:
    """Of an issuer or its keys (RFC 8414, section 2): whoever could change on the way what comes from there could make
    tokens. No user in it: the name before the last @ of a principal is the subject's."""
    try:
        parts = urlsplit(text)
        host, plain = parts.hostname, parts.scheme == "http"
        usable = parts.scheme in ("http", "https") and host and parts.port != 0 and not parts.fragment
    except ValueError:
        usable = False
    if not usable or "@" in text or not text.isascii() or re.search(r"[\x00-\x20\x7f\"\\]", text):
        return "must be a URL such as https://login.example.com, without user and fragment"
    return "must begin with https:// (http:// is for loopback alone)" if plain and host not in _PLAIN_HTTP else None


def issuer(text: str) -> str | None:
    return "must have no query" if "?" in text else trusted_url(text)


def oauth_scope(text: str) -> str | None:
    return None if _SCOPE.fullmatch(text) else 'must be one scope: visible ASCII without spaces, " and \\'


def absolute_path(text: str) -> str | None:
    if not text.startswith("/") or text.strip("/") == "":
        return "must be an absolute path of a directory, and not / itself"
    return "must not contain . or .. or //" if {"", ".", ".."} & set(text[1:].rstrip("/").split("/")) else None


def device_path(text: str) -> str | None:
    return None if text.startswith("/dev/") and len(text) > 5 and ".." not in text else "must be a path below /dev/"


def container_user(text: str) -> str | None:
    return None if _USER.fullmatch(text) else 'must be USER or USER:GROUP, by number or name, such as "65534:65534"'


def capability(text: str) -> str | None:
    return None if _CAPABILITY.fullmatch(text) else "must be a capability of Linux such as SYS_ADMIN, in upper case"
