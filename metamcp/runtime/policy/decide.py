"""From what an operator wrote to what may run: an allowlist of flags, and hardening that nobody has to ask for.

Each part owns some flags and gives back what replaces them; ``policy_check.obeys`` states independently what
may come out. Whether the image may run at all is decided in ``config.images``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from metamcp.config.model import Allowance, ImageRule, ServerSpec
from metamcp.runtime.command.grammar import DockerRun
from metamcp.runtime.policy import env, hardening, limits, mounts, network
from metamcp.runtime.policy.case import Case, Decision, Part, Step, joined, refuse
from metamcp.runtime.policy.flags import rule_plain

__all__ = ["Decision", "Step", "decide"]

_OWNED = (
    env.OWNED | hardening.OWNED | limits.OWNED | mounts.OWNED | network.OWNED
)  # fmt: skip


def decide(
    run: DockerRun,
    spec: ServerSpec,
    rule: ImageRule | None,
    *,
    bind_roots: Sequence[str],
    realpath: Callable[[str], str],
    host_gateway: bool,
) -> Decision:
    """The run that the gateway starts instead of ``run``, and every difference between the two.

    ``rule`` is the allowlist's match for the image; None means that no rule matched. ``realpath`` resolves
    symlinks as the engine's machine would. Raises RefusedByPolicy (``data.rule``, ``data.advice``).
    """
    allow, user = (rule.allow, rule.user) if rule else (Allowance(), "")
    case = Case(spec, allow, bind_roots, realpath, host_gateway, user)
    _refuse_outright(case, run, rule)
    rewrites = host_gateway and not network.is_cut_off(network.final_networks(case, run))
    judged = joined(_parts(case, run, rewrites))
    command, pointed = env.rewrite_command(run, rewrites)
    return Decision(replace(run, options=judged.options, command=command), judged.steps + pointed, rewrites)


def _parts(case: Case, run: DockerRun, rewrites: bool) -> tuple[Part, ...]:
    return (
        rule_plain(case, run, _OWNED),
        hardening.rule_hardening(case, run),
        limits.rule_limits(case, run),
        mounts.rule_mounts(case, run),
        network.rule_network(case, run),
        env.rule_env(case, run, rewrites),
    )


def _refuse_outright(case: Case, run: DockerRun, rule: ImageRule | None) -> None:
    if run.global_options:
        flag = run.global_options[0][0]
        advice = "remove it; the gateway's own DOCKER_HOST chooses the engine"
        refuse(case, "global-option", f"the option --{flag} of {run.program} is refused", advice)
    if rule is None:
        advice = "add the image to allowlist.json"
        refuse(case, "image-not-allowed", f"no rule of the allowlist matches the image {run.image}", advice)
