"""The requests of clients that are being worked on, and the last ones that were: what operators see of the records that
the audit log is made of.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

from metamcp.gateway.audit import Record
from metamcp.telemetry.audit_log import Entry

RECENT = 100
SHOWN = 500
"""Of those that are being worked on; the oldest ones, for they are the ones to look at."""

ASKED_OF_SERVERS = frozenset({"tools/call", "prompts/get", "resources/read", "completion/complete"})

OnCall = Callable[[float, bool], None]
"""(seconds, whether it failed) of each request that a server has to answer."""


class Calls:
    """A ``Journal``. Owned by the reactor's thread. ``wall``: Unix seconds of a moment."""

    def __init__(self, wall: Callable[[float], float], on_call: OnCall = lambda _seconds, _failed: None) -> None:
        self._wall = wall
        self._on_call = on_call
        self._numbers = itertools.count(1)
        self._live: dict[Record, int] = {}
        self._recent: deque[tuple[int, Record, Entry]] = deque(maxlen=RECENT)

    def begun(self, record: Record) -> None:
        self._live[record] = next(self._numbers)

    def ended(self, record: Record, entry: Entry) -> None:
        number = self._live.pop(record, 0) or next(self._numbers)
        self._recent.append((number, record, entry))
        if record.method in ASKED_OF_SERVERS:
            self._on_call(entry.seconds or 0.0, outcome(entry) not in ("result", "cancelled"))

    def document(self) -> dict[str, Any]:
        """The document of ``/api/calls`` (docs/operations.md)."""
        shown = itertools.islice(self._live.items(), SHOWN)
        return {
            "live": [self._shown(number, record, record.entry()) for record, number in shown],
            "omitted": max(0, len(self._live) - SHOWN),
            "recent": [self._over(number, record, entry) for number, record, entry in reversed(self._recent)],
        }

    def _shown(self, number: int, record: Record, entry: Entry) -> dict[str, Any]:
        return {
            "id": number, "endpoint": entry.endpoint, "server": entry.server or None, "method": entry.method,
            "name": entry.tool or entry.scheme or None, "principal": entry.principal, "session": entry.session or None,
            "since": self._wall(record.since),
        }  # fmt: skip

    def _over(self, number: int, record: Record, entry: Entry) -> dict[str, Any]:
        shown = self._shown(number, record, entry)
        return shown | {"seconds": entry.seconds, "outcome": outcome(entry), "rule": entry.rule or None}


def outcome(entry: Entry) -> str:
    """``result``, ``error``, ``cancelled``, ``died``, ``deadline``, as in the audit log, or ``refused``."""
    return "refused" if entry.decision == "refused" else entry.result
