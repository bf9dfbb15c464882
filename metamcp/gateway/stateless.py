"""The methods of 2026-07-28: every request is complete in itself, and nothing is remembered of its client.

Runs on the reactor's thread and returns at once; answers come later, through the ``StatelessTurn``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from metamcp import __version__
from metamcp.errors import InvalidParams, MetaMCPError, MethodNotFound
from metamcp.gateway.addressing import ADDRESSED, address
from metamcp.gateway.audit import Audit
from metamcp.gateway.bridged import HeldCalls
from metamcp.gateway.discovery import Discovery
from metamcp.gateway.entering import enter
from metamcp.gateway.forwarding import Forwarding
from metamcp.gateway.interface import Reply, Stateless
from metamcp.gateway.listening import Listening, Listenings
from metamcp.gateway.listings import KINDS, Kind
from metamcp.gateway.namespace import Namespace
from metamcp.gateway.namespaces import Namespaces
from metamcp.gateway.turn import StatelessTurn
from metamcp.protocol import envelope, headers, jsonrpc, translate
from metamcp.protocol.jsonrpc import JsonObject, Raw

_LISTS = {kind.method: kind for kind in KINDS}
_CAPABILITIES = {
    "tools/list": "tools", "tools/call": "tools", "prompts/list": "prompts", "prompts/get": "prompts",
    "resources/list": "resources", "resources/templates/list": "resources", "resources/read": "resources",
    "completion/complete": "completions",
}  # fmt: skip
"""A method works where its capability is declared, and only there (2026-07-28, Discovery)."""


@dataclass(frozen=True, slots=True)
class StatelessMethods:
    """``settled(namespace, callback)`` calls back when the servers have been asked what they have."""

    forwarding: Forwarding
    discovery: Discovery
    held: HeldCalls
    listenings: Listenings
    settled: Callable[[Namespace, Callable[[], None]], None]
    audit: Audit
    namespaces: Namespaces

    def open(self, request: Stateless, namespace: Namespace, reply: Reply) -> None:
        """Raises InvalidParams for an envelope that is not one; everything else becomes the turn's error."""
        params = jsonrpc.decode_object(request.payload)
        spoken = envelope.read(params)
        turn = StatelessTurn(request, spoken, namespace, reply, self.audit.begin(request.client, request.method))
        at_once = True
        self.settled(namespace, lambda: self._handle(turn, request, params, at_once))
        at_once = False

    def _handle(self, turn: StatelessTurn, request: Stateless, params: JsonObject, at_once: bool) -> None:
        if turn.reply.done:
            return  # its client did not wait
        try:
            if not at_once:  # its endpoint may show another namespace by now, or not let it in
                turn.namespace = self.namespaces.enter(turn.client.endpoint, turn.client.principal)
            self._dispatch(turn, request, params)
        except MetaMCPError as error:
            turn.error(error)

    def _dispatch(self, turn: StatelessTurn, request: Stateless, params: JsonObject) -> None:
        method = request.method
        needed = _CAPABILITIES.get(method)
        if needed is not None and needed not in turn.namespace.view.declared:
            raise MethodNotFound(f"no server of this endpoint has {needed}")
        if method == "server/discover":
            self._answer(turn, method, _discovered(turn.namespace))
        elif kind := _LISTS.get(method):
            self._list(turn, kind, params)
        elif method == "subscriptions/listen":
            self.listenings.open(Listening(turn), params)
        elif method in ADDRESSED and needed is not None:
            self._call(turn, request, params)
        else:
            raise MethodNotFound(f"unknown method {method!r}")

    def _list(self, turn: StatelessTurn, kind: Kind, params: JsonObject) -> None:
        if bytes(params.get("cursor", b"null")) != b"null":
            raise InvalidParams("unknown cursor: the listing has one page")
        self._answer(turn, kind.method, turn.namespace.listing(kind))

    def _call(self, turn: StatelessTurn, request: Stateless, params: JsonObject) -> None:
        if self.held.resume(turn, request.method, params):
            return
        if request.method == "tools/call":
            meant = self.discovery.meant(turn, params, lambda result: self._answer(turn, request.method, result))
            if meant is None:
                return
            params = meant
        mirrored = turn.namespace.view.mirrored
        if request.method == "tools/call" and mirrored and request.client.transport != "rest":
            annotations = mirrored.get(jsonrpc.decode_string(params.get("name"), "name"), {})
            headers.check_params(annotations, bytes(params.get("arguments", Raw(b"{}"))), request.headers)
        addressed = address(turn.namespace, request.method, request.payload, params)
        if addressed.route.stacks:
            enter(turn, addressed, self.held.reactor, turn.client.endpoint, turn.client.principal)
        self.forwarding.stateless(turn, addressed)

    def _answer(self, turn: StatelessTurn, method: str, result: bytes) -> None:
        turn.result(translate.to_stateless(method, result, server_info(turn.namespace.spec.name)))


def server_info(namespace: str) -> bytes:
    """What the gateway calls itself at the endpoints of ``namespace`` (Implementation)."""
    return jsonrpc.encode({"name": f"metamcp-{namespace}", "version": __version__})


def _discovered(namespace: Namespace) -> bytes:
    """A DiscoverResult (2026-07-28, Discovery)."""
    members: dict[str, object] = {
        "supportedVersions": [envelope.REVISION],
        "capabilities": Raw(namespace.view.capabilities),
    }
    if namespace.view.instructions:
        members["instructions"] = namespace.view.instructions
    return jsonrpc.encode(members)
