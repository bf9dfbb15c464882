"""The head of a request as variables of a WSGI environment (PEP 3333), and what those are called."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import unquote_to_bytes

from metamcp.protocol.http_head import Head

CONNECTION = "metamcp.connection"
"""In which the HTTP server gives the client's connection (``web/hangup.py``)."""

REQUEST = "metamcp.request"
"""In which the access log finds what the request is called (``web/request_ids.py``)."""

_OWN = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}


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
        if called := variable(name):
            found[called] = value
    return found


@lru_cache(maxsize=256)
def variable(name: str) -> str:
    """Of the header ``name``, in whatever letters; "" for one that has none."""
    if "_" in name:
        return ""
    return _OWN.get(name.lower()) or "HTTP_" + name.upper().replace("-", "_")
