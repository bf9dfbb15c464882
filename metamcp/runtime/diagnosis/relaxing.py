"""From the last words of a container to the key that relaxes what stopped it. Pure; ``advice`` reads the engine's.

A program seldom says more than the text of an errno, so a rule counts only where the container really is confined in
that way: a name that cannot be resolved is no matter of ours where there is a network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from metamcp.runtime.command.launch import Confinement
from metamcp.runtime.policy.limits import DEFAULT_FILES, MOST_FILES

_Applies = Callable[[Confinement], bool]


def _rule(pattern: str, text: str, applies: _Applies = lambda _: True) -> tuple[re.Pattern[str], _Applies, str]:
    return re.compile(pattern, re.IGNORECASE), applies, text


_CAPABILITY = (
    'it lacks the capability {name}: give {rule} in allowlist.json "allow": {{"capAdd": ["{name}"]}} and put '
    '"--cap-add={name}" into the server\'s args'
)


def _lacks(name: str) -> str:
    return _CAPABILITY.replace("{name}", name)


_ERRNO_1 = r"(operation not permitted|eperm\b|permission ?denied|permissionerror)"

# The first one that matches counts; what names the call stands before what only names the errno.
_RULES: tuple[tuple[re.Pattern[str], _Applies, str], ...] = (
    _rule(
        r"read-only file system|\berofs\b",
        "its root file system is read-only: let it write to /tmp, mount a volume or a tmpfs with -v or --tmpfs in the "
        'server\'s args where it writes, or give {rule} in allowlist.json "allow": {{"writable": true}}',
        lambda here: here.read_only,
    ),
    _rule(
        r"no space left on device|\benospc\b|disk quota exceeded",
        "what it can write to is a tmpfs, and that is full: put a larger one, such as --tmpfs=/tmp:size=256m, into "
        "the server's args (it counts as memory, so limits.memory bounds it), or mount a volume",
        lambda here: here.read_only,
    ),
    _rule(
        r"resource temporarily unavailable|can't start new thread|cannot fork|fork failed|\beagain\b[^\n]*(fork|spawn)"
        r"|(fork|spawn|pthread_create)[^\n]*\beagain\b|unable to create (native )?thread",
        "it may have {pids} processes and threads at once: raise limits.pids of the server",
    ),
    _rule(
        r"cannot allocate memory|\benomem\b|out of memory|\bmemoryerror\b|bad_alloc",
        "it may use {memory} MiB of memory: raise limits.memory of the server",
    ),
    _rule(
        r"too many open files|\bemfile\b",
        f"it may have {DEFAULT_FILES} files open, or what --ulimit=nofile in its args says: put a larger one there, "
        f"{MOST_FILES} at most",
    ),
    _rule(rf"(chown|changing ownership)[^\n]*{_ERRNO_1}|{_ERRNO_1}[^\n]*chown", _lacks("CHOWN")),
    _rule(
        rf"(setgid|setegid|setgroups|initgroups|setuid|seteuid|setres[ug]id|switch user|drop privileges|su-exec|gosu)"
        rf"[^\n]*{_ERRNO_1}|{_ERRNO_1}[^\n]*(set(res)?[ug]id|setgroups)",
        'it wants to become another user, which takes capabilities: set "user" of the server, or of {rule} in '
        'allowlist.json, to that user; or give the rule "allow": {{"capAdd": ["SETUID", "SETGID"]}} and put '
        '"--cap-add=SETUID", "--cap-add=SETGID" into the server\'s args',
    ),
    _rule(rf"(\bping\b|raw socket|icmp|sock_raw)[^\n]*{_ERRNO_1}", _lacks("NET_RAW")),
    _rule(rf"\bbind(ing)?\b[^\n]*{_ERRNO_1}", _lacks("NET_BIND_SERVICE")),
    _rule(rf"(ptrace|strace)[^\n]*{_ERRNO_1}", _lacks("SYS_PTRACE")),
    _rule(
        r"(chrom(e|ium)|sandbox|unshare|clone|namespace)[^\n]*(operation not permitted|eperm\b)"
        r"|no usable sandbox",
        'it wants namespaces of its own: start its browser with --no-sandbox, or give {rule} in allowlist.json '
        '"allow": {{"capAdd": ["SYS_ADMIN"]}} and put "--cap-add=SYS_ADMIN" into the server\'s args',
    ),
    _rule(
        r"operation not permitted|\beperm\b|sudo: [^\n]*no new privileges",
        "it has no capability, and no program in it can gain one: give the one that it needs to {rule} in "
        'allowlist.json as "allow": {{"capAdd": ["…"]}} and put "--cap-add=…" into the server\'s args',
    ),
    _rule(
        r"permission denied|\beacces\b|permissionerror",
        'a file belongs to somebody else, and root has no capability that overrides it: set "user" of the server to '
        'the number of its owner, or give {rule} in allowlist.json "allow": {{"capAdd": ["DAC_OVERRIDE"]}} and put '
        '"--cap-add=DAC_OVERRIDE" into the server\'s args',
    ),
    _rule(
        r"(cannot|can't|could not|unable to|failed to) create (a )?(temp|tmp)|no usable temporary directory",
        "it finds no place for temporary files: let it use /tmp (TMPDIR=/tmp in the server's env)",
        lambda here: here.read_only,
    ),
    _rule(
        r"network is unreachable|\benetunreach\b|name resolution|name or service not known|\benotfound\b|\beai_again\b"
        r"|no such host|could not resolve|getaddrinfo|nodename nor servname|bad address|no address associated",
        'it has no way out, for the server\'s "network" or --network in its args is {network!r}: "network": "egress" '
        "opens one",
        lambda here: bool(here.network),
    ),
)  # fmt: skip

_SIGSYS = 128 + 31
_SECCOMP = "the engine's seccomp profile ended it for a system call; no key of the gateway opens that"


def relaxing(confinement: Confinement, said: Sequence[str], code: int | None = None) -> str:
    """What to change so that ``confinement`` no longer stops a server that ``said`` this on its standard error, the
    last line last, and ended with ``code``; "" when nothing of it points there. One sentence, without a full stop."""
    if code == _SIGSYS:
        return _SECCOMP
    found = (_of_line(confinement, line) for line in reversed(said))
    return next((text for text in found if text), "")


def _of_line(confinement: Confinement, line: str) -> str:
    for pattern, applies, text in _RULES:
        if applies(confinement) and pattern.search(line):
            return text.format(
                rule=f"the rule {confinement.rule!r}", pids=confinement.pids, network=confinement.network,
                memory=confinement.memory >> 20,
            )  # fmt: skip
    return ""
