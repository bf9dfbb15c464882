"""One side of one JSON-RPC conversation, as pure state: who waits for which id.

Both sides of the gateway use it: towards a client (``downstream``) and towards a server (``upstream``). Ids
that we mint are integers from a counter of this conversation, so they cannot collide with anybody's; ids
that the other side chose are kept as the bytes they came in, so they go back in value and type.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from metamcp.errors import InvalidRequest
from metamcp.protocol.jsonrpc import id_key

Sent = TypeVar("Sent")
Received = TypeVar("Received")


class Peer(Generic[Sent, Received]):
    """``sent``: our requests that wait for an answer. ``received``: their requests that we have not answered."""

    def __init__(self) -> None:
        self.sent: dict[int, Sent] = {}
        self.received: dict[bytes, Received] = {}
        self._last = 0

    def mint(self) -> int:
        """An id that this conversation has not seen."""
        self._last += 1
        return self._last

    def send(self, identifier: int, entry: Sent) -> None:
        self.sent[identifier] = entry

    def answered(self, identifier: bytes) -> Sent | None:
        """Whoever waits for this answer; None for an id that we never sent, or that was answered before."""
        try:
            return self.sent.pop(int(identifier), None)
        except ValueError:
            return None

    def receive(self, identifier: bytes, entry: Received) -> None:
        """Raises InvalidRequest when a request with this id is still in flight (Base Protocol: ids are unique)."""
        key = id_key(identifier)
        if key in self.received:
            raise InvalidRequest(f"a request with the id {key.decode(errors='replace')[:80]} is already in flight")
        self.received[key] = entry

    def finish(self, identifier: bytes) -> Received | None:
        """The request is answered, or was cancelled; None when that happened before."""
        return self.received.pop(id_key(identifier), None)
