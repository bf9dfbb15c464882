"""One call on its way through the middleware of its namespaces: the outermost first, its answer in the other order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from metamcp.concurrency.reactor import Reactor, Timer
from metamcp.errors import DeadlinePassed, MetaMCPError
from metamcp.gateway.middleware.hearing import Hearing
from metamcp.gateway.middleware.interface import Answer, Call, Context, Middleware
from metamcp.gateway.middleware.stack import Stack
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import JsonObject


class Caller(Protocol):
    """The turn of the request."""

    cancel: Callable[[JsonObject], None] | None

    def error(self, error: bytes | MetaMCPError) -> None: ...


class Passage:
    """Begins with ``on_call`` of each; raises MetaMCPError for a call that does not get through. ``stacks``: the
    innermost first. ``hearing``: what the server says of this call goes through it; None where nobody wants to see
    that. Owned by the reactor's thread."""

    def __init__(self, stacks: tuple[Stack, ...], call: Call, endpoint: str, principal: str) -> None:
        self.over = False
        heard = any(stack.hearing for stack in stacks)
        self.hearing = Hearing(stacks, call.server, endpoint, principal) if heard else None
        self._call = call
        self._links = [
            (stack, link, Context(stack.namespace, endpoint, principal))
            for stack in reversed(stacks)
            for link in stack.links
        ]
        self._timer: Timer | None = None
        self._expired = False
        for stack, link, context in self._links:
            stack.run(link, "on_call", partial(_call, call, context))

    def of(self, turn: Caller, reactor: Reactor) -> Passage:
        """From now on ``turn`` waits for the answer, no longer than its middleware lets it."""
        self.over = self._expired = False
        if self._call.seconds is not None:
            self._timer = reactor.call_later(self._call.seconds, lambda: self._expire(turn))
        return self

    def event(self, data: bytes) -> bytes:
        """What the client gets of a message that belongs to the call; b"" where it gets nothing."""
        return data if self.hearing is None else self.hearing.event(data)

    def question(self, method: str, params: bytes) -> bytes:
        """The params with which the client is asked. Raises MetaMCPError for what it is not to be asked."""
        return params if self.hearing is None else self.hearing.question(method, params)

    def result(self, raw: bytes) -> bytes:
        """What the client gets. Raises MetaMCPError."""
        answer = Answer(raw)
        for stack, link, context in reversed(self._links):
            stack.run(link, "on_result", partial(_result, self._call, answer, context))
        self.end()
        return answer.raw

    def error(self, error: bytes | MetaMCPError) -> tuple[bytes | MetaMCPError, bytes]:
        """(what happened, the error object that the client gets)."""
        happened: bytes | MetaMCPError = self._late() if self._expired else error
        self.end()
        answer = Answer(_raw(happened))
        for stack, link, context in reversed(self._links):
            try:
                stack.run(link, "on_error", partial(_error, self._call, answer, context))
            except MetaMCPError as failed:
                happened, answer.raw = failed, _raw(failed)
        return happened, answer.raw

    def end(self) -> None:
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self, turn: Caller) -> None:
        if self.over:
            return
        self._expired = True
        if turn.cancel is not None:
            turn.cancel({})
        if not self.over:
            turn.error(self._late())

    def _late(self) -> DeadlinePassed:
        seconds, server = self._call.seconds or 0.0, self._call.server
        text = f"server {server!r} did not answer within {seconds:g} s, which is all that this namespace gives a call"
        return DeadlinePassed(text, server=server, seconds=seconds)


def _raw(error: bytes | MetaMCPError) -> bytes:
    return jsonrpc.encode(error.as_jsonrpc()) if isinstance(error, MetaMCPError) else error


def _call(call: Call, context: Context, middleware: Middleware) -> None:
    middleware.on_call(call, context)


def _result(call: Call, answer: Answer, context: Context, middleware: Middleware) -> None:
    middleware.on_result(call, answer, context)


def _error(call: Call, answer: Answer, context: Context, middleware: Middleware) -> None:
    middleware.on_error(call, answer, context)
