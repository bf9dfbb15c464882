"""The protocol's revisions as data: what differs between them stands here, not in ``if`` chains elsewhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision with an ``initialize`` handshake."""

    name: str
    batches: bool = False  # a POST body may be an array (2025-03-26 only)
    priming: bool = False  # an SSE stream opens with an event that has an id and no data (2025-11-25)


HANDSHAKE: dict[str, Revision] = {
    revision.name: revision
    for revision in (
        Revision("2024-11-05"),
        Revision("2025-03-26", batches=True),
        Revision("2025-06-18"),
        Revision("2025-11-25", priming=True),
    )
}

LATEST = "2025-11-25"
ASSUMED = "2025-03-26"
"""Of a request without ``MCP-Protocol-Version`` (2025-06-18, Transports, Protocol Version Header)."""


def negotiate(requested: str) -> str:
    """The version that ``initialize`` answers: the client's if we speak it, else our latest (Lifecycle)."""
    return requested if requested in HANDSHAKE else LATEST
