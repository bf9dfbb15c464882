"""All client sessions: born by ``initialize`` or an SSE stream, found only by their owner, swept when idle."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from metamcp.downstream.session import ClientSession, Transport
from metamcp.errors import AtCapacity, SessionUnknown
from metamcp.telemetry import logs

MAX_SESSIONS = 10_000
IDLE_SECONDS = 24 * 3600.0
"""Kept long: several clients do not initialize anew after a 404, and an idle session costs a few KiB."""

_log = logs.get("downstream.registry")


def new_id() -> str:
    """192 random bits in visible ASCII (2025-11-25, Session Management: unguessable)."""
    return secrets.token_urlsafe(24)


class SessionRegistry:
    """Owned by the reactor's thread. ``on_closed(session)`` frees what the session held elsewhere."""

    def __init__(self, clock: Callable[[], float], on_closed: Callable[[ClientSession], None]) -> None:
        self._clock = clock
        self._on_closed = on_closed
        self._sessions: dict[str, ClientSession] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def sessions(self) -> tuple[ClientSession, ...]:
        return tuple(self._sessions.values())

    def create(self, endpoint: str, principal: str, transport: Transport) -> ClientSession:
        """A new session. Raises AtCapacity when there are too many and none of them is idle."""
        if len(self._sessions) >= MAX_SESSIONS:
            self._evict()
        session = ClientSession(new_id(), endpoint, principal, transport, self._clock)
        self._sessions[session.id] = session
        _log.info(
            "session-opened",
            extra=logs.fields(session=session.short_id, endpoint=endpoint, principal=principal, transport=transport),
        )
        return session

    def find(self, identifier: str, endpoint: str, principal: str, transport: Transport) -> ClientSession:
        """The caller's own session. Raises SessionUnknown, the same for a foreign one as for none."""
        session = self._sessions.get(identifier)
        if session is None or (session.endpoint, session.principal, session.transport) != (
            endpoint, principal, transport,
        ):
            raise SessionUnknown("Session not found: initialize again")
        session.last_used = self._clock()
        return session

    def close(self, session: ClientSession, reason: str) -> None:
        if self._sessions.pop(session.id, None) is None:
            return
        session.close(reason, SessionUnknown(f"the session ended: {reason}"))
        self._on_closed(session)
        _log.info("session-closed", extra=logs.fields(session=session.short_id, reason=reason))

    def close_all(self, reason: str) -> None:
        for session in self.sessions:
            self.close(session, reason)

    def sweep(self) -> None:
        """Close idle sessions, and answer for clients that do not answer."""
        now = self._clock()
        for session in self.sessions:
            session.expire(now, SessionUnknown("the client did not answer in time"))
            session.window.sweep()
            if not session.busy and now - session.last_used >= IDLE_SECONDS:
                self.close(session, "idle")

    def _evict(self) -> None:
        idle = [session for session in self._sessions.values() if not session.busy]
        if not idle:
            raise AtCapacity(f"the gateway holds {MAX_SESSIONS} sessions, all in use; try again later")
        self.close(min(idle, key=lambda session: session.last_used), "evicted")
