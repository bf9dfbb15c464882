"""The INTERNAL span of a request: all that the supervisor does for it, the wait for a server's start included."""

from __future__ import annotations

from metamcp.gateway.interface import Client
from metamcp.telemetry.audit_log import Entry
from metamcp.telemetry.spans import Span, Traces


def begin(traces: Traces | None, client: Client, method: str, session: str) -> Span | None:
    """None where no traces are wanted, here or in the web tier. ``method`` and ``session`` as they may be shown."""
    if traces is None or client.trace is None:
        return None
    attributes = {
        "mcp.method.name": method,
        "mcp.session.id": session,
        "metamcp.endpoint": client.endpoint,
        "metamcp.request.id": client.request,
    }
    shown = {key: value for key, value in attributes.items() if value}
    return traces.begin(f"supervisor {method}", "internal", client.trace, shown)


def end(span: Span, entry: Entry, text: str) -> None:
    """As the audit log tells it."""
    attributes: dict[str, str | int] = {"metamcp.server": entry.server} if entry.server else {}
    if entry.tool:
        attributes["gen_ai.tool.name" if entry.method == "tools/call" else "gen_ai.prompt.name"] = entry.tool
    if entry.code is not None:
        attributes["rpc.response.status_code"] = str(entry.code)
    span.set(attributes)
    failed = entry.result != "result"
    span.end((entry.rule or (str(entry.code) if entry.result == "error" else entry.result)) if failed else "", text)
