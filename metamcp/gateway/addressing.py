"""Which server a request is for, and its params as that server wants them: exposed names become its own again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from metamcp.gateway.listings import PROMPTS, TOOLS, Kind
from metamcp.gateway.merging import Route
from metamcp.gateway.namespace import Namespace
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import JsonObject, Raw


class Addressed(NamedTuple):
    """A request that has found its server. ``asked``: the params as the client sent them."""

    method: str
    route: Route
    params: JsonObject
    asked: bytes


def address(namespace: Namespace, method: str, raw: bytes, params: JsonObject | None = None) -> Addressed:
    """``params``: what ``raw`` is, where that has been decoded already; they become those of the request. Raises
    InvalidParams, ResourceUnknown, or why the server that it may be for cannot be used."""
    params = jsonrpc.decode_object(raw) if params is None else params
    return Addressed(method, _FINDERS[method](namespace, params), params, raw)


def _named(kind: Kind) -> Callable[[Namespace, JsonObject], Route]:
    def find(namespace: Namespace, params: JsonObject) -> Route:
        route = namespace.resolve(kind, jsonrpc.decode_string(params.get("name"), "name"))
        params["name"] = Raw(jsonrpc.encode(route.name))
        return route

    return find


def _resource(namespace: Namespace, params: JsonObject) -> Route:
    return namespace.resolve_resource(jsonrpc.decode_string(params.get("uri"), "uri"))


def _referred(namespace: Namespace, params: JsonObject) -> Route:
    """``ref`` of a completion: a prompt by name, or a resource template by its address."""
    reference = jsonrpc.decode_object(params.get("ref", b""), "ref")
    if jsonrpc.decode_string(reference.get("type"), "ref.type") == "ref/prompt":
        route = namespace.resolve(PROMPTS, jsonrpc.decode_string(reference.get("name"), "ref.name"))
        reference["name"] = Raw(jsonrpc.encode(route.name))
    else:
        route = namespace.resolve_resource(jsonrpc.decode_string(reference.get("uri"), "ref.uri"))
    params["ref"] = Raw(jsonrpc.encode(reference))
    return route


_FINDERS: Mapping[str, Callable[[Namespace, JsonObject], Route]] = {
    "tools/call": _named(TOOLS),
    "prompts/get": _named(PROMPTS),
    "resources/read": _resource,
    "resources/subscribe": _resource,
    "resources/unsubscribe": _resource,
    "completion/complete": _referred,
}

ADDRESSED = frozenset(_FINDERS)
"""The methods that one server answers."""
