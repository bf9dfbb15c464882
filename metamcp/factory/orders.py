"""What operators order, beside what they ask (``questions``)."""

from __future__ import annotations

from metamcp.config.live import Live
from metamcp.gateway.audit import Audit
from metamcp.gateway.catalog import Catalog
from metamcp.gateway.interface import Reply
from metamcp.gateway.operators import Body
from metamcp.gateway.router import Operator
from metamcp.upstream.pool import UpstreamPool


def reset(live: Live, pool: UpstreamPool, catalog: Catalog, server: str) -> Body:
    """By hand: the server is tried at once, whatever became of it before."""
    if server not in live.config.servers:
        known = ", ".join(sorted(live.config.servers)) or "none"
        return (404, {"error": f"there is no server {server!r}; configured: {known}"})
    if not live.config.servers[server].enabled:
        return (409, {"error": f"server {server!r} is disabled in the configuration"})
    pool.reset(server)
    catalog.refresh(server)
    return (200, {"server": server})


def noted(audit: Audit, name: str, order: Operator) -> Operator:
    """What an operator has done, noted before it is."""

    def do(reply: Reply, argument: str) -> None:
        audit.ordered(name, argument)
        order(reply, argument)

    return do
