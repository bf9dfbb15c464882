"""The console: a page for each subject, and what all its answers have in common."""

from __future__ import annotations

from flask import Blueprint, Response
from werkzeug.exceptions import HTTPException

from metamcp.errors import MetaMCPError
from metamcp.web.console import actions, editing, endpoints, formats, inspector, overview, pages, sign_in, try_it

blueprint = Blueprint(
    "console", "metamcp.web.console", template_folder="templates", static_folder="static",
    static_url_path="/console/static",
)  # fmt: skip

_ROUTES = (
    ("GET", "/", overview.servers),
    ("GET", "/console/servers/<server>", overview.server),
    ("POST", "/console/servers/<server>/<action>", actions.act),
    ("POST", "/console/reload", actions.reload),
    ("GET", "/console/sessions", overview.sessions),
    ("GET", "/console/calls", overview.calls),
    ("GET", "/console/endpoints", endpoints.all_of_them),
    ("GET", "/console/endpoints/<name>", endpoints.one),
    ("GET", "/console/endpoints/<name>/tools/<tool>", try_it.form),
    ("POST", "/console/endpoints/<name>/tools/<tool>", try_it.call),
    ("GET", "/console/endpoints/<name>/inspect", inspector.inspect),
    ("POST", "/console/endpoints/<name>/inspect/messages", inspector.send),
    ("GET", "/console/endpoints/<name>/inspect/messages", inspector.listen),
    ("DELETE", "/console/endpoints/<name>/inspect/messages", inspector.end),
    ("POST", "/console/fields", inspector.fields),
    ("GET", "/console/configuration", editing.configuration),
    ("GET", "/console/configuration/<kind>", editing.add),
    ("GET", "/console/configuration/<kind>/<path:name>", editing.change),
    ("GET", "/console/diagnostics", overview.diagnostics),
    ("POST", "/console/diagnostics", actions.diagnose),
    ("GET", "/login", sign_in.login),
    ("POST", "/login", sign_in.sign_in),
    ("POST", "/logout", sign_in.sign_out),
)

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

for _method, _rule, _view in _ROUTES:
    # A slash more or less is no other page: it would be a redirect.
    blueprint.add_url_rule(_rule, _view.__name__, _view, methods=[_method], strict_slashes=False)

for _kind in (MetaMCPError, HTTPException, Exception):
    blueprint.register_error_handler(_kind, pages.failed)

blueprint.context_processor(pages.common)
blueprint.app_template_global("look")(formats.look)
blueprint.app_template_filter("shown")(formats.shown)


@blueprint.after_request
def _protect(response: Response) -> Response:
    """Nothing but its own scripts, styles and addresses, and nobody's frame."""
    response.headers.update(_HEADERS)
    if response.mimetype == "text/html":
        response.headers["Cache-Control"] = "no-store"
    return response
