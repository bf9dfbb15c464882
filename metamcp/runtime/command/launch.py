"""The process that starts a server: its argv, which anybody on the machine can read, and its environment.

Values of environment variables are kept off argv: ``--env NAME`` makes the docker CLI take the value from its
own environment. ``env_names`` says which names travel otherwise, and why.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from metamcp.config.model import ServerSpec
from metamcp.runtime.command.env_names import channel, refuse_on_argv
from metamcp.runtime.command.grammar import DockerRun, emit
from metamcp.runtime.command.localhost import rewrite, rewrite_env
from metamcp.runtime.policy.case import Decision
from metamcp.runtime.policy.limits import size_in_bytes
from metamcp.runtime.policy.network import INTERNAL

MASK = "***"

# Shorter values ("1", "info") protect nothing, and masking them would blacken half of a command line.
_SHORTEST = 4
_SHORTEST_LITERAL = 8  # of a value that nobody has called a secret


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a container may not do, as far as its server may notice. ``rule``: the pattern that allows its image.
    ``network``: "none" or "internal"; "" where there is a way out. ``memory`` in bytes."""

    rule: str
    read_only: bool
    network: str
    pids: int
    memory: int


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """``image`` and ``container_name`` are "" for a plain process. ``secret_values`` are for ``masked`` only.
    ``memory`` is the limit in bytes, 0 where there is none, and ``memory_key`` what sets it. ``run`` is what ``argv``
    says, None for a plain process; what it names by ``--env NAME`` has its value in ``env``."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    image: str
    container_name: str
    labels: Mapping[str, str]
    secret_values: tuple[str, ...]
    memory: int = 0
    memory_key: str = "limits.memory"
    confinement: Confinement | None = None
    run: DockerRun | None = None

    def __repr__(self) -> str:
        """Safe to log: neither the environment nor a secret on argv shows."""
        return f"LaunchPlan(argv={self.masked_argv!r}, container_name={self.container_name!r})"

    @property
    def masked_argv(self) -> list[str]:
        return masked(self.argv, self.secret_values)

    @property
    def shown(self) -> str:
        """The command as a shell would take it, masked."""
        return shlex.join(self.masked_argv)


def plan(
    spec: ServerSpec,
    decision: Decision,
    resolved_env: Mapping[str, str],
    *,
    labels: Mapping[str, str],
    container_name: str,
    engine_env: Mapping[str, str],
    secret_values: Iterable[str],
    rule: str = "",
    spell: Callable[[DockerRun], Sequence[str]] = emit,
) -> LaunchPlan:
    """Start ``decision.run`` under ``container_name``.

    ``resolved_env`` is ``spec.env`` after ``${}``; it wins over the arguments, and is pointed away from
    localhost as the decision says, but for what a client sent. ``secret_values`` is what ``${}`` became, and what a
    client sent. ``engine_env`` is what the docker CLI needs itself (PATH, HOME, DOCKER_HOST …) and is never overridden.
    ``rule``: the pattern that allows the image. ``spell`` makes the argv.
    Raises RefusedByPolicy (env-name-reserved, env-name-invalid, env-value-invalid, env-secret-on-argv).
    """
    configured = rewrite_env(resolved_env) if decision.points_localhost else resolved_env
    values = {**_written_env(decision.run), **configured, **spec.given.values}
    channels = {name: channel(spec.name, name, value, engine_env) for name, value in values.items()}
    hidden = {name: value for name, value in values.items() if channels[name] == "environment"}
    for name in (*spec.given.values, *spec.given.templates):
        if channels[name] == "argv":
            refuse_on_argv(spec.name, name)
    run = _with_env(decision.run, values, hidden).with_option("name", container_name)
    for key, value in labels.items():
        run = run.with_option("label", f"{key}={value}")
    secrets = _secrets(_also_pointed(decision, secret_values), hidden)
    memory = size_in_bytes("".join(run.values("memory"))) or 0
    memory_key = "--memory in the args" if memory < spec.limits.memory else "limits.memory"
    return LaunchPlan(
        tuple(spell(run)), {**engine_env, **hidden}, run.image, container_name, dict(labels), secrets, memory,
        memory_key, _confinement(run, rule, memory), run,
    )  # fmt: skip


def process_plan(
    spec: ServerSpec,
    resolved_args: Sequence[str],
    resolved_env: Mapping[str, str],
    base_env: Mapping[str, str],
    secret_values: Iterable[str],
) -> LaunchPlan:
    """A server that is no container: the operator's own command, as it is written."""
    argv = (spec.command, *resolved_args)
    return LaunchPlan(argv, {**base_env, **resolved_env}, "", "", {}, _secrets(secret_values, resolved_env))


def masked(argv: Iterable[str], secret_values: Iterable[str]) -> list[str]:
    """``argv`` to be shown: every occurrence of a secret is ``***``, the longest first."""
    values = _longest_first(secret_values)
    if not values:
        return list(argv)
    pattern = re.compile("|".join(re.escape(value) for value in values))
    return [pattern.sub(MASK, word) for word in argv]


def _confinement(run: DockerRun, rule: str, memory: int) -> Confinement:
    networks = set(run.values("network"))
    network = "none" if networks == {"none"} else "internal" if networks == {INTERNAL} else ""
    return Confinement(rule, run.flag("read-only"), network, int("".join(run.values("pids-limit")) or 0), memory)


def _also_pointed(decision: Decision, secret_values: Iterable[str]) -> list[str]:
    """A secret URL on argv may have got another host, and has to be masked all the same."""
    found = list(secret_values)
    return found + ([rewrite(value) for value in found] if decision.points_localhost else [])


def _written_env(run: DockerRun) -> dict[str, str]:
    """What the arguments set themselves. ``--env NAME`` alone has its value in the configuration, or none: it
    must never reach into the gateway's own environment."""
    pairs = (text.partition("=") for text in run.values("env"))
    return {name: value for name, equals, value in pairs if equals}


def _with_env(run: DockerRun, values: Mapping[str, str], hidden: Mapping[str, str]) -> DockerRun:
    run = run.without("env")
    for name, value in values.items():
        run = run.with_option("env", name if name in hidden else f"{name}={value}")
    return run


def _secrets(known: Iterable[str], env: Mapping[str, str]) -> tuple[str, ...]:
    """What was resolved, and every longer value: many a configuration holds its key in clear."""
    return _longest_first((*known, *(value for value in env.values() if len(value) >= _SHORTEST_LITERAL)))


def _longest_first(values: Iterable[str]) -> tuple[str, ...]:
    worth = {value for value in values if len(value) >= _SHORTEST}
    return tuple(sorted(worth, key=lambda value: (-len(value), value)))
