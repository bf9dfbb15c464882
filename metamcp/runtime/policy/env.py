"""The container's environment, by name; values are only ever passed through, or pointed away from localhost."""

from __future__ import annotations

from metamcp.runtime.command.env_names import check_name
from metamcp.runtime.command.grammar import DockerRun
from metamcp.runtime.command.localhost import rewrite, rewrite_variable
from metamcp.runtime.policy.case import Case, Part, Step, joined, part

OWNED = frozenset({"env"})

_POINTED = "localhost is the container itself in there; it now names the engine's machine"


def rule_env(case: Case, run: DockerRun, rewrites: bool) -> Part:
    """``--env NAME=VALUE`` for what only the arguments set, ``--env NAME`` for what the configuration sets."""
    written = run.values("env")
    for name in (*(value.partition("=")[0] for value in written), *case.spec.env):
        check_name(case.spec.name, name)
    last = {value.partition("=")[0]: value for value in written}
    repeated = (Step("dropped", "--env", "last-one-counts", "a name is written more than once"),)
    own = joined(_one(case, value, rewrites) for value in last.values())
    own = Part(own.options, own.steps + repeated * (len(last) < len(written)))
    return own + _configured(case, last) + Part((), _pointed_in_configuration(case) if rewrites else ())


def rewrite_command(run: DockerRun, rewrites: bool) -> tuple[tuple[str, ...], tuple[Step, ...]]:
    """The container's own arguments, pointed away from localhost. A step gives the position, not the text."""
    if not rewrites:
        return run.command, ()
    command = tuple(rewrite(word) for word in run.command)
    changed = [number for number, pair in enumerate(zip(run.command, command, strict=True), 1) if len(set(pair)) > 1]
    return command, tuple(Step("rewritten", f"argument {number}", "localhost", _POINTED) for number in changed)


def _one(case: Case, text: str, rewrites: bool) -> Part:
    name, equals, value = text.partition("=")
    if name in case.spec.env:
        note = f"{name}: the server's env wins over the arguments"
        steps = (Step("dropped", "--env", "env-of-the-server-wins", note),) if equals else ()
        return part("env", (name,), *steps)
    if not equals:
        note = f"{name} has no value here; write it into the server's env as ${{{name}}}"
        return part("env", (), Step("dropped", "--env", "env-without-value", note))
    pointed = rewrite_variable(name, value) if rewrites else value
    steps = (Step("rewritten", "--env", "localhost", f"{name}: {_POINTED}"),) if pointed != value else ()
    return part("env", (f"{name}={pointed}",), *steps)


def _pointed_in_configuration(case: Case) -> tuple[Step, ...]:
    """As far as it shows before ``${NAME}`` is resolved."""
    changed = [name for name, value in case.spec.env.items() if rewrite_variable(name, value) != value]
    return tuple(Step("rewritten", "--env", "localhost", f"{name}: {_POINTED}") for name in changed)


def _configured(case: Case, written: dict[str, str]) -> Part:
    missing = [name for name in case.spec.env if name not in written]
    note = "from the server's env"
    return part("env", missing, *(Step("added", "--env", "env-of-the-server", f"{name}: {note}") for name in missing))
