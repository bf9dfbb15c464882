"""What every container gets whatever was written, and the capabilities an image may have back."""

from __future__ import annotations

from metamcp.runtime.command.grammar import DockerRun
from metamcp.runtime.policy.case import WIDEN, Action, Case, Part, Step, effective, joined, part, refuse

FORCED_ON = {
    "interactive": "MCP over stdio needs an open stdin",
    "rm": "nothing may be left behind",
    "init": "signals have to reach the server, and zombies have to be reaped",
    "no-healthcheck": "the engine would start a program of the image as often as the image says, for nobody",
}

OWNED = frozenset({*FORCED_ON, "cap-add", "cap-drop", "security-opt", "log-driver", "user", "group-add"})

# Groups that own something of the host's; podman takes "keep-groups" for all groups of whoever starts it.
_HOST_GROUPS = frozenset({
    "0", "adm", "disk", "docker", "keep-groups", "kmem", "libvirt", "lxd", "podman", "root", "shadow", "sudo", "wheel",
})  # fmt: skip

NO_NEW_PRIVILEGES = "no-new-privileges"


def rule_hardening(case: Case, run: DockerRun) -> Part:
    switches = (_switch(run, name, why) for name, why in FORCED_ON.items())
    fixed = (
        _fixed(run, "cap-drop", "ALL", "capabilities", "a server needs no capability by default"),
        _fixed(run, "log-driver", "none", "log-driver", "the gateway reads stdout itself; no disk fills up"),
    )
    own = (_capabilities(case, run), _security(case, run), _user(case, run), _groups(case, run))
    return joined((*switches, *fixed, *own))


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


def _user(case: Case, run: DockerRun) -> Part:
    """By the image's rule, else by the server's key, else by the arguments; without any, the image's own."""
    values, steps = effective(run, "user")
    if not case.allow.user and (values or case.user) and not case.forced_user:
        text = "--user is refused: this image has to run as its own user"
        refuse(case, "user", text, f"remove it, or {WIDEN}")
    if case.user:
        action: Action = "rewritten" if values not in ((), (case.user,)) else "added"
        note = f"{case.user}: configured for the image or the server"
        return part("user", (case.user,), Step(action, "--user", "user", note))
    return part("user", values, *steps)


def _groups(case: Case, run: DockerRun) -> Part:
    groups = run.values("group-add")
    for name in groups:
        if name.lower() in _HOST_GROUPS or (name.isdecimal() and not int(name)):
            advice = "remove it, or name the number of the group that owns the mounted data"
            refuse(case, "group-add", f"--group-add={name} is refused: it is a group of the host's", advice)
    return part("group-add", groups)


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
