"""Who hears a server for whom nobody is there yet."""

from __future__ import annotations

from collections import deque

from metamcp.protocol.jsonrpc import Raw
from metamcp.upstream.connection import Listener, UpstreamConnection

MOST_SAID = 100
"""Messages that a server may say before anybody needs it."""


class Deaf(Listener):
    """An instance that is only asked about itself has nobody who could answer it."""

    def on_ready(self, connection: UpstreamConnection) -> None: ...

    def on_request(self, connection: UpstreamConnection, identifier: bytes, method: str, params: Raw) -> None:
        connection.refuse(identifier, method)

    def on_withdrawn(self, connection: UpstreamConnection, identifier: bytes) -> None: ...

    def on_notification(self, connection: UpstreamConnection, method: str, params: Raw) -> None: ...

    def on_gone(self, connection: UpstreamConnection) -> None: ...


class Keeping(Listener):
    """Of one spare: what it says before its time is kept for the client to come."""

    def __init__(self) -> None:
        self._said: deque[tuple[bytes, str, Raw]] = deque()  # the id is b"" for a notification

    def on_ready(self, connection: UpstreamConnection) -> None: ...

    def on_request(self, connection: UpstreamConnection, identifier: bytes, method: str, params: Raw) -> None:
        self._keep(connection, identifier, method, params)

    def on_withdrawn(self, connection: UpstreamConnection, identifier: bytes) -> None:
        self._said = deque(said for said in self._said if said[0] != identifier)

    def on_notification(self, connection: UpstreamConnection, method: str, params: Raw) -> None:
        self._keep(connection, b"", method, params)

    def on_gone(self, connection: UpstreamConnection) -> None: ...

    def tell(self, connection: UpstreamConnection, listener: Listener) -> None:
        """Pass on everything, in its order."""
        while self._said:
            identifier, method, params = self._said.popleft()
            if identifier:
                listener.on_request(connection, identifier, method, params)
            else:
                listener.on_notification(connection, method, params)

    def _keep(self, connection: UpstreamConnection, identifier: bytes, method: str, params: Raw) -> None:
        self._said.append((identifier, method, params))
        if len(self._said) > MOST_SAID:
            connection.child.stop(f"it said more than {MOST_SAID} things before anybody needed it")
