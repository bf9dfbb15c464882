"""The Gateway in the same process: embedded mode and tests."""

from __future__ import annotations

from collections.abc import Callable

from metamcp.concurrency.outbox import Outbox
from metamcp.concurrency.reactor import Reactor
from metamcp.gateway.interface import Is, Outbound, Reply, Request

QUEUE_BYTES = 64 * 1024 * 1024
"""What may wait for one HTTP client that reads slowly; then its stream is ended."""


class QueuedExchange:
    """An Exchange whose items come from elsewhere through an Outbox."""

    __slots__ = ("_on_close", "outbox")

    def __init__(self, on_close: Callable[[], None]) -> None:
        self.outbox: Outbox[Outbound] = Outbox(QUEUE_BYTES)
        self._on_close = on_close

    def put(self, outbound: Outbound) -> bool:
        """Any thread. False when the reader is gone or too slow."""
        taken = self.outbox.put(outbound)
        if outbound.final:
            self.outbox.close("complete")
        return taken

    def next(self, timeout: float) -> Outbound | None:
        item = self.outbox.get(timeout)
        if item is None and self.outbox.finished:
            return Outbound(Is.ENDED, (self.outbox.closed or "").encode())
        return item

    def close(self) -> None:
        if self.outbox.closed != "complete":
            self._on_close()  # first: whoever waits learns of the end when the gateway has been told
        self.outbox.close("closed by the web tier")


class LocalGateway:
    """Hands every request to the reactor's thread."""

    def __init__(self, reactor: Reactor, open_request: Callable[[Request, Reply], None]) -> None:
        self._reactor = reactor
        self._open = open_request

    def exchange(self, request: Request) -> QueuedExchange:
        reply: Reply

        def cancelled() -> None:
            self._reactor.call_soon(reply.close)

        exchange = QueuedExchange(cancelled)
        reply = Reply(lambda outbound: None if exchange.put(outbound) else cancelled())
        self._reactor.call_soon(lambda: self._open(request, reply))
        return exchange
