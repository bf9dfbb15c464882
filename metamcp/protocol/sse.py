"""Server-sent events, the sending side (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

RETRY_MS = 1000
"""How long a client waits before it opens a lost stream again."""

HEARTBEAT = b": heartbeat\n\n"
"""A comment: clients drop it, proxies and dead connections notice it."""


def event(data: bytes, name: str = "message", event_id: str = "", retry_ms: int | None = None) -> bytes:
    """One event with one ``data`` line. JSON on the wire has no line end, so ``data`` must not either: a
    pretty-printed message of a server would otherwise be cut into lines that not every client joins."""
    head = f"event: {name}\n"
    if event_id:
        head += f"id: {event_id}\n"
    if retry_ms is not None:
        head += f"retry: {retry_ms}\n"
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r", b" ").replace(b"\n", b" ")
    return head.encode() + b"data: " + data + b"\n\n"


def priming(event_id: str) -> bytes:
    """The first event of a stream that can be resumed: an id and no data (2025-11-25, Transports, Sending Messages).
    Clients of older revisions take the empty data for a broken message."""
    return event(b"", event_id=event_id, retry_ms=RETRY_MS)
