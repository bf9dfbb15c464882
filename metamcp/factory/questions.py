"""The operators' questions, and who answers each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.config.model import ServerSpec
from metamcp.factory.diagnosing import Occasion, themes
from metamcp.gateway.interface import Reply
from metamcp.gateway.operators import Body, Question, answer
from metamcp.gateway.router import Operator
from metamcp.gateway.snapshot import Snapshot
from metamcp.runtime.command.effective import image_of
from metamcp.runtime.diagnosis import diagnostics, overview
from metamcp.runtime.engine import Engine

QUESTIONS = 3
"""Threads, one for each question that asks the engine: none may wait behind what an engine that hangs keeps busy."""


def answers_of(
    occasion: Occasion,
    snapshot: Snapshot,
    judge: Callable[[ServerSpec], dict[str, Any]],
    reactor: Reactor,
    workers: Workers,
) -> dict[str, Operator]:
    """By subject. ``judge`` adds what is known of a server's image."""
    settings, engine = occasion.settings, occasion.engine

    def status(reply: Reply, _argument: str) -> None:
        answer(reply, (200, snapshot.status()))

    def ready(reply: Reply, _argument: str) -> None:
        found = snapshot.ready()
        answer(reply, (200 if found["ready"] else 503, found))

    def check() -> Body:
        found = diagnostics.accessible(Engine, engine.address)
        return (200 if found["accessible"] else 503, found)

    def test() -> Body:
        built = themes(occasion)
        found = diagnostics.report(diagnostics.run_checks(built.steps(), built.engine.time, engine.docker_host))
        return (200 if found["ok"] else 503, found)

    def info() -> Body:
        loaded = occasion.loaded()
        found: dict[str, Any] = overview.info(
            engine, loaded.config, loaded.allowlist, occasion.identity, settings.runtime, image_of, judge
        )
        return (200, found)

    return {
        "status": status,
        "ready": ready,
        "docker-check": Question(reactor, workers, check),
        "docker-test": Question(reactor, workers, test),
        "docker-info": Question(reactor, workers, info),
    }
