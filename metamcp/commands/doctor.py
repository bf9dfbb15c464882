"""``python -m metamcp doctor``: the checks of /docker-test/test, from where the operator stands."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import click

from metamcp.commands import display
from metamcp.concurrency.tasks import Job
from metamcp.config.engine_address import locate
from metamcp.config.loader import load
from metamcp.config.settings import Settings
from metamcp.factory.diagnosing import Occasion, credentials, themes
from metamcp.factory.runtimes import build_means
from metamcp.factory.starting import build_resolver
from metamcp.gateway.interface import Ask, Is
from metamcp.link.client import LinkClient
from metamcp.runtime.cuts import Cuts
from metamcp.runtime.diagnosis.checks.containers import Household
from metamcp.runtime.diagnosis.diagnostics import SECONDS, Check, only, report, run_checks
from metamcp.runtime.diagnosis.outcomes import Deadline, NotApplicableError
from metamcp.runtime.engine import Engine
from metamcp.runtime.instance import read_instance_id
from metamcp.runtime.labels import INSTANCE, Identity
from metamcp.telemetry import logs

MOST_SILENCE = 900.0
_CONNECT_SECONDS, _ANSWER_SECONDS = 0.5, 15.0
_MORE_SECONDS = 15.0  # for each check that waits, beside what it waits for


def run(settings: Settings, url: str, silence: float, names: Sequence[str], as_json: bool) -> int:
    """Print what was found; the exit status. Raises ClickException."""
    if url and urlsplit(url).scheme not in ("http", "https"):
        text = "must be an address such as https://mcp.example.com/metamcp/default/sse"
        raise click.BadParameter(text, param_hint="--url")
    with Engine(locate(os.environ)) as engine:
        checks = _checks(settings, engine, url, silence, names)
    _print(checks, as_json)
    return 0 if report(checks)["ok"] else 1


def _checks(settings: Settings, engine: Engine, url: str, silence: float, names: Sequence[str]) -> list[Check]:
    identity = Identity(f"doctor-{os.getpid()}", "doctor")  # of its own: a running gateway would remove its containers
    means = build_means(settings, engine, _at_once)
    occasion = Occasion(
        settings, engine, means, identity,
        lambda: build_resolver(settings, engine.address, load(settings.config_dir), identity, means.dialect),
        lambda: load(settings.config_dir), lambda: _household(settings, engine), Cuts(), url, silence,
        lambda: credentials(settings.state_dir),
    )  # fmt: skip
    try:
        steps = only(themes(occasion).steps(), names)
    except KeyError as unknown:
        raise click.BadParameter(f"there is no check {unknown}", param_hint="--only") from None
    waiting = 2 * (silence + _MORE_SECONDS) if silence else 0.0
    deadline = Deadline(time.monotonic, time.monotonic() + SECONDS + waiting)
    return run_checks(display.tracked(steps, lambda step: step.name), deadline, engine.docker_host)


def _at_once(job: Job) -> bool:
    job()
    return True


def _print(checks: Sequence[Check], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report(checks), indent=2))
    for check in () if as_json else checks:
        click.echo(f"{check.status:5} {check.name}: {check.detail}" + (f"\n      {check.hint}" if check.hint else ""))


# --- containers of a gateway that may run --------------------------------------------------------------------


def _household(settings: Settings, engine: Engine) -> Household:
    """As the running gateway sees it; without one, every container of this installation is an orphan. Raises
    EngineUnavailable, NotApplicableError."""
    known = _asked(settings)
    if known is not None:
        dead = [item["name"] or item["id"] for item in known if not item["current"]]
        return Household(len(known), tuple(dead))
    try:
        instance = read_instance_id(settings.state_dir)
    except OSError as error:
        raise NotApplicableError(f"no gateway has run with {settings.state_dir}: {error.strerror}") from error
    found = engine.containers({INSTANCE: instance})
    return Household(len(found), tuple(item.name or item.id[:12] for item in found))


def _asked(settings: Settings) -> list[dict[str, Any]] | None:
    """The containers of the running gateway; None: none runs. Raises NotApplicableError when it does not say."""
    logs.get("link.client").disabled = True  # that this connection ends is no news
    link = LinkClient(settings.link)
    link.start()
    try:
        if not link.wait_connected(_CONNECT_SECONDS):
            return None
        answer = link.exchange(Ask("docker-info")).next(_ANSWER_SECONDS)
    finally:
        link.close()
    if answer is None or answer.kind != Is.ANSWER or answer.status != 200:
        raise NotApplicableError("the running gateway does not say which containers are its own")
    found: list[dict[str, Any]] = json.loads(answer.data)["containers"]
    return found
