"""What servers say by themselves on instances that serve more than one client, brought to those who want it.

Towards a server of the handshake era each address is subscribed once, however many clients want it
(2025-11-25, Resources, Subscriptions); one of 2026-07-28 is listened to with one ``subscriptions/listen`` for all
(2026-07-28, Subscriptions).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from metamcp.errors import InvalidParams, MetaMCPError
from metamcp.protocol import envelope, jsonrpc
from metamcp.protocol.jsonrpc import Raw
from metamcp.telemetry import logs
from metamcp.upstream.connection import Listener, UpstreamCall, UpstreamConnection
from metamcp.upstream.opening import OWN_INFO

_LISTS = {"tools": "toolsListChanged", "prompts": "promptsListChanged", "resources": "resourcesListChanged"}
UPDATED = "notifications/resources/updated"
_log = logs.get("gateway.subscriptions")


class Subscriber(Protocol):
    """The ``Relay`` of a session, or an open ``subscriptions/listen``."""

    def updated(self, server: str, params: bytes) -> None:
        """Raw params of ``notifications/resources/updated``, as ``server`` says them."""


class _Wishes:
    """What is wanted of one instance, by address, and what its server was told."""

    def __init__(self) -> None:
        self.wanted: dict[str, set[Subscriber]] = {}
        self.instance: UpstreamConnection | None = None  # the one that was told
        self.told: frozenset[str] = frozenset()
        self.listening: UpstreamCall | None = None


class Subscriptions(Listener):
    """Owned by the reactor's thread. Wishes outlive the instance: a new one with the same key is told them again.
    ``renew`` starts one in the place of an instance that ended, while somebody waits for what it says."""

    def __init__(
        self,
        changed: Callable[[UpstreamConnection], None],
        renew: Callable[[UpstreamConnection, Callable[[], bool]], None],
    ) -> None:
        self._changed = changed
        self._renew = renew
        self._wishes: dict[tuple[str, str], _Wishes] = {}

    def add(self, connection: UpstreamConnection, uri: str, subscriber: Subscriber) -> None:
        wishes = self._of(connection)
        wishes.wanted.setdefault(uri, set()).add(subscriber)
        self._tell(connection, wishes)

    def remove(self, connection: UpstreamConnection, uri: str, subscriber: Subscriber) -> None:
        """Nothing happens when it was not subscribed."""
        wishes = self._of(connection)
        wishes.wanted.get(uri, set()).discard(subscriber)
        self._tell(connection, wishes)

    def drop(
        self,
        subscriber: Subscriber,
        connections: Callable[[str, str], UpstreamConnection | None],
        of: Callable[[str], bool] = lambda _server: True,
    ) -> None:
        """``subscriber`` is gone, or may not hear ``of`` some servers any more. ``connections``: (server, key) -> the
        live instance."""
        for (server, key), wishes in tuple(self._wishes.items()):
            if of(server) and any(subscriber in wanting for wanting in wishes.wanted.values()):
                for wanting in wishes.wanted.values():
                    wanting.discard(subscriber)
                connection = connections(server, key)
                if connection is not None:
                    self._tell(connection, wishes)

    # --- Listener --------------------------------------------------------------------------------------

    def on_ready(self, connection: UpstreamConnection) -> None:
        wishes = self._of(connection)
        wishes.instance, wishes.told, wishes.listening = connection, frozenset(), None
        self._tell(connection, wishes)

    def on_request(self, connection: UpstreamConnection, identifier: bytes, method: str, params: Raw) -> None:
        """Nobody could say which client is meant, and none of them offered to answer."""
        connection.refuse(identifier, method)
        call = connection.only_call
        if call is not None and call.on_question is not None:
            call.on_question(method)

    def on_withdrawn(self, connection: UpstreamConnection, identifier: bytes) -> None: ...

    def on_notification(self, connection: UpstreamConnection, method: str, params: Raw) -> None:
        if method.endswith("/list_changed"):
            if connection.started_well:
                self._changed(connection)
        elif method == UPDATED:
            self._updated(connection, params)

    def on_gone(self, connection: UpstreamConnection) -> None:
        """Whoever still waits for changes must not depend on somebody else's next call."""
        wishes = self._of(connection)
        if wishes.instance not in (None, connection):
            return  # a new one serves already, while the former one had a call to finish
        wishes.instance, wishes.listening, wishes.told = None, None, frozenset()
        self._renew(connection, lambda: any(wishes.wanted.values()))

    # --- inside ----------------------------------------------------------------------------------------

    def _of(self, connection: UpstreamConnection) -> _Wishes:
        return self._wishes.setdefault((connection.spec.name, connection.key), _Wishes())

    def _updated(self, connection: UpstreamConnection, raw: Raw) -> None:
        """A server may name a part of what was subscribed (Resources, Subscriptions)."""
        try:
            params = jsonrpc.decode_object(raw)
            uri = jsonrpc.decode_string(params.get("uri"), "uri")
            params = envelope.without_subscription(params)
        except InvalidParams:
            return
        told = jsonrpc.encode(params)
        for wanted, subscribers in tuple(self._of(connection).wanted.items()):
            if uri.startswith(wanted):
                for subscriber in tuple(subscribers):
                    subscriber.updated(connection.spec.name, told)

    def _tell(self, connection: UpstreamConnection, wishes: _Wishes) -> None:
        """Bring the server's knowledge up to date."""
        wishes.wanted = {uri: subscribers for uri, subscribers in wishes.wanted.items() if subscribers}
        connection.watched = bool(wishes.wanted)
        if not connection.started_well:
            return  # on_ready comes
        uris = frozenset(wishes.wanted)
        if connection.era == "legacy":
            for method, some in (("subscribe", uris - wishes.told), ("unsubscribe", wishes.told - uris)):
                for uri in sorted(some):
                    tell(connection, f"resources/{method}", uri)
        elif wishes.listening is None or uris != wishes.told:
            self._listen(connection, wishes, uris)
        wishes.told = uris

    def _listen(self, connection: UpstreamConnection, wishes: _Wishes, uris: frozenset[str]) -> None:
        """One subscription at a time: the new one begins before the old one ends, so that nothing is missed."""
        wanted: dict[str, object] = {
            member: True for name, member in _LISTS.items() if connection.capability(name) is not None
        }
        if uris:
            wanted["resourceSubscriptions"] = sorted(uris)
        old = wishes.listening
        params = envelope.wrap({"notifications": Raw(jsonrpc.encode(wanted))}, b"{}", OWN_INFO, "")

        def over(_result: bytes | None, error: bytes | MetaMCPError | None) -> None:
            if error is not None and not isinstance(error, MetaMCPError):
                _log.warning("listen-refused", extra=logs.fields(server=connection.spec.name))

        wishes.listening = UpstreamCall("subscriptions/listen", params, over, unwaited=True)
        connection.call(wishes.listening)
        if old is not None:
            connection.cancel(old, {})


def tell(connection: UpstreamConnection, method: str, uri: str) -> None:
    """``resources/subscribe`` or its opposite, on behalf of no request. Raises AtCapacity while it starts."""

    def answered(_result: bytes | None, error: bytes | MetaMCPError | None) -> None:
        if error is not None:
            _log.warning("subscription-refused", extra=logs.fields(server=connection.spec.name, method=method))

    connection.call(UpstreamCall(method, {"uri": Raw(jsonrpc.encode(uri))}, answered))
