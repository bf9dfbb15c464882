"""The states of a child and of a configured server, the ways between them, and their deadlines. A leaf: imports
nothing of ours.

| state    | its deadline                                           | when it passes                              |
|----------|--------------------------------------------------------|---------------------------------------------|
| STARTING | waits for a place and its turn: ``timeouts.start``     | -31002, at capacity                         |
|          | from its turn to the first answer: ``timeouts.start``  | the child is stopped; the start has failed  |
| SPARE    | none; an unspoken one is settled after SETTLE_SECONDS  |                                             |
| READY    | ``idleSeconds`` without a call                         | the child is stopped                        |
|          | PING_SECONDS for an answer, asked every PING_EVERY     | the child is stopped; the next call starts  |
| BUSY     | ``timeouts.call`` of silence, ``timeouts.total`` in all| the call fails; the server is told          |
| STOPPING | each rung of the ladder (``child.Grace``)              | SIGTERM, then removed by force              |
| BACKOFF  | ``backoff_seconds``                                    | the next call may start the server          |
| FATAL    | HALF_OPEN_SECONDS                                      | one instance is tried, by the gateway itself|
"""

from __future__ import annotations

from enum import StrEnum


class ChildState(StrEnum):
    """STARTING until its server has answered ``initialize``; BUSY while a call is in flight. SPARE: started before
    anybody needs it, and, where it is known what the next client will say, initialized."""

    STARTING = "STARTING"
    SPARE = "SPARE"
    READY = "READY"
    BUSY = "BUSY"
    STOPPING = "STOPPING"
    EXITED = "EXITED"


OVER = (ChildState.STOPPING, ChildState.EXITED)
"""The states of a child that takes no call any more."""


class ServerState(StrEnum):
    """IDLE: no instance, none needed. BACKOFF: the last start failed; the next is not before a given time.
    FATAL: it failed FATAL_AFTER times in a row, or cannot start until an operator acts (policy, allowlist, missing
    secret)."""

    IDLE = "IDLE"
    STARTING = "STARTING"
    READY = "READY"
    BUSY = "BUSY"
    BACKOFF = "BACKOFF"
    FATAL = "FATAL"
    DISABLED = "DISABLED"


_LEGAL: dict[ChildState, frozenset[ChildState]] = {
    ChildState.STARTING: frozenset({ChildState.SPARE, ChildState.READY, ChildState.STOPPING, ChildState.EXITED}),
    ChildState.SPARE: frozenset({ChildState.STARTING, ChildState.READY, ChildState.STOPPING, ChildState.EXITED}),
    ChildState.READY: frozenset({ChildState.BUSY, ChildState.STOPPING, ChildState.EXITED}),
    ChildState.BUSY: frozenset({ChildState.READY, ChildState.STOPPING, ChildState.EXITED}),
    ChildState.STOPPING: frozenset({ChildState.EXITED}),
    ChildState.EXITED: frozenset(),
}


def may_follow(now: ChildState, then: ChildState) -> bool:
    """Whether a child in ``now`` may become ``then``."""
    return then in _LEGAL[now]


SETTLE_SECONDS = 1.0
"""A process that has lived so long counts as started, if nobody has spoken to it."""

PING_EVERY, PING_SECONDS = 30.0, 10.0
"""Of an instance that is silent and has nothing to do (2025-11-25, Ping)."""

BACKOFF_FIRST, BACKOFF_MOST = 1.0, 60.0

FATAL_AFTER = 8
"""Starts in a row that failed; about two minutes of BACKOFF."""

HALF_OPEN_SECONDS = 300.0


def backoff_seconds(failures: int, jitter: float) -> float:
    """Seconds to wait after the ``failures``-th start in a row that failed; ``jitter`` is a number of [0, 1)."""
    full = min(BACKOFF_MOST, BACKOFF_FIRST * 2.0 ** min(failures - 1, 16))
    return full * (0.75 + 0.5 * jitter)
