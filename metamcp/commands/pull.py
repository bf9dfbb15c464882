"""``python -m metamcp images pull``: images are on the engine before a client waits for one."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from metamcp.commands import display
from metamcp.config.engine_address import locate
from metamcp.config.loader import load
from metamcp.config.model import ServerSpec
from metamcp.config.settings import Settings
from metamcp.errors import EngineUnavailable, MetaMCPError
from metamcp.factory.starting import build_resolver
from metamcp.runtime.command.create_request import pulls
from metamcp.runtime.command.effective import Resolver, image_of
from metamcp.runtime.diagnosis.advice import advice
from metamcp.runtime.engine import Engine
from metamcp.runtime.labels import Identity
from metamcp.telemetry import logs


def run(settings: Settings, names: Sequence[str]) -> int:
    """Print what became of each; the exit status. Raises ClickException for a server that there is not."""
    loaded = load(settings.config_dir)
    servers = loaded.config.servers
    if unknown := [name for name in names if name not in servers]:
        known = ", ".join(sorted(servers)) or "none"
        raise click.ClickException(f"there is no server {unknown[0]!r}; configured: {known}")
    wanted = [servers[name] for name in names] or [spec for spec in servers.values() if spec.enabled]
    resolver = build_resolver(settings, locate(os.environ), loaded, Identity("pull", "pull"))
    with Engine(resolver.engine) as engine:
        done = [_told(engine, resolver, spec) for spec in wanted if image_of(spec) is not None]
    return 0 if all(done) else 1


def _told(engine: Engine, resolver: Resolver, spec: ServerSpec) -> bool:
    try:
        text, well = _fetched(engine, resolver, spec)
    except MetaMCPError as error:
        text, well = error.told, False
    click.echo(f"{spec.name}: {display.printable(logs.redact(text))}", err=not well)
    return well


def _fetched(engine: Engine, resolver: Resolver, spec: ServerSpec) -> tuple[str, bool]:
    """What became of it, and whether it is there. Raises MetaMCPError."""
    plan = resolver.resolve(spec).plan
    if engine.image(plan.image) is not None:
        return f"{plan.image} is there", True
    if plan.run is None or not pulls(plan.run):
        return f"{plan.image} is not there, and --pull=never in its args", False
    platform = "".join(plan.run.values("platform"))
    try:
        with display.downloading(plan.image) as told, engine.pull(plan.image, platform) as pull:
            problem = pull.follow(told=told)
    except EngineUnavailable as error:
        return f"{plan.image} was not fetched: {error.told}", False
    if problem:
        return f"{plan.image} was not fetched: {problem.rstrip('.')}. {advice(problem, engine.docker_host)}", False
    return f"{plan.image} was fetched", True
