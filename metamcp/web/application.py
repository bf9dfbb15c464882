"""The Flask application: a blueprint per subject, one guard before all of them."""

from __future__ import annotations

from flask import Flask

from metamcp.protocol.http_head import MAX_BODY
from metamcp.web import auth, cors, docker_test, errors, ops, sse, streamable, well_known
from metamcp.web.state import WebState


def create_app(state: WebState) -> Flask:
    """An application that serves ``state.gateway``."""
    app = Flask("metamcp", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    # No redirects: several clients lose the body, the method or the key on them.
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    state.install(app)
    errors.register(app)
    app.before_request(auth.check_origin)
    cors.register(app)
    auth.register(app)
    for room in (streamable, sse, docker_test, ops, well_known):
        app.register_blueprint(room.blueprint)
    return app
