"""What a server says by itself, brought to the one client whose session the server belongs to.

Only a server with an instance of its own for that session may ask or tell its client something: on a shared
instance nobody could say whom it means, but for changes of a resource that the session subscribed to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from metamcp.downstream.session import ClientSession
from metamcp.errors import AtCapacity, MetaMCPError, RefusedByPolicy
from metamcp.gateway.middleware.hearing import Hearing
from metamcp.gateway.middleware.stack import Stack
from metamcp.gateway.subscriptions import UPDATED, tell
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import Raw
from metamcp.upstream.connection import Listener, UpstreamCall, UpstreamConnection

QUESTION_SECONDS = 600.0
"""How long a client may take to answer: a person may have to be asked."""

QUESTIONS = {
    "sampling/createMessage": "sampling",
    "elicitation/create": "elicitation",
    "roots/list": "roots",
}
"""What a server may ask a client, and the capability with which the client offers to answer."""


class Relay(Listener):
    """Of one session's own connections. ``heard``: the middleware that wants to see what a server says by itself, of
    the innermost namespace first; None for a server that the session's endpoint does not show any more, and which so
    neither tells nor asks its client anything."""

    def __init__(
        self,
        session: ClientSession,
        clock: Callable[[], float],
        changed: Callable[[UpstreamConnection], None],
        gone: Callable[[UpstreamConnection], None],
        heard: Callable[[str], tuple[Stack, ...] | None],
    ) -> None:
        self._session = session
        self._clock = clock
        self._changed = changed
        self._gone = gone
        self._heard = heard
        self._subscribed: dict[UpstreamConnection, set[str]] = {}  # what the session subscribed to on its own instances
        members = jsonrpc.decode_object(session.hello)
        self.capabilities = bytes(members.get("capabilities", b"{}"))
        self.client_info = bytes(members.get("clientInfo", b""))
        self.declared = frozenset(jsonrpc.decode_object(self.capabilities, "capabilities"))
        self._asked: dict[tuple[UpstreamConnection, bytes], int] = {}  # the id under which the client was asked

    def on_ready(self, connection: UpstreamConnection) -> None:
        if self._session.log_level:
            tell_level(connection, self._session.log_level)

    def on_request(self, connection: UpstreamConnection, identifier: bytes, method: str, params: Raw) -> None:
        def answered(result: bytes | None, error: bytes | None) -> None:
            self._asked.pop((connection, identifier), None)
            connection.answer(identifier, result, error)

        asked = None
        if QUESTIONS.get(method) in self.declared:
            try:
                heard = self._question(connection.spec.name, method, bytes(params))
            except MetaMCPError as refused:
                connection.answer(identifier, None, jsonrpc.encode(refused.as_jsonrpc()))
                return
            asked = self._session.ask(method, heard, answered, self._clock() + QUESTION_SECONDS)
        if asked is None:
            connection.refuse(identifier, method)
        else:
            self._asked[connection, identifier] = asked

    def on_withdrawn(self, connection: UpstreamConnection, identifier: bytes) -> None:
        asked = self._asked.pop((connection, identifier), None)
        if asked is not None:
            self._session.withdraw(asked)

    def on_notification(self, connection: UpstreamConnection, method: str, params: Raw) -> None:
        if method.endswith("/list_changed"):
            # The client hears of it when the merged listing really is another one.
            if connection.started_well:
                self._changed(connection)
        else:
            self._tell(connection.spec.name, method, bytes(params), related=True)

    def on_gone(self, connection: UpstreamConnection) -> None:
        self._subscribed.pop(connection, None)
        self._gone(connection)

    # --- subscriptions ---------------------------------------------------------------------------------

    def updated(self, server: str, params: bytes) -> None:
        """Of an instance that others hear, too."""
        self._tell(server, UPDATED, params, related=False)

    def subscribes(self, connection: UpstreamConnection, method: str, uri: str) -> None:
        """``resources/subscribe`` or its opposite goes to an instance of the session's own."""
        uris = self._subscribed.setdefault(connection, set())
        if method == "resources/subscribe":
            uris.add(uri)
        else:
            uris.discard(uri)
        connection.watched = bool(uris)

    def follow(self) -> None:
        """After a reload: servers that the endpoint does not show any more are asked to tell no more."""
        for connection, uris in tuple(self._subscribed.items()):
            if self._heard(connection.spec.name) is not None:
                continue
            del self._subscribed[connection]
            connection.watched = False
            for uri in sorted(uris) if connection.alive else ():
                with contextlib.suppress(AtCapacity):  # it does not even run yet, and what it says is not passed on
                    tell(connection, "resources/unsubscribe", uri)

    # --- middleware ------------------------------------------------------------------------------------

    def _tell(self, server: str, method: str, params: bytes, related: bool) -> None:
        stacks = self._heard(server)
        if stacks is None:
            return
        left = self._hearing(stacks, server).notification(method, params) if stacks else params
        if left is not None:
            self._session.send(jsonrpc.notification(method, left), related)

    def _question(self, server: str, method: str, params: bytes) -> bytes:
        """Raises MetaMCPError, which is the server's answer, for one that is not to be asked."""
        stacks = self._heard(server)
        if stacks is None:
            raise RefusedByPolicy(f"this client is not shown server {server!r} any more", rule="namespace")
        return self._hearing(stacks, server).question(method, params) if stacks else params

    def _hearing(self, stacks: tuple[Stack, ...], server: str) -> Hearing:
        return Hearing(stacks, server, self._session.endpoint, self._session.principal)


def tell_level(connection: UpstreamConnection, level: str) -> None:
    """A server that cannot log at levels may refuse; its answer changes nothing."""
    if connection.started_well and connection.era == "legacy" and connection.capability("logging") is not None:
        params = {"level": Raw(jsonrpc.encode(level))}
        connection.call(UpstreamCall("logging/setLevel", params, lambda _result, _error: None))


def requested_version(hello: bytes) -> str:
    """The version that the client asks for in ``initialize``. Raises InvalidParams."""
    members = jsonrpc.decode_object(hello, "params")
    jsonrpc.decode_object(members.get("capabilities", Raw(b"{}")), "capabilities")
    return jsonrpc.decode_string(members.get("protocolVersion"), "protocolVersion")
