"""Images and what is known of them, as operators and starts ask for it."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.config.images import Verdict, decide
from metamcp.config.live import Live
from metamcp.config.model import Allowlist, ImageRule, ServerSpec
from metamcp.errors import CommandInvalid, EngineUnavailable, MetaMCPError
from metamcp.factory.orders import done
from metamcp.gateway.interface import Ask, Reply
from metamcp.gateway.operators import Body, answer, find_out
from metamcp.gateway.router import Operator
from metamcp.runtime.command.effective import Resolver
from metamcp.runtime.engine import Engine
from metamcp.runtime.screening.admission import ImageAdmission, objections_to
from metamcp.runtime.screening.ledger import Ledger, Report
from metamcp.runtime.screening.programs import Programs
from metamcp.runtime.screening.screen import Order, screen
from metamcp.telemetry import logs

_log = logs.get("factory.images")


def build_admission(engine: Engine, programs: Programs, ledger: Ledger) -> ImageAdmission:
    return ImageAdmission(ledger, engine.image, lambda order: screen(engine, programs, os.environ, order), time.time)


def prepare(resolver: Resolver, live: Live, admission: ImageAdmission, server: str) -> None:
    """On the screener's thread: what an image is said to be is known before a client waits for it."""
    spec = live.config.servers.get(server)
    try:
        if spec is not None:
            resolver.judged(spec, admission.prepare)
    except MetaMCPError as error:
        _log.info("image-not-screened", extra=logs.fields(server=server, reason=error.told))


def judging(
    resolver: Callable[[], Resolver], engine: Engine, admission: ImageAdmission
) -> Callable[[ServerSpec], dict[str, Any]]:
    """What is known of a server's image, for /docker-test/info; why it may not run at all, where that is so."""

    def judge(spec: ServerSpec) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def known(_spec: ServerSpec, allowlist: Allowlist, verdict: Verdict, reference: str) -> str:
            facts = engine.image(reference)
            if facts is not None:
                found.update(admission.known(allowlist, verdict, reference, facts).as_json(facts.id))
            return reference

        try:
            resolver().judged(spec, known)
        except EngineUnavailable:
            raise
        except MetaMCPError as error:
            return {"refused": error.text}
        return found

    return judge


def scan(resolver: Resolver, spec: ServerSpec | None, engine: Engine, target: str) -> tuple[Report, list[str]]:
    """A report made now of the image of ``spec``, or without one of the image ``target``, and what refuses it.
    Blocks. Raises MetaMCPError."""
    found: list[tuple[Report, list[str]]] = []

    def look(_spec: ServerSpec, allowlist: Allowlist, verdict: Verdict, reference: str) -> str:
        rule, facts = verdict.rule or ImageRule("*"), engine.image(reference)
        if facts is None:
            raise EngineUnavailable(f"the engine does not have {reference}: fetch it with docker pull")
        cosign, how = allowlist.judges(rule)
        report = screen(engine, Programs(), os.environ, Order(reference, facts, cosign, how))
        found.append((report, [f"{item.rule}: {item.text}" for item in objections_to(report, how)]))
        return reference

    if spec is None:
        allowlist = dataclasses.replace(resolver.allowlist, dry_run=True)  # also an image that may not run yet
        verdict = decide(allowlist, target)
        if verdict.reference is None:
            raise CommandInvalid(f"{target!r} is neither a configured server nor an image: {verdict.reason}")
        look(ServerSpec(target), allowlist, verdict, verdict.pinned or str(verdict.reference))
    else:
        resolver.judged(spec, look)
    return found[0]


def accepting(
    reactor: Reactor, chores: Workers, accept: Callable[[str], Body], reset: Callable[[str], Body]
) -> Operator:
    """The engine is asked on a worker; then the server is tried at once."""

    def obey(reply: Reply, ask: Ask) -> None:
        server = ask.argument

        def find() -> Body:
            try:
                return accept(server)
            except EngineUnavailable as error:
                return (503, {"error": error.told})
            except MetaMCPError as error:
                return (409, {"error": error.text})

        def over(body: Body) -> None:
            if body[0] == 200:
                reset(server)
            answer(reply, body)

        find_out(reactor, chores, find, over)

    return obey


def accept(resolver: Resolver, live: Live, engine: Engine, ledger: Ledger, server: str) -> Body:
    """The image that the server's reference names now is the one that it should name. Blocks."""
    spec = live.config.servers.get(server)
    if spec is None or spec.url:
        return (404, {"error": f"there is no server {server!r} in a container"})
    reference = resolver.judged(spec, lambda _spec, _allowlist, _verdict, reference: reference)
    facts = engine.image(reference)
    if facts is None:
        return (404, {"error": f"the engine does not have {reference}"})
    before = ledger.record(reference)
    ledger.accept(reference, facts.id, time.time())
    _log.info("image-accepted", extra=logs.fields(server=server, image=reference, id=facts.id))
    text = f"{reference} is {facts.id} now (before: {before.id if before else 'nothing'})"
    return done(text, image=reference, id=facts.id, before=before.id if before else None)
