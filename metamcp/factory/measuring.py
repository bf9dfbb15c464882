"""What counts, and where: the audit log's lines on their way, and refused starts; and what the link is timed by."""

from __future__ import annotations

from metamcp.concurrency.reactor import Reactor
from metamcp.config.live import Live
from metamcp.gateway.audit import Audit, Journal, Write
from metamcp.gateway.interface import Ask, Reply
from metamcp.gateway.measurement import counted
from metamcp.telemetry.audit_log import AuditLog, Entry
from metamcp.telemetry.spans import Traces
from metamcp.telemetry.tally import Tally


def counting_audit(
    audit_log: AuditLog, reactor: Reactor, live: Live, tally: Tally, journal: Journal, traces: Traces | None
) -> Audit:
    """Each request that has its line is counted."""
    return Audit(counted(tally, live, audit_log.write), reactor.clock, journal, traces)


def counting_refusals(audit_log: AuditLog, reactor: Reactor, tally: Tally) -> Write:
    """For the threads of starters, which own no number."""

    def write(entry: Entry) -> None:
        audit_log.write(entry)
        reactor.call_soon(lambda: tally.start_refused(entry.server, entry.rule))

    return write


def answer_at_once(reply: Reply, _ask: Ask) -> None:
    """To who wants to know how long that takes."""
    reply.answer(b"{}")
