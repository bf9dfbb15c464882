"""Why an instance ended: in one word for those who count (``metrics.EXIT_REASONS``, docs/metrics.md), and in full."""

from __future__ import annotations

from metamcp.errors import AtCapacity
from metamcp.runtime.child import Exit
from metamcp.runtime.inquest import CONNECTION_CUT, ENGINE_WENT, KILLED
from metamcp.upstream.connection import UpstreamConnection


def reason_of(connection: UpstreamConnection) -> str:
    """Of one that has ended."""
    error, ended = connection.child.error, connection.child.exit
    if isinstance(error, AtCapacity):
        return "no-place"
    if error is not None and error.fault == "operator":
        return "refused"
    if connection.unneeded and error is None:
        return "stopped"
    return _of_exit(ended, connection.started_well) if ended is not None and error is None else "not-started"


def last_exit(connection: UpstreamConnection, ended: Exit, wanted: bool) -> dict[str, object]:
    """``lastExit`` of the snapshot (docs/operations.md). ``wanted``: it was we who ended it, and nothing was wrong."""
    error = connection.child.error
    return {
        "exitCode": ended.code, "signal": ended.signal, "oomKilled": ended.oom_killed,
        "reason": ended.describe(), "stderr": list(ended.stderr),
        "advice": connection.advice(ended) or (error.advice if error is not None else "") or None,
        "wanted": wanted,
    }  # fmt: skip


def _of_exit(ended: Exit, started_well: bool) -> str:
    words = {
        "oom": ended.oom_killed,
        "engine": ended.reason in (ENGINE_WENT, CONNECTION_CUT),
        "killed": ended.reason.startswith(KILLED),
        "not-started": not started_well,
        "misbehaved": bool(ended.reason),
        "signal": ended.signal is not None,
        "failed": bool(ended.code),
    }
    return next((word for word, holds in words.items() if holds), "exited")
