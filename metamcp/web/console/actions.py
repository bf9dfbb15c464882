"""What an operator does from a page: sent as a form, answered with a page, or in JSON to a script that shows it."""

from __future__ import annotations

import json

from flask import Response, url_for
from werkzeug.exceptions import NotFound

from metamcp.gateway.interface import Is, Subject
from metamcp.web import orders
from metamcp.web.console import documents
from metamcp.web.console.pages import page, wants_json
from metamcp.web.docker_test import TEST_SECONDS
from metamcp.web.operator import document, failure_text


def act(server: str, action: str) -> Response:
    """As ``POST /api/servers/<server>/<action>``."""
    order = next((it for it in orders.OF_SERVERS if it == action), None)
    if order is None:
        raise NotFound(f"there is no action {action!r}")
    return _order(order, server, url_for("console.server", server=server))


def reload() -> Response:
    """As ``POST /api/reload``."""
    return _order("reload", "", url_for("console.servers"))


def diagnose() -> Response:
    """As ``/docker-test/test``."""
    report = documents.asked("docker-test", seconds=TEST_SECONDS)
    return page("diagnostics.html", report=report)


def _order(subject: Subject, about: str, back: str) -> Response:
    found = orders.give(subject, about)
    if wants_json():
        return document(found)
    said = {"error": failure_text(found)} if found.kind == Is.FAILED else json.loads(found.data)
    text = said.get("text") or said.get("error") or ""
    return page("done.html", found.status, done=found.status == 200, said=said, text=text, back=back)
