"""The Flask application: a blueprint per subject, one guard before all of them."""

from __future__ import annotations

from typing import cast

from flask import Flask, Response
from werkzeug.middleware.proxy_fix import ProxyFix

from metamcp.telemetry.edge import EDGE, route_of
from metamcp.web import (
    administration,
    auth,
    cors,
    docker_test,
    errors,
    forms,
    ops,
    orders,
    present,
    probe,
    rates,
    sse,
    standing,
    streamable,
    well_known,
)
from metamcp.web.console import routes as console
from metamcp.web.direct import Application, Direct
from metamcp.web.present import incoming
from metamcp.web.state import WebState


def create_app(state: WebState) -> Flask:
    """An application that serves ``state.gateway``."""
    app = Flask("metamcp", static_folder=None)
    # No redirects: several clients lose the body, the method or the key on them.
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    state.install(app)
    app.wsgi_app = Direct(cast("Application", app.wsgi_app), state)  # type: ignore[method-assign]
    if state.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=state.trusted_proxies, x_proto=0)  # type: ignore[method-assign]
    errors.register(app)
    present.register(app)
    app.before_request(lambda: auth.check_origin(incoming()))
    cors.register(app)
    auth.register(app)
    forms.register(app)
    rates.register(app)  # who is limited is known by now
    for room in (streamable, sse, probe, docker_test, ops, orders, administration, standing, well_known, console):
        app.register_blueprint(room.blueprint)
    app.after_request(_count)
    return app


def _count(response: Response) -> Response:
    EDGE.request(route_of(incoming().operation), response.status_code)
    return response
