"""The checks of /docker-test/test for a test, each part of which it may replace."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from metamcp.config.model import Limits
from metamcp.factory.diagnosing import household
from metamcp.runtime.cuts import Cuts
from metamcp.runtime.diagnosis.bench import Bench
from metamcp.runtime.diagnosis.checks.containers import ContainerChecks
from metamcp.runtime.diagnosis.checks.engine import EngineChecks, connect_unix
from metamcp.runtime.diagnosis.checks.images import ImageChecks, NoImageError, ServerImage
from metamcp.runtime.diagnosis.checks.networks import NetworkChecks
from metamcp.runtime.diagnosis.checks.proxies import Address, ProxyChecks
from metamcp.runtime.diagnosis.diagnostics import Check, Themes, only, run_checks
from metamcp.runtime.diagnosis.outcomes import Deadline
from metamcp.runtime.diagnosis.probe import PROGRAM, Means
from metamcp.runtime.diagnosis.reachability import Listening
from metamcp.runtime.engine import Engine
from metamcp.runtime.labels import Identity

NOWHERE = ("192.0.2.1", 443)
"""Nobody has it (RFC 5737), so a test asks nobody outside."""


def no_image(_seconds: float) -> tuple[str, str]:
    raise NoImageError("nobody has chosen one")


def themes(
    engine: Engine,
    identity: Identity,
    image: str = "",
    *,
    means: Means | None = None,
    cli: Sequence[str] = ("docker",),
    seconds: float = 100.0,  # the machine of a test may be busy
    argv: Sequence[str] = PROGRAM,
    limits: Limits | None = None,
    servers: Sequence[ServerImage] = (),
    bind: str = "127.0.0.1:12009",
    named: bool = True,
    internal_needed: bool = True,
    outside: tuple[str, int] = NOWHERE,
    address: Address | None = None,
    silence: float = 0.0,
    cuts: Cuts | None = None,
    connect: Any = connect_unix,
    choose: Any = no_image,
) -> Themes:
    deadline = Deadline(time.monotonic, time.monotonic() + seconds)
    host = engine.docker_host
    bench = Bench(engine, means or Means(cli=cli), identity, deadline, limits or Limits(), argv)
    return Themes(
        EngineChecks(engine, host, deadline, connect),
        ImageChecks(bench, image, choose, lambda: servers),
        ContainerChecks(bench, lambda: household(engine, identity)),
        NetworkChecks(bench, Listening.of(bind), named, lambda: internal_needed, outside),
        ProxyChecks(engine, host, lambda: address, silence, cuts or Cuts()),
    )


def checked(engine: Engine, identity: Identity, image: str = "", *names: str, **given: Any) -> dict[str, Check]:
    """What all checks find, or those of ``names`` with what they need."""
    built = themes(engine, identity, image, **given)
    waiting = Deadline(time.monotonic, built.engine.time.until + 2 * built.proxies.silence)
    found = run_checks(only(built.steps(), names), waiting, engine.docker_host)
    return {check.name: check for check in found}


def failing(found: dict[str, Check]) -> set[str]:
    for check in found.values():
        assert check.status != "fail" or check.hint, check
    return {name for name, check in found.items() if check.status == "fail"}


def skipped(found: dict[str, Check]) -> set[str]:
    return {name for name, check in found.items() if check.status == "skip"}
