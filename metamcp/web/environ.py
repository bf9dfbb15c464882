"""The head of a request as variables of a WSGI environment (PEP 3333)."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import unquote_to_bytes

from metamcp.protocol.http_head import Head

_OWN = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


def variables(head: Head) -> dict[str, str]:
    """Without fields whose name has a ``_``: they would look like others with a ``-``, and no proxy would see it."""
    path, _, query = head.target.partition("?")
    found = {
        "REQUEST_METHOD": head.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1") if "%" in path else path,
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": head.version,
        "RAW_URI": head.target,
    }
    for name, value in head.fields.items():
        if variable := _variable(name):
            found[variable] = value.decode("latin-1")
    return found


@lru_cache(maxsize=256)
def _variable(name: bytes) -> str:
    if b"_" in name:
        return ""
    return _OWN.get(name) or "HTTP_" + name.decode().upper().replace("-", "_")
