"""Which endpoints there are, and what a client finds at each: for operators."""

from __future__ import annotations

from typing import Any

from metamcp.config.live import Live
from metamcp.config.model import EndpointSpec
from metamcp.gateway.interface import Ask, Reply
from metamcp.gateway.listings import KINDS
from metamcp.gateway.namespaces import Namespaces
from metamcp.gateway.operators import answer
from metamcp.protocol import jsonrpc

_TRANSPORTS = ["streamable-http", "sse"]  # every endpoint has both


class Endpoints:
    """Owned by the reactor's thread."""

    def __init__(self, live: Live, namespaces: Namespaces) -> None:
        self._live = live
        self._namespaces = namespaces

    def list(self, reply: Reply, _ask: Ask) -> None:
        """For ``Ask("endpoints")``."""
        reply.answer(jsonrpc.encode([_shown(spec) for spec in self._live.config.endpoints.values()]))

    def catalog(self, reply: Reply, ask: Ask) -> None:
        """For ``Ask("catalog")``: the lists as a client gets them, and what is missing in them, and why."""
        namespace = self._namespaces.at(ask.argument)
        if namespace is None:
            known = ", ".join(sorted(self._live.config.endpoints)) or "none"
            answer(reply, (404, {"error": f"there is no endpoint {ask.argument!r}; configured: {known}"}))
            return
        found: dict[str, Any] = {}
        for kind in KINDS:
            found |= jsonrpc.decode_object(namespace.view.listings[kind.name])
        missing = [f"server {name!r} is missing: {reason}" for name, reason in namespace.missing().items()]
        found["problems"] = [*namespace.view.problems, *missing]
        answer(reply, (200, found))


def _shown(spec: EndpointSpec) -> dict[str, Any]:
    """With what is configured of it beside that."""
    found: dict[str, Any] = {"name": spec.name, "namespace": spec.namespace, "transports": _TRANSPORTS}
    found["auth"] = spec.auth
    if spec.rate_limit:
        found["rateLimit"] = spec.rate_limit
    if spec.oauth is not None:
        found["oauth"] = {"issuer": spec.oauth.issuer}
    return found
