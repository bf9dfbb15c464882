"""What every page of the console has: its frame, the token of its forms, and a page for an error."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Response, render_template, request, url_for

from metamcp import __version__
from metamcp.errors import Unauthorized
from metamcp.protocol.http_rules import JSON
from metamcp.web import errors, forms
from metamcp.web.present import incoming


def page(template: str, status: int = 200, **context: Any) -> Response:
    """``template`` is one of ``templates/console``."""
    return Response(render_template(f"console/{template}", **context), status, mimetype="text/html")


def led_to(address: str) -> Response:
    """A form was sent, and what comes of it is seen there (RFC 9110, 15.4.4)."""
    return Response(status=303, headers={"Location": address})


def common() -> dict[str, Any]:
    """For every template. ``signed_in``: the name of the key, "" where nobody had to sign in."""
    asked = incoming()
    signed_in = asked.record.name if asked.cookie and asked.record is not None else ""
    return {"csrf": forms.token(asked), "signed_in": signed_in, "version": __version__}


def wants_json() -> bool:
    """A script of ours sent the form, and shows what came of it."""
    return request.accept_mimetypes.best_match(["text/html", JSON]) == JSON


def failed(error: Exception) -> Response:
    """Who has not signed in is asked to, once there is something to show."""
    if isinstance(error, Unauthorized) and request.method in ("GET", "HEAD"):
        return led_to(url_for("console.login", next=request.full_path.rstrip("?")))
    outgoing = errors.answer(incoming(), error)
    if wants_json():
        return outgoing.flask()
    text = str(msgspec.json.decode(bytes(outgoing.body))["error"]["message"])  # type: ignore[arg-type]
    response = page("error.html", outgoing.status, text=text, code=outgoing.status)
    response.headers.extend((name, value) for name, value in outgoing.headers if name in ("Allow", "Retry-After"))
    return response
