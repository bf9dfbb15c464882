"""Several messages in one POST (2025-03-26, Base Protocol, Batching; no other revision has them).

Every part is handled as if it had come alone. Notifications and questions leave on the batch's stream as they come;
the responses leave together, as one array, when the last of them is there.
"""

from __future__ import annotations

from metamcp.downstream.session import ClientSession
from metamcp.downstream.streams import Stream
from metamcp.errors import InvalidRequest
from metamcp.gateway.interface import Batch
from metamcp.protocol.versions import HANDSHAKE

MAX_MESSAGES = 100


def check(batch: Batch, revision: str) -> None:
    """Raises InvalidRequest. ``revision``: what the session has negotiated."""
    if revision not in HANDSHAKE or not HANDSHAKE[revision].batches:
        raise InvalidRequest(f"a body must be one message: this session speaks {revision or 'no revision yet'}")
    if len(batch.posts) + len(batch.refused) > MAX_MESSAGES:
        raise InvalidRequest(f"a batch may hold {MAX_MESSAGES} messages")
    if any(post.kind == "request" and post.method == "initialize" for post in batch.posts):
        raise InvalidRequest("initialize must not be part of a batch")


class Collected:
    """Gathers the responses of ``count`` requests; ``refused`` are there already. For HTTP+SSE, ``way`` is the session,
    and every response leaves by itself."""

    def __init__(self, way: Stream | ClientSession, count: int, refused: list[bytes]) -> None:
        self._way = way
        self._missing = count
        self._responses: list[bytes] = []
        for response in refused:
            self._add(response)
        self._settle()

    def part(self) -> Part:
        """The way of one of the requests."""
        return Part(self)

    @property
    def reachable(self) -> bool:
        return not isinstance(self._way, Stream) or self._way.reachable

    def event(self, data: bytes) -> None:
        if isinstance(self._way, Stream):
            self._way.event(data)
        else:
            self._way.send(data)

    def take(self, response: bytes) -> None:
        self._add(response)
        self._missing -= 1
        self._settle()

    def _add(self, response: bytes) -> None:
        if isinstance(self._way, Stream):
            self._responses.append(response)
        else:
            self._way.send(response)

    def _settle(self) -> None:
        if self._missing == 0 and self._responses and isinstance(self._way, Stream):
            self._way.answer(b"[" + b",".join(self._responses) + b"]")


class Part:
    """The Way of one request of a batch."""

    def __init__(self, batch: Collected) -> None:
        self._batch = batch

    @property
    def reachable(self) -> bool:
        return self._batch.reachable

    def event(self, data: bytes) -> None:
        self._batch.event(data)

    def answer(self, data: bytes, session: str = "") -> None:
        self._batch.take(data)
