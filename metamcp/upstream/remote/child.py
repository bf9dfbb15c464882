"""A server that runs elsewhere, as a child: what is written to it becomes HTTP, and what comes back, lines.

So the conversation over it (``connection.py``) and the pool need not know that there is no process.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from metamcp.concurrency.reactor import Reactor, Timer
from metamcp.config.model import ServerSpec
from metamcp.config.names import remote_url
from metamcp.config.secrets import ResolvedServer
from metamcp.errors import MetaMCPError, RemoteRefused
from metamcp.protocol import jsonrpc
from metamcp.runtime.child import Child, Exit, Grace
from metamcp.runtime.states import OVER, ChildState
from metamcp.telemetry import logs
from metamcp.upstream.connection import MAX_LINE
from metamcp.upstream.remote.address import shown
from metamcp.upstream.remote.exchange import Ask, Exchange, Exchanges, Hears, Lane
from metamcp.upstream.remote.faults import reason_of
from metamcp.upstream.remote.message import read
from metamcp.upstream.remote.sse import HttpSse
from metamcp.upstream.remote.streamable import Streamable
from metamcp.upstream.remote.transport import Transport, Word

FAREWELL_SECONDS = 1.5
"""For the server to hear that its session is over."""

LAST_SECONDS = 3.0
"""For the threads to end; one that still looks up a name or connects is left to its own deadline."""

_USER_AGENT = {"User-Agent": "metamcp"}
_log = logs.get("upstream.remote")

Resolve = Callable[[ServerSpec], ResolvedServer]
"""Url and headers as they are now; blocks. Raises SecretMissing."""


class RemoteChild(Child):
    """Owned by the reactor's thread. ``pid`` and ``plan`` stay None; its ``Exit`` has no code, only a reason.
    ``traced``: the trace of a request stands in its headers, too."""

    def __init__(
        self, reactor: Reactor, spec: ServerSpec, session: str, resolve: Resolve, traced: bool = False
    ) -> None:
        super().__init__(reactor, spec.name, session, Grace(), lambda _child: None)
        self.timeouts = spec.timeouts
        self.url = ""
        self._traced = traced
        self._headers: dict[str, bytes] = {}
        self._exchanges = Exchanges(reactor, spec.name, MAX_LINE, self._threads_idle)
        self._transport: Transport = HttpSse(self) if spec.transport == "sse" else Streamable(self)
        self._last: Timer | None = None
        self._exchanges.work(lambda: self._look_up(resolve, spec))

    @property
    def _ending(self) -> bool:
        return self.state in OVER

    # --- what a conversation asks of a child ---------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._ending:
            return
        if self.url:
            self._transport.send(read(data, self._traced))
        else:
            self._unsent.append(data)

    def stop(self, reason: str = "") -> None:
        """Everything under way ends at once; the server is told, within a bound, if it knows us."""
        if self._ending:
            return
        self._reason = reason or "it was stopped"
        self.become(ChildState.STOPPING)
        farewell = self._transport.farewell() if self.url else None
        self._exchanges.abort_all()
        if farewell is not None:
            Word(self, dataclasses.replace(farewell, silence=FAREWELL_SECONDS), lambda _over: None)
            self._rung = self._reactor.call_later(FAREWELL_SECONDS, self._exchanges.abort_all)
        self._last = self._reactor.call_later(LAST_SECONDS, self._over)
        self._reactor.call_soon(self._threads_idle)

    # --- what its transport asks (Speaker) -------------------------------------------------------------------

    def begin(self, ask: Ask, hears: Hears, lane: Lane) -> Exchange:
        ours = {name.lower() for name in ask.headers}
        configured = {name: value for name, value in self._headers.items() if name.lower() not in ours}
        return self._exchanges.begin(dataclasses.replace(ask, headers=configured | dict(ask.headers)), hears, lane)

    def abort(self, exchange: Exchange) -> None:
        self._exchanges.abort(exchange)

    def later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Not called back any more once the child is being stopped."""

        def unless_stopping() -> None:
            if not self._ending:
                callback()

        return self._reactor.call_later(seconds, unless_stopping)

    def now(self) -> float:
        return self._reactor.clock()

    def deliver(self, data: bytes) -> None:
        if self.state is not ChildState.EXITED:
            self.on_data(data + b"\n")

    def refuse(self, identifier: bytes, error: MetaMCPError) -> None:
        self.deliver(jsonrpc.error_response(identifier, error.as_jsonrpc()))

    def die(self, error: MetaMCPError) -> None:
        if not self._ending:
            self.error = error
            self.stop(reason_of(error))

    # --- begin and end ---------------------------------------------------------------------------------------

    def _look_up(self, resolve: Resolve, spec: ServerSpec) -> None:
        """On a thread: secrets may have to be read from files."""
        try:
            found = resolve(spec)
            _check(spec, found)
        except MetaMCPError as failed:
            error = failed
            self._reactor.call_soon(lambda: self.die(error))
        else:
            logs.redact.add(found.secrets)
            self._reactor.call_soon(lambda: self._ready(found))

    def _ready(self, found: ResolvedServer) -> None:
        if self._ending:
            return
        self.url = found.url
        self._headers = {name: value.encode() for name, value in (_USER_AGENT | dict(found.headers)).items()}
        _log.info("remote-begun", extra=self._begun(found.url))
        unsent, self._unsent = self._unsent, []
        for data in unsent:
            self._transport.send(read(data, self._traced))

    def _begun(self, url: str) -> dict[str, Any]:
        return logs.fields(server=self.server, address=shown(url), session=self.short_session or None)

    def _threads_idle(self) -> None:
        if self.state is ChildState.STOPPING and not self._exchanges.busy:
            self._over()

    def _over(self) -> None:
        if self._last is not None:
            self._last.cancel()
        self._exchanges.close()
        self._finish(Exit(None, None, (), self._reason))


def _check(spec: ServerSpec, found: ResolvedServer) -> None:
    """What a ``${…}`` became may be no URL."""
    problem = remote_url(found.url)
    if problem or found.url.startswith("${"):
        reason = f"its url {problem or 'is not resolved'}"
        raise RemoteRefused(f"server {spec.name!r}: {reason}", server=spec.name, reason=reason)
