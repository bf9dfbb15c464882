"""Pages that change the configuration and the keys. Their scripts ask the routes of administration, like any other
client of those; the pages say what may be written.
"""

from __future__ import annotations

import json

from flask import Response
from werkzeug.exceptions import NotFound

from metamcp.web.console.pages import page

KINDS = {"servers": "server", "namespaces": "namespace", "endpoints": "endpoint", "images": "image rule"}
"""By the last part of their route, what one is called."""


def configuration() -> Response:
    """What there is, to be changed; keys, too."""
    return page("configuration.html", kinds=KINDS)


def add(kind: str) -> Response:
    return _form(kind, "")


def change(kind: str, name: str) -> Response:
    return _form(kind, name)


def _form(kind: str, name: str) -> Response:
    """Raises NotFound."""
    from metamcp.config import described  # noqa: PLC0415  marshmallow, for those alone who change something

    if kind not in KINDS:
        raise NotFound(f"there is no kind {kind!r} of things to be changed")
    schema = json.dumps(described.described(kind))
    key = described.NAMES[kind]
    return page("edit.html", kind=kind, one=KINDS[kind], name=name, key=key, schema=schema)
