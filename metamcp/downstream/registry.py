"""All client sessions: born by ``initialize`` or an SSE stream, found only by their owner, swept when idle.

Whoever opens too many loses their own: a bound per owner, and at the bound of all the one gives way who has most.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from metamcp.downstream.session import ClientSession, Transport
from metamcp.errors import AtCapacity, SessionUnknown, TooManyRequests
from metamcp.telemetry import logs

MAX_SESSIONS = 10_000
IDLE_SECONDS = 24 * 3600.0
"""Kept long: several clients do not initialize anew after a 404, and an idle session costs a few KiB."""

_log = logs.get("downstream.registry")


def new_id() -> str:
    """192 random bits in visible ASCII (2025-11-25, Session Management: unguessable)."""
    return secrets.token_urlsafe(24)


class SessionRegistry:
    """Owned by the reactor's thread. ``on_closed(session)`` frees what the session held elsewhere. ``of_one``: sessions
    of one owner at once."""

    def __init__(
        self,
        clock: Callable[[], float],
        on_closed: Callable[[ClientSession], None],
        of_one: int = MAX_SESSIONS,
        in_all: int = MAX_SESSIONS,
    ) -> None:
        self._clock = clock
        self._on_closed = on_closed
        self._of_one = of_one
        self._in_all = in_all
        self._sessions: dict[str, ClientSession] = {}
        self._owned: dict[str, dict[str, ClientSession]] = {}  # by owner, the longest unused first

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def sessions(self) -> tuple[ClientSession, ...]:
        return tuple(self._sessions.values())

    def create(self, endpoint: str, principal: str, transport: Transport, owner: str = "") -> ClientSession:
        """A new session. ``owner``: who is limited, where that is not the principal. Raises TooManyRequests when this
        owner, AtCapacity when everybody has too many, and none of them is idle."""
        owner = owner or principal
        self._make_room(owner)
        session = ClientSession(new_id(), endpoint, principal, transport, self._clock, owner)
        self._sessions[session.id] = session
        self._owned.setdefault(owner, {})[session.id] = session
        _log.info(
            "session-opened",
            extra=logs.fields(session=session.short_id, endpoint=endpoint, principal=principal, transport=transport),
        )
        return session

    def find(self, identifier: str, endpoint: str, principal: str, transport: str) -> ClientSession:
        """The caller's own session. Raises SessionUnknown, the same for a foreign one as for none."""
        session = self._sessions.get(identifier)
        if session is None or (session.endpoint, session.principal, session.transport) != (
            endpoint, principal, transport,
        ):
            raise SessionUnknown("Session not found: initialize again")
        session.last_used = self._clock()
        owned = self._owned[session.owner]
        owned[identifier] = owned.pop(identifier)
        return session

    def close(self, session: ClientSession, reason: str) -> None:
        if self._sessions.pop(session.id, None) is None:
            return
        owned = self._owned[session.owner]
        del owned[session.id]
        if not owned:
            del self._owned[session.owner]
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

    def _make_room(self, owner: str) -> None:
        if len(self._owned.get(owner, ())) >= self._of_one and not self._evict(owner):
            text = f"this client has {self._of_one} sessions, all in use: end some, or use them again"
            raise TooManyRequests(text, limit="sessions", retryAfterMs=1000)
        if len(self._sessions) < self._in_all:
            return
        if not any(self._evict(one) for one in sorted(self._owned, key=lambda one: -len(self._owned[one]))):
            text = f"the gateway holds {self._in_all} sessions, all in use; try again later"
            raise AtCapacity(text, retryAfterMs=1000)

    def _evict(self, owner: str) -> bool:
        """The session that ``owner`` has not used for longest; False when all of them are in use."""
        idle = next((session for session in self._owned[owner].values() if not session.busy), None)
        if idle is not None:
            self.close(idle, "evicted")
        return idle is not None
