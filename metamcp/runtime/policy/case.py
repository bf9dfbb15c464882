"""What the parts of the policy share: the case to judge, what one part gives back, and the way to refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn

from metamcp.config.model import Allowance, ServerSpec
from metamcp.errors import RefusedByPolicy
from metamcp.runtime.command.flags import RUN
from metamcp.runtime.command.grammar import DockerRun, Options

Action = Literal["added", "kept", "dropped", "rewritten"]

WIDEN = "an operator can allow it for this image in allowlist.json"


@dataclass(frozen=True, slots=True)
class Step:
    """One difference between what was written and what runs, or one thing kept only because a rule allows it.

    ``rule`` is a stable kebab-case name. ``note`` never holds the value of an environment variable or argument.
    """

    action: Action
    flag: str
    rule: str
    note: str


@dataclass(frozen=True, slots=True)
class Decision:
    """``points_localhost``: also the values of the server's env, which are not known here, are to be pointed
    away from the container's own loopback (``localhost.rewrite_env``)."""

    run: DockerRun
    steps: tuple[Step, ...]
    points_localhost: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that a decision depends on, besides the command line itself."""

    spec: ServerSpec
    allow: Allowance
    bind_roots: Sequence[str]
    realpath: Callable[[str], str]
    host_gateway: bool
    forced_user: str = ""  # by the image's rule

    @property
    def user(self) -> str:
        """Configured for the image, or else for the server."""
        return self.forced_user or self.spec.user


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the policy has judged its flags: the options that replace them, and why they differ."""

    options: Options = ()
    steps: tuple[Step, ...] = ()

    def __add__(self, other: Part) -> Part:
        return Part(self.options + other.options, self.steps + other.steps)


def part(name: str, values: Iterable[str], *steps: Step) -> Part:
    return Part(tuple((name, value) for value in values), steps)


def joined(parts: Iterable[Part]) -> Part:
    return sum(parts, Part())


def refuse(case: Case, rule: str, text: str, advice: str = "") -> NoReturn:
    """Raise RefusedByPolicy. ``text`` completes "server 'x': …" and may name paths, networks and capabilities,
    but no environment value."""
    name = case.spec.name
    raise RefusedByPolicy(f"server {name!r}: {text}", server=name, rule=rule, advice=advice or None)


def effective(run: DockerRun, name: str) -> tuple[tuple[str, ...], tuple[Step, ...]]:
    """The values that the CLI would use, and a step when an earlier value is lost by that."""
    values = run.values(name)
    if RUN.longs[name].repeats or len(values) <= 1:
        return values, ()
    note = "written more than once; the last one counts"
    return values[-1:], (Step("dropped", f"--{name}", "last-one-counts", note),)
