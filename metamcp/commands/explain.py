"""``python -m metamcp explain``: what would run, and each decision behind it."""

from __future__ import annotations

import os

import click

from metamcp.config.engine_address import locate
from metamcp.config.loader import load
from metamcp.config.model import ServerSpec
from metamcp.config.settings import Settings
from metamcp.errors import EngineUnavailable, MetaMCPError
from metamcp.factory.remembering import image_id
from metamcp.factory.starting import build_resolver, resolve_remote
from metamcp.runtime.command.effective import Effective, Resolver
from metamcp.runtime.engine import Engine
from metamcp.runtime.labels import Identity
from metamcp.runtime.screening.ledger import Ledger
from metamcp.telemetry import logs
from metamcp.upstream.remote.address import shown


def run(settings: Settings, server: str) -> int:
    """Print it; the exit status. Raises ClickException for a server that there is not."""
    loaded = load(settings.config_dir)
    spec = loaded.config.servers.get(server)
    if spec is None:
        known = ", ".join(sorted(loaded.config.servers)) or "none"
        raise click.ClickException(f"there is no server {server!r}; configured: {known}")
    resolver = build_resolver(settings, locate(os.environ), loaded, Identity("explain", "explain"))
    try:
        lines = _remote_explanation(spec) if spec.url else _explanation(resolver.resolve(spec))
        lines += [] if spec.url else _recorded(settings, spec, resolver)
        click.echo("\n".join(lines))
    except MetaMCPError as error:
        click.echo(f"refused ({error.data.get('rule', 'invalid')}): {logs.redact(error.text)}")
        if advice := error.data.get("advice"):
            click.echo(f"advice: {logs.redact(str(advice))}")
        return 1
    return 0


def _recorded(settings: Settings, spec: ServerSpec, resolver: Resolver) -> list[str]:
    """What the reference named first and what it names now, as far as the engine says it."""
    reference = resolver.image(spec)
    record = Ledger(settings.state_dir).record(reference) if reference else None
    if record is None or reference is None:
        return []
    try:
        with Engine(resolver.engine) as engine:
            now = image_id(engine, reference)
    except EngineUnavailable as error:
        return [f"recorded: {record.id}", f"what it is now is not known: {error.told}"]
    if now in (None, record.id):
        return [f"recorded: {record.id}"]
    meant = f"if that is meant: python -m metamcp images accept {spec.name}"
    return [f"recorded: {record.id}", f"drift: it is {now} now; {meant}"]


def _remote_explanation(spec: ServerSpec) -> list[str]:
    """Path and query of a URL may hold a key, as every header may."""
    address = shown(resolve_remote(spec).url)
    names = ", ".join(spec.headers) or "none"
    return [f"remote: {address}", f"transport: {spec.transport}", f"headers: {names}"]


def _explanation(effective: Effective) -> list[str]:
    plan = effective.plan
    lines = [f"command: {plan.shown}"]
    if effective.verdict is not None:
        lines.append(f"image: {effective.verdict.reason}")
    if effective.decision is not None:
        lines += [
            f"{step.action:9} {step.flag}  [{step.rule}] {logs.redact(step.note)}" for step in effective.decision.steps
        ]
    return lines
