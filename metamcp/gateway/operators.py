"""Answers to operators' questions. What asks the engine runs on a worker thread, each question once at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Share, Workers
from metamcp.config.live import Live
from metamcp.errors import EngineUnavailable
from metamcp.gateway.interface import Ask, Reply
from metamcp.protocol import jsonrpc

Body = tuple[int, dict[str, Any]]
"""HTTP status and document."""


class Question:
    """One question whose answer takes time: whoever asks while it is being answered gets the same answer."""

    def __init__(self, reactor: Reactor, workers: Workers, find: Callable[[], Body]) -> None:
        self._reactor = reactor
        self._workers = workers
        self._find = find
        self._waiting: list[Reply] = []

    def __call__(self, reply: Reply, _ask: Ask | None = None) -> None:
        self._waiting.append(reply)
        if len(self._waiting) == 1:
            find_out(self._reactor, self._workers, self._find, self._answer)

    def _answer(self, body: Body) -> None:
        waiting, self._waiting = self._waiting, []
        for reply in waiting:
            answer(reply, body)


def find_out(
    reactor: Reactor, workers: Workers | Share, find: Callable[[], Body], done: Callable[[Body], None]
) -> None:
    """``done``, on the reactor's thread, with what ``find`` gives on a worker, or with why it gives nothing."""

    def run() -> None:
        body: Body = (500, {"error": "the question could not be answered; the gateway's log has the details"})
        try:
            body = find()
        except EngineUnavailable as error:
            body = (503, {"error": error.text, "hint": error.hint})
        finally:
            # Also after an error that nobody foresaw: whoever asks must not wait for this answer for ever.
            reactor.call_soon(lambda: done(body))

    if not workers.submit(run):
        done((503, {"error": "too much is going on; ask again in a moment"}))


def answer(reply: Reply, body: Body) -> None:
    status, document = body
    reply.answer(jsonrpc.encode(document), status=status)


def unknown_server(live: Live, server: str) -> Body:
    known = ", ".join(sorted(live.config.servers)) or "none"
    return (404, {"error": f"there is no server {server!r}; configured: {known}"})
