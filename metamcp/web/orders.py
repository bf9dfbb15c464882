"""What operators order: about one server, or the configuration. Each is noted in the audit log with who it was."""

from __future__ import annotations

from flask import Blueprint, Response

from metamcp.gateway.interface import Ask, Outbound, Subject
from metamcp.web import caller
from metamcp.web.operator import document, put
from metamcp.web.present import incoming

_SECONDS = 30.0  # the engine, or a file system, may have to be asked

OF_SERVERS: tuple[Subject, ...] = ("restart", "stop", "wake", "reset", "accept-image")

blueprint = Blueprint("orders", __name__)


def _about_server(order: Subject) -> None:
    """200 with what is done, 404 for a server that there is not, 409 with what to do when it cannot be done now."""

    def view(server: str) -> Response:
        return document(give(order, server))

    blueprint.add_url_rule(f"/api/servers/<server>/{order}", order, view, methods=["POST"])


for _subject in OF_SERVERS:
    _about_server(_subject)


@blueprint.post("/api/reload")
def reload() -> Response:
    """200 with what changed, or 422 with every mistake of the files."""
    return document(give("reload"))


def give(subject: Subject, about: str = "") -> Outbound:
    """The order, in the name of whoever sends the present request."""
    client = caller.client(incoming(), "", "http")
    return put(Ask(subject, about, client.principal, client.address), _SECONDS)
