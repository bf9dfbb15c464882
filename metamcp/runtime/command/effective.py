"""From a configured server to what really runs: secrets, grammar, allowlist, policy, launch plan, in this order.

Asked when the configuration is checked and right before each start, by the same code, so that ``explain`` shows
what will happen and not something like it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from metamcp.config import images, secrets
from metamcp.config.engine_address import EngineAddress
from metamcp.config.model import Allowlist, Cosign, ImageRule, Scan, ServerSpec
from metamcp.config.secrets import ResolvedServer
from metamcp.errors import CommandInvalid, MetaMCPError, RefusedByPolicy, SecretMissing
from metamcp.runtime.command import environment, launch
from metamcp.runtime.command.dialect import DOCKER, Dialect
from metamcp.runtime.command.grammar import DockerRun, is_container_command, parse
from metamcp.runtime.command.launch import LaunchPlan
from metamcp.runtime.labels import Identity, container_labels, container_name
from metamcp.runtime.policy import decide as policy
from metamcp.runtime.policy.decide import Decision
from metamcp.telemetry import logs

Admit = Callable[[ServerSpec, Allowlist, images.Verdict, str], str]
"""(server, allowlist, verdict, reference) -> what the engine is given instead of the reference. Blocks. Raises
RefusedByPolicy, EngineUnavailable."""

_SHORT = 8


@dataclass(frozen=True, slots=True)
class Effective:
    """``decision`` and ``verdict`` are None for a server that is a plain process."""

    plan: LaunchPlan
    decision: Decision | None
    verdict: images.Verdict | None


@dataclass(frozen=True, slots=True)
class Licence:
    """What an allowlist lets the container of one server do. The bind roots count where something is mounted."""

    rule: ImageRule
    pinned: str
    bind_roots: tuple[str, ...]
    judged_by: tuple[Cosign | None, Scan]


@dataclass(frozen=True, slots=True)
class Resolver:
    """All that a decision depends on. ``unique`` gives 8 hexadecimal digits, new each time. ``dialect`` is the
    engine's, whichever program a server's configuration names."""

    allowlist: Allowlist
    environ: Mapping[str, str]
    identity: Identity
    engine: EngineAddress
    host_gateway: bool
    unique: Callable[[], str]
    dialect: Dialect = DOCKER
    read_file: Callable[[str], str] = secrets.read_secret_file
    realpath: Callable[[str], str] = os.path.realpath

    def resolve(self, spec: ServerSpec, session: str = "", admit: Admit | None = None) -> Effective:
        """``admit`` is asked before a real start. Raises SecretMissing, CommandInvalid or RefusedByPolicy, and what
        ``admit`` raises; ``data.server`` names the server."""
        try:
            return self._resolve(spec, session, admit)
        except MetaMCPError as error:
            raise _masked(error, spec.name) from None

    def image(self, spec: ServerSpec) -> str | None:
        """The reference that the engine is given for a container of ``spec``; None when none may be started."""
        try:
            run, verdict = self._allowed(spec, self._values(spec))
            self._decide(spec, run, verdict)
            return run.image
        except MetaMCPError:
            return None

    def launch(self, spec: ServerSpec, session: str, admit: Admit) -> LaunchPlan:
        """For the Supervisor: what to run now. The log tells its command with its birth."""
        plan = self.resolve(spec, session, admit).plan
        image, container = plan.image or None, plan.container_name or None
        fields = logs.fields(server=spec.name, session=session[:_SHORT] or None, image=image, container=container)
        _log.info("starting", extra=fields)
        return plan

    def licence(self, spec: ServerSpec, allowlist: Allowlist) -> Licence | Allowlist | None:
        """What ``allowlist`` says about the server's container; None for a plain process, and where nothing may run
        or the command cannot be understood. All of ``allowlist`` where a secret is missing, so that nobody can say
        which image is meant. Blocks: a secret may stand in a file."""
        if not is_container_command(spec.command):
            return None
        try:
            run = parse(spec.command, self._values(spec).args)
        except SecretMissing:
            return allowlist
        except CommandInvalid:
            return None
        verdict = images.decide(allowlist, run.image)
        if verdict.rule is None or not verdict.allowed:
            return None
        mounts = run.values("volume") or run.values("mount")
        roots = allowlist.bind_roots if mounts else ()
        return Licence(verdict.rule, verdict.pinned, roots, allowlist.judges(verdict.rule))

    def judged(self, spec: ServerSpec, admit: Admit) -> str:
        """Have the image of ``spec`` admitted without a start. Raises as ``resolve``."""
        try:
            run, verdict = self._allowed(spec, self._values(spec))
            return admit(spec, self.allowlist, verdict, run.image)
        except MetaMCPError as error:
            raise _masked(error, spec.name) from None

    def _resolve(self, spec: ServerSpec, session: str, admit: Admit | None) -> Effective:
        resolved = self._values(spec)
        if not is_container_command(spec.command):
            basics = environment.basics(self.environ)
            secret = (*resolved.secrets, *resolved.passing)
            plan = launch.process_plan(spec, resolved.args, resolved.env, basics, secret)
            return Effective(plan, None, None)
        run, verdict = self._allowed(spec, resolved)
        decision = self._decide(spec, run, verdict)
        if admit is not None:
            image = admit(spec, self.allowlist, verdict, run.image)
            decision = dataclasses.replace(decision, run=dataclasses.replace(decision.run, image=image))
        plan = launch.plan(
            spec,
            decision,
            resolved_env=resolved.env,
            labels=container_labels(self.identity, spec.name, session[:_SHORT], spec.fingerprint()),
            container_name=container_name(spec.name, self.unique()),
            engine_env=self.dialect.environment(self.environ, self.engine),
            secret_values=(*resolved.secrets, *resolved.passing),
            rule=verdict.rule.pattern if verdict.rule else "",
            spell=self.dialect.spell,
        )
        return Effective(plan, decision, verdict)

    def _values(self, spec: ServerSpec) -> ResolvedServer:
        """From here on every output is masked: an image or a path may hold a secret."""
        resolved = secrets.resolve_server(spec, self.environ, self.read_file)
        logs.redact.add(resolved.secrets)
        return resolved

    def _allowed(self, spec: ServerSpec, resolved: ResolvedServer) -> tuple[DockerRun, images.Verdict]:
        run = dataclasses.replace(parse(spec.command, resolved.args), program=self.dialect.program)
        verdict = images.decide(self.allowlist, run.image)
        if verdict.rule is None or not verdict.allowed:
            raise RefusedByPolicy(
                f"{verdict.reason}; {verdict.advice}", rule="image-allowlist", advice=verdict.advice, image=run.image
            )
        return _as_allowed(run, verdict), verdict

    def _decide(self, spec: ServerSpec, run: DockerRun, verdict: images.Verdict) -> Decision:
        return policy.decide(
            run,
            spec,
            verdict.rule,
            bind_roots=self.allowlist.bind_roots,
            realpath=self.realpath,
            host_gateway=self.host_gateway,
        )


def _masked(error: MetaMCPError, server: str) -> MetaMCPError:
    """For whoever asked, and that is a client at last: an image or a path may have come out of a variable."""
    shown = {name: logs.redact(value) if isinstance(value, str) else value for name, value in error.data.items()}
    return type(error)(logs.redact(error.text), **{"server": server, **shown})


def _as_allowed(run: DockerRun, verdict: images.Verdict) -> DockerRun:
    """The engine gets the very image that was allowed: the pinned digest, or the complete name. A short name such
    as ``deadbeef`` it would take for an image id, and Podman would look for it in registries that nobody allowed."""
    if verdict.pinned:
        return dataclasses.replace(run, image=verdict.pinned)
    return run if verdict.reference is None else dataclasses.replace(run, image=str(verdict.reference))


def image_of(spec: ServerSpec) -> str | None:
    """The image reference as the operator wrote it; None for a plain process or an unreadable command."""
    if not is_container_command(spec.command):
        return None
    try:
        return parse(spec.command, spec.args).image
    except CommandInvalid:
        return None


_log = logs.get("runtime.effective")
