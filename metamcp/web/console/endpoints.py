"""Where clients come in: what each endpoint has, and what a client's configuration has to say to use it."""

from __future__ import annotations

from flask import Response
from werkzeug.exceptions import NotFound

from metamcp.config.client_files import snippets
from metamcp.web import resource
from metamcp.web.console import documents
from metamcp.web.console.pages import page
from metamcp.web.present import incoming


def all_of_them() -> Response:
    return page("endpoints.html", endpoints=documents.asked("endpoints"))


def one(name: str) -> Response:
    """With the address that the browser used."""
    found = next((it for it in documents.asked("endpoints") if it["name"] == name), None)
    if found is None:
        raise NotFound(f"there is no endpoint {name!r} (any more)")
    base = resource.used_url(incoming()) + f"/metamcp/{name}"
    shown = snippets(name, f"{base}/mcp", found["auth"] == "api-key")
    catalog = documents.asked("catalog", name)
    return page("endpoint.html", endpoint=found, base=base, snippets=shown, catalog=catalog)
