"""The operators' questions, and who answers each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.config.model import ServerSpec
from metamcp.factory.diagnosing import Occasion, themes
from metamcp.gateway.interface import Ask, Reply
from metamcp.gateway.operators import Body, Question, answer
from metamcp.gateway.router import Operator
from metamcp.gateway.snapshot import Snapshot
from metamcp.runtime.command.effective import image_of
from metamcp.runtime.diagnosis import diagnostics, overview
from metamcp.runtime.engine import Engine

QUESTIONS = 4
"""Threads, one for each question that asks the engine, and one for those that read files: none may wait behind what an
engine that hangs keeps busy."""


def answers_of(
    occasion: Occasion,
    snapshot: Snapshot,
    judge: Callable[[ServerSpec], dict[str, Any]],
    reactor: Reactor,
    workers: Workers,
) -> dict[str, Operator]:
    """By subject. ``judge`` adds what is known of a server's image."""

    def ready(reply: Reply, _ask: Ask) -> None:
        found = snapshot.ready()
        answer(reply, (200 if found["ready"] else 503, found))

    return {
        "status": document(snapshot.status),
        "ready": ready,
        "docker-check": Question(reactor, workers, lambda: _check(occasion)),
        "docker-test": Question(reactor, workers, lambda: _test(occasion)),
        "docker-info": Question(reactor, workers, lambda: _info(occasion, judge)),
    }


def document(make: Callable[[], dict[str, Any]]) -> Operator:
    """What is known without asking anybody."""
    return lambda reply, _ask: answer(reply, (200, make()))


def _check(occasion: Occasion) -> Body:
    found = diagnostics.accessible(Engine, occasion.engine.address)
    return (200 if found["accessible"] else 503, found)


def _test(occasion: Occasion) -> Body:
    built = themes(occasion)
    checks = diagnostics.run_checks(built.steps(), built.engine.time, occasion.engine.docker_host)
    found = diagnostics.report(checks)
    return (200 if found["ok"] else 503, found)


def _info(occasion: Occasion, judge: Callable[[ServerSpec], dict[str, Any]]) -> Body:
    loaded = occasion.loaded()
    found: dict[str, Any] = overview.info(
        occasion.engine, loaded.config, loaded.allowlist, occasion.identity, occasion.settings.runtime, image_of, judge
    )
    return (200, found)
