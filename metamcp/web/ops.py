"""Liveness, readiness, the snapshot, the metrics, and what else operators read."""

from __future__ import annotations

import time

import msgspec
from flask import Blueprint, Response

from metamcp.gateway.interface import Is
from metamcp.protocol import jsonrpc
from metamcp.protocol.http_rules import JSON
from metamcp.telemetry import exposition
from metamcp.telemetry.edge import EDGE
from metamcp.telemetry.metrics import SUPERVISOR_UP, Samples, lone, merged
from metamcp.web.auth import is_operator
from metamcp.web.operator import ask, document, failure_text
from metamcp.web.present import incoming

_SECONDS = 5.0
_samples = msgspec.json.Decoder(Samples)

blueprint = Blueprint("ops", __name__)


@blueprint.get("/health")
def health() -> Response:
    """200 while this web worker answers, whatever the rest does."""
    return Response(b'{"status":"ok"}', mimetype=JSON)


@blueprint.get("/ready")
def ready() -> Response:
    """200, or 503 with the reasons by name: supervisor, engine, servers. Whoever is no operator learns no names."""
    found = ask("ready", _SECONDS)
    if not is_operator(incoming()):
        status = 503 if found.kind == Is.FAILED else found.status
        return Response(jsonrpc.encode({"ready": status == 200}), status, mimetype=JSON)
    if found.kind == Is.FAILED:
        body = {"ready": False, "reasons": {"supervisor": failure_text(found)}}
        return Response(jsonrpc.encode(body), 503, mimetype=JSON)
    return document(found)


@blueprint.get("/api/status")
def status() -> Response:
    """The snapshot (docs/operations.md)."""
    return document(ask("status", _SECONDS))


@blueprint.get("/api/calls")
def calls() -> Response:
    """Requests of clients that are being worked on, and the last ones that were."""
    return document(ask("calls", _SECONDS))


@blueprint.get("/api/history")
def history() -> Response:
    """The last hour."""
    return document(ask("history", _SECONDS))


@blueprint.get("/api/endpoints")
def endpoints() -> Response:
    return document(ask("endpoints", _SECONDS))


@blueprint.get("/api/endpoints/<name>/catalog")
def catalog(name: str) -> Response:
    """What a client finds there. The variable is not called ``endpoint``: whoever enters here is an operator, and not a
    client of that endpoint (``auth.admit``)."""
    return document(ask("catalog", _SECONDS, name))


@blueprint.get("/metrics")
def metrics() -> Response:
    """Of the whole gateway, whichever worker is asked; while the supervisor is away, of the web tier alone
    (docs/metrics.md)."""
    told = _of_supervisor()
    up = {SUPERVISOR_UP.name: lone(float(told is not None))}
    page, kind = exposition.page(merged(up, EDGE.samples(), told or {}), incoming().header("Accept") or "")
    return Response(page, content_type=kind)


def _of_supervisor() -> Samples | None:
    """None when it does not answer."""
    begun = time.perf_counter()
    if ask("link", _SECONDS).kind != Is.ANSWER:
        return None
    EDGE.round_trip(time.perf_counter() - begun)
    found = ask("metrics", _SECONDS)
    return _samples.decode(found.data) if found.kind == Is.ANSWER and found.status == 200 else None
