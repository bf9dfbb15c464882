"""``subscriptions/listen``: what a client of 2026-07-28 wants to hear of, until it hangs up (Subscriptions)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from metamcp.errors import InvalidParams, MetaMCPError
from metamcp.gateway.listings import Kind
from metamcp.gateway.merging import View, differing
from metamcp.gateway.middleware.hearing import Hearing
from metamcp.gateway.namespace import Namespace
from metamcp.gateway.namespaces import Namespaces
from metamcp.gateway.subscriptions import UPDATED
from metamcp.gateway.turn import StatelessTurn
from metamcp.protocol import envelope, jsonrpc
from metamcp.protocol.jsonrpc import JsonObject, Raw

_FILTERS = {"tools": "toolsListChanged", "prompts": "promptsListChanged", "resources": "resourcesListChanged"}
MAX_URIS = 1000


class Listening:
    """One open subscription. Everything that it says carries the id of its request."""

    def __init__(self, turn: StatelessTurn) -> None:
        self.turn = turn
        self.lists: frozenset[str] = frozenset()  # of "tools", "prompts", "resources"

    def updated(self, server: str, params: bytes) -> None:
        """Through the middleware of the namespace that its endpoint shows now."""
        stacks, client = self.turn.namespace.hearing.get(server), self.turn.client
        if stacks is None:
            return
        left = Hearing(stacks, server, client.endpoint, client.principal).notification(UPDATED, params)
        if left is not None:
            self.say(UPDATED, jsonrpc.decode_object(left))

    def say(self, method: str, params: JsonObject) -> None:
        tagged = envelope.with_subscription(params, self.turn.id)
        self.turn.event(jsonrpc.notification(method, jsonrpc.encode(tagged)))

    def announce(self, kinds: tuple[Kind, ...]) -> None:
        for name in sorted({kind.capability for kind in kinds} & self.lists):
            self.say(f"notifications/{name}/list_changed", {})

    def end(self) -> None:
        """The gateway ends it in good order: its client may listen again."""
        tagged = envelope.with_subscription({"resultType": Raw(b'"complete"')}, self.turn.id)
        self.turn.result(jsonrpc.encode(tagged))


Subscribe = Callable[[Listening, str], bool]
"""Brings ``notifications/resources/updated`` of one address to a Listening; False when its server cannot."""


class Listenings:
    """All open subscriptions. Owned by the reactor's thread. ``unsubscribe`` forgets every address of one."""

    def __init__(self, subscribe: Subscribe, unsubscribe: Callable[[Listening], None]) -> None:
        self._subscribe = subscribe
        self._unsubscribe = unsubscribe
        self._open: set[Listening] = set()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Listening]:
        return iter(tuple(self._open))

    @property
    def endpoints(self) -> list[str]:
        """Of each open subscription."""
        return [listening.turn.client.endpoint for listening in self._open]

    def open(self, listening: Listening, params: JsonObject) -> None:
        """The first message says what was understood of the wishes. Raises InvalidParams."""
        wanted = jsonrpc.decode_object(params.get("notifications", b""), "notifications")
        capabilities = listening.turn.namespace.view.declared
        honoured: dict[str, object] = {
            member: True
            for name, member in _FILTERS.items()
            if bytes(wanted.get(member, b"")) == b"true" and name in capabilities
        }
        listening.lists = frozenset(name for name, member in _FILTERS.items() if member in honoured)
        uris = _uris(wanted)
        listening.turn.cancel = lambda _told: self._closed(listening)
        self._open.add(listening)
        if uris:
            honoured["resourceSubscriptions"] = [uri for uri in uris if self._try(listening, uri)]
        listening.say("notifications/subscriptions/acknowledged", {"notifications": Raw(jsonrpc.encode(honoured))})

    def announce(self, namespace: Namespace, kinds: tuple[Kind, ...]) -> None:
        """The merged listings of ``kinds`` are other ones now."""
        for listening in tuple(self._open):
            if listening.turn.namespace is namespace:
                listening.announce(kinds)

    def follow(self, before: Mapping[str, View], namespaces: Namespaces) -> None:
        """After a reload: each hears of what its endpoint shows now. ``before``: what each endpoint showed."""
        for listening in tuple(self._open):
            client = listening.turn.client
            if not namespaces.admits(client.endpoint, client.principal):
                self._end(listening)
                continue
            listening.turn.namespace = namespaces.enter(client.endpoint, client.principal)
            listening.announce(differing(before.get(client.endpoint), listening.turn.namespace.view))

    def end_all(self) -> None:
        for listening in tuple(self._open):
            self._end(listening)

    def _end(self, listening: Listening) -> None:
        self._closed(listening)
        listening.end()

    def _try(self, listening: Listening, uri: str) -> bool:
        try:
            return self._subscribe(listening, uri)
        except MetaMCPError:
            return False

    def _closed(self, listening: Listening) -> None:
        self._open.discard(listening)
        self._unsubscribe(listening)


def _uris(wanted: JsonObject) -> list[str]:
    uris = jsonrpc.decode_array(wanted.get("resourceSubscriptions", b"[]"), "resourceSubscriptions")
    if len(uris) > MAX_URIS:
        raise InvalidParams(f"resourceSubscriptions has {len(uris)} addresses; the limit is {MAX_URIS}")
    return [jsonrpc.decode_string(uri, "resourceSubscriptions") for uri in uris]
