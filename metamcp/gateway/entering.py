"""A request whose route leads through middleware."""

from __future__ import annotations

from metamcp.concurrency.reactor import Reactor
from metamcp.gateway.addressing import Addressed
from metamcp.gateway.merging import Route
from metamcp.gateway.middleware.interface import Call
from metamcp.gateway.middleware.passage import Passage
from metamcp.gateway.turn import Turn
from metamcp.protocol.jsonrpc import JsonObject


def enter(turn: Turn, request: Addressed, reactor: Reactor, endpoint: str, principal: str) -> None:
    """Every middleware on its way has seen it, and its answer goes back the same way. Raises MetaMCPError."""
    turn.record.route = request.route
    passage = check(request.method, request.route, request.params, endpoint, principal)
    turn.passage = passage.of(turn, reactor)


def check(method: str, route: Route, params: JsonObject, endpoint: str, principal: str) -> Passage:
    """Raises MetaMCPError for a request that does not get through. ``params`` may be changed."""
    return Passage(route.stacks, Call(method, route.server, route.name, params), endpoint, principal)
