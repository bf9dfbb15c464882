"""Diagnostics of Docker: ``/docker-test/check``, ``/test`` and ``/info``."""

from __future__ import annotations

from flask import Blueprint, Response

from metamcp.gateway.interface import Is, Outbound
from metamcp.protocol import jsonrpc
from metamcp.protocol.http_rules import JSON
from metamcp.web.operator import ask, document, failure_text

CHECK_SECONDS = 2.8  # the promise is 3 s whatever the engine does; the supervisor gives up after 2 s
TEST_SECONDS = 60.0
INFO_SECONDS = 15.0

blueprint = Blueprint("docker_test", __name__, url_prefix="/docker-test")


@blueprint.get("/check")
def check() -> Response:
    """Can the supervisor use the engine? 200, or 503 with an error and a hint."""
    found = ask("docker-check", CHECK_SECONDS)
    return _unreachable(found, {"accessible": False}) if found.kind == Is.FAILED else document(found)


@blueprint.get("/test")
def test() -> Response:
    """Every check, with a real container."""
    found = ask("docker-test", TEST_SECONDS)
    return _unreachable(found, {"ok": False, "checks": []}) if found.kind == Is.FAILED else document(found)


@blueprint.get("/info")
def info() -> Response:
    """The engine, the policy in force, images and containers."""
    found = ask("docker-info", INFO_SECONDS)
    return _unreachable(found, {}) if found.kind == Is.FAILED else document(found)


def _unreachable(found: Outbound, shape: dict[str, object]) -> Response:
    hint = "the supervisor process does not answer: look into its log; gunicorn restarts it in all-in-one mode"
    body = shape | {"error": failure_text(found), "hint": hint}
    return Response(jsonrpc.encode(body), 503, mimetype=JSON)
