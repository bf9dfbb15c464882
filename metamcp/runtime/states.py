"""The states of a child and of a configured server, and the ways between them. A leaf: imports nothing of ours."""

from __future__ import annotations

from enum import StrEnum


class ChildState(StrEnum):
    """STARTING until its server has answered ``initialize``; BUSY while a call is in flight. SPARE: started before
    anybody needs it, and nobody has spoken to it yet."""

    STARTING = "STARTING"
    SPARE = "SPARE"
    READY = "READY"
    BUSY = "BUSY"
    STOPPING = "STOPPING"
    EXITED = "EXITED"


class ServerState(StrEnum):
    """IDLE: no instance, none needed. BACKOFF: the last start failed; the next is not before a given time.
    FATAL: it cannot start until an operator acts (policy, allowlist, missing secret)."""

    IDLE = "IDLE"
    STARTING = "STARTING"
    READY = "READY"
    BUSY = "BUSY"
    BACKOFF = "BACKOFF"
    FATAL = "FATAL"
    DISABLED = "DISABLED"


_LEGAL: dict[ChildState, frozenset[ChildState]] = {
    ChildState.STARTING: frozenset({ChildState.SPARE, ChildState.READY, ChildState.STOPPING, ChildState.EXITED}),
    ChildState.SPARE: frozenset({ChildState.READY, ChildState.STOPPING, ChildState.EXITED}),
    ChildState.READY: frozenset({ChildState.BUSY, ChildState.STOPPING, ChildState.EXITED}),
    ChildState.BUSY: frozenset({ChildState.READY, ChildState.STOPPING, ChildState.EXITED}),
    ChildState.STOPPING: frozenset({ChildState.EXITED}),
    ChildState.EXITED: frozenset(),
}


def may_follow(now: ChildState, then: ChildState) -> bool:
    """Whether a child in ``now`` may become ``then``."""
    return then in _LEGAL[now]


BACKOFF_FIRST, BACKOFF_MOST = 1.0, 60.0


def backoff_seconds(failures: int, jitter: float) -> float:
    """Seconds to wait after the ``failures``-th start in a row that failed; ``jitter`` is a number of [0, 1)."""
    full = min(BACKOFF_MOST, BACKOFF_FIRST * 2.0 ** min(failures - 1, 16))
    return full * (0.75 + 0.5 * jitter)
