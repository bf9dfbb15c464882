"""Questions that stay open: documents that operators watch, and what servers say on their standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from metamcp.concurrency.reactor import Reactor
from metamcp.config.live import Live
from metamcp.gateway.interface import Ask, Reply
from metamcp.gateway.operators import Body, answer, unknown_server
from metamcp.protocol import jsonrpc
from metamcp.runtime.stderr import StderrLine, StderrLog

LOOK_SECONDS = 0.5
"""Between two looks whether a document is another one."""

_SHARE = 20  # of the reactor's time that a look may take is one of so many

MOST_WATCHERS = 64

Document = Callable[[], dict[str, Any]]


class Watching:
    """For ``Ask("events")``. Owned by the reactor's thread. ``documents`` by the names of their events; none is made
    while nobody watches. ``before_look`` is called ahead of each look, for what documents read to be fresh."""

    def __init__(
        self,
        reactor: Reactor,
        documents: Mapping[str, Document],
        before_look: Callable[[], None] = lambda: None,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._reactor = reactor
        self._documents = documents
        self._before_look = before_look
        self._stopwatch = stopwatch
        self._told: dict[Reply, dict[str, bytes]] = {}
        self._looking = False

    def __call__(self, reply: Reply, _ask: Ask) -> None:
        if len(self._told) >= MOST_WATCHERS:
            answer(reply, _TOO_MANY)
            return
        self._told[reply] = {}

        def closed() -> None:
            del self._told[reply]

        reply.on_closed = closed
        reply.opened("")
        self._before_look()
        self._tell(reply, self._made())
        if not self._looking:
            self._looking = True
            self._reactor.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._looking = bool(self._told)
        if not self._looking:
            return
        begun = self._stopwatch()
        try:
            self._before_look()
            made = self._made()
            for reply in tuple(self._told):
                self._tell(reply, made)
        finally:
            # Also after an error that nobody foresaw: the others go on watching.
            pause = max(LOOK_SECONDS, _SHARE * (self._stopwatch() - begun))
            self._reactor.call_later(pause, self._look)

    def _made(self) -> dict[str, bytes]:
        return {name: jsonrpc.encode(document()) for name, document in self._documents.items()}

    def _tell(self, reply: Reply, made: Mapping[str, bytes]) -> None:
        told = self._told[reply]
        for name, document in made.items():
            if told.get(name) != document:
                told[name] = document
                reply.event(name.encode() + b" " + document)


class StderrStreams:
    """For ``Ask("stderr")``. Owned by the reactor's thread."""

    def __init__(self, live: Live, log: StderrLog) -> None:
        self._live = live
        self._log = log
        self._open: set[Reply] = set()

    def __call__(self, reply: Reply, ask: Ask) -> None:
        server, lines = ask.argument, ask.lines
        if server not in self._live.config.servers:
            answer(reply, unknown_server(self._live, server))
        elif lines.follow and len(self._open) >= MOST_WATCHERS:
            answer(reply, _TOO_MANY)
        else:
            reply.opened("")
            if lines.follow:
                self._follow(reply, server)
            for line in self._log.since(server, lines.after) if lines.after else self._log.last(server, lines.tail):
                _send(reply, line)
            if not lines.follow:
                reply.end("that is all")

    def _follow(self, reply: Reply, server: str) -> None:
        """Within one turn with what is sent of before: no line is missed, none comes twice."""
        stop = self._log.follow(server, lambda line: _send(reply, line), lambda: reply.end("its server is gone"))
        self._open.add(reply)

        def over() -> None:
            stop()
            self._open.discard(reply)

        reply.on_over = over


_TOO_MANY: Body = (429, {"error": f"{MOST_WATCHERS} streams are open already: close one, and try again"})


def _send(reply: Reply, line: StderrLine) -> None:
    shown = {"time": line.time, "container": line.container or None, "session": line.session or None, "line": line.text}
    reply.event(jsonrpc.encode(shown), line.number)
