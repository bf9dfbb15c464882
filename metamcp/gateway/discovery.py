"""Calls at endpoints with ``"discovery": "search"``: of the gateway's own two tools, or of a tool by its own name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.errors import AtCapacity, MetaMCPError
from metamcp.gateway import own_tools
from metamcp.gateway.merging import Route
from metamcp.gateway.namespace import Namespace
from metamcp.gateway.own_tools import Query
from metamcp.gateway.turn import Turn
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import JsonObject

_FAILED = MetaMCPError("the tools could not be searched; the gateway's log has the details")


@dataclass(frozen=True, slots=True)
class Discovery:
    """``workers`` has one thread: of each index there is one search at a time. ``settled(namespace, callback)`` calls
    back when the servers have been asked what they have."""

    reactor: Reactor
    workers: Workers
    settled: Callable[[Namespace, Callable[[], None]], None]

    def meant(self, turn: Turn, params: JsonObject, answer: Callable[[bytes], None]) -> JsonObject | None:
        """The params of the tool's call that ``params`` of a ``tools/call`` mean. None for a search, whose
        CallToolResult ``answer`` gets. Raises InvalidParams."""
        if turn.namespace.view.index is None:
            return params
        name = jsonrpc.decode_string(params.get("name"), "name")
        if name == own_tools.CALL:
            return own_tools.meant(params)
        if name != own_tools.SEARCH:
            return params
        turn.record.route = Route("", own_tools.SEARCH)
        query = own_tools.query(params)
        self.settled(turn.namespace, lambda: self._search(turn, query, answer))
        return None

    def _search(self, turn: Turn, query: Query, answer: Callable[[bytes], None]) -> None:
        index = turn.namespace.view.index
        if index is None:
            answer(own_tools.found(()))  # it was reconfigured while the client waited
            return

        def run() -> None:
            result: bytes | None = None
            try:
                result = own_tools.found(index.best(query.text, query.limit))
            finally:
                # Also after an error that nobody foresaw: its client must not wait for ever.
                self.reactor.call_soon(lambda: turn.error(_FAILED) if result is None else answer(result))

        if not self.workers.submit(run):
            turn.error(AtCapacity("too many searches are waiting; try again in a moment"))
