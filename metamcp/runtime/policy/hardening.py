"""What every container gets whatever was written, and the capabilities an image may have back."""

from __future__ import annotations

from metamcp.runtime.command.grammar import DockerRun
from metamcp.runtime.policy.case import WIDEN, Case, Part, Step, joined, part, refuse

FORCED_ON = {
    "interactive": "MCP over stdio needs an open stdin",
    "rm": "nothing may be left behind",
    "init": "signals have to reach the server, and zombies have to be reaped",
}

OWNED = frozenset({*FORCED_ON, "cap-add", "cap-drop", "security-opt", "log-driver"})

NO_NEW_PRIVILEGES = "no-new-privileges"


def rule_hardening(case: Case, run: DockerRun) -> Part:
    switches = (_switch(run, name, why) for name, why in FORCED_ON.items())
    fixed = (
        _fixed(run, "cap-drop", "ALL", "capabilities", "a server needs no capability by default"),
        _fixed(run, "log-driver", "none", "log-driver", "the gateway reads stdout itself; no disk fills up"),
    )
    return joined((*switches, *fixed, _capabilities(case, run), _security(case, run)))


def capability(name: str) -> str:
    """``cap_net_raw``, ``NET_RAW`` and ``CAP_NET_RAW`` are one."""
    return name.upper().removeprefix("CAP_")


def allowed_capabilities(case: Case) -> frozenset[str]:
    return frozenset(capability(name) for name in case.allow.cap_add)


def _switch(run: DockerRun, name: str, why: str) -> Part:
    written = run.values(name)
    if run.flag(name):
        return part(name, ("true",))
    return part(name, ("true",), Step("rewritten" if written else "added", f"--{name}", "always-on", why))


def _fixed(run: DockerRun, name: str, value: str, rule: str, why: str) -> Part:
    written = run.values(name)
    if written[-1:] == (value,):
        return part(name, (value,))
    return part(name, (value,), Step("rewritten" if written else "added", f"--{name}", rule, f"{value}: {why}"))


def _capabilities(case: Case, run: DockerRun) -> Part:
    wanted = tuple(dict.fromkeys(capability(name) for name in run.values("cap-add")))
    allowed = allowed_capabilities(case)
    for name in wanted:
        if name not in allowed and "ALL" not in allowed:
            refuse(case, "capabilities", f"--cap-add={name} is refused", f"remove it, or {WIDEN} (capAdd)")
    steps = (Step("kept", "--cap-add", "capabilities", "the allowlist allows it for this image"),) if wanted else ()
    return part("cap-add", wanted, *steps)


def _security(case: Case, run: DockerRun) -> Part:
    """Own seccomp, AppArmor and SELinux profiles are refused: most of them widen, and a file is the gateway's."""
    written = run.values("security-opt")
    if any(_security_option(value) != NO_NEW_PRIVILEGES for value in written):
        refuse(case, "security-opt", "only --security-opt=no-new-privileges is allowed", "remove the others")
    why = "a set-uid program in the image gains nothing"
    steps = () if written else (Step("added", "--security-opt", NO_NEW_PRIVILEGES, f"{NO_NEW_PRIVILEGES}: {why}"),)
    return part("security-opt", (NO_NEW_PRIVILEGES,), *steps)


def _security_option(value: str) -> str:
    return value.replace("=", ":", 1).removesuffix(":true")
