"""From a configured server to what is started: the resolver, with everything that it asks, and who may start."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable

from metamcp.config.engine_address import EngineAddress
from metamcp.config.loader import Loaded
from metamcp.config.model import ServerSpec
from metamcp.config.secrets import ResolvedServer, read_secret_file, resolve_server
from metamcp.config.settings import Settings
from metamcp.errors import CommandInvalid, RefusedByPolicy
from metamcp.factory.runtimes import build_dialect
from metamcp.gateway.audit import Write, start_refused
from metamcp.runtime.command.dialect import Dialect
from metamcp.runtime.command.effective import Resolver
from metamcp.runtime.command.launch import LaunchPlan
from metamcp.runtime.engine import Engine
from metamcp.runtime.labels import Identity
from metamcp.runtime.policy.network import INTERNAL
from metamcp.runtime.screening.admission import ImageAdmission
from metamcp.runtime.supervisor import Launcher


def build_resolver(
    settings: Settings, address: EngineAddress, loaded: Loaded, identity: Identity, dialect: Dialect | None = None
) -> Resolver:
    return Resolver(
        allowlist=loaded.allowlist,
        environ=os.environ,
        identity=identity,
        engine=address,
        host_gateway=settings.transform_localhost,
        unique=lambda: secrets.token_hex(4),
        dialect=dialect or build_dialect(settings, address),
    )


def resolve_remote(spec: ServerSpec) -> ResolvedServer:
    """Url and headers of a server that runs elsewhere, as they are now. Raises SecretMissing."""
    return resolve_server(spec, os.environ, read_secret_file)


def launcher(resolver: Callable[[], Resolver], engine: Engine, admission: ImageAdmission, write: Write) -> Launcher:
    """``resolver`` is asked anew for each start: the allowlist may have become another one."""

    def launch(spec: ServerSpec, session: str) -> LaunchPlan:
        try:
            plan = resolver().launch(spec, session, admission.admit)
        except (RefusedByPolicy, CommandInvalid) as refused:
            start_refused(write, spec.name, refused)
            raise
        if plan.container_name and spec.network == "internal":
            engine.ensure_internal_network(INTERNAL)
        return plan

    return launch
