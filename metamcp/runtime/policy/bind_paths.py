"""Which paths of the engine's machine may be mounted into a container."""

from __future__ import annotations

import posixpath
import re

from metamcp.runtime.policy.case import WIDEN, Case, refuse

# The system's own. A bind root strictly below one of them is an explicit choice, /run/mydata for example.
SYSTEM = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/usr",
    "/var/lib/containerd", "/var/lib/containers", "/var/lib/docker", "/var/lib/kubelet", "/var/run",
    "/var/spool/cron",
)  # fmt: skip

CREDENTIALS = (
    ".aws", ".azure", ".config/gcloud", ".config/gh", ".docker", ".git-credentials", ".gnupg", ".kube", ".netrc",
    ".npmrc", ".pypirc", ".ssh",
)  # fmt: skip

_SOCKET = re.compile(r"\.sock(?:\.|$)", re.IGNORECASE)  # docker.sock, docker.sock.raw


def approved_source(case: Case, flag: str, source: str) -> str:
    """The resolved source of a bind. Raises RefusedByPolicy (bind-not-absolute, bind-socket, bind-system-path,
    bind-outside-roots)."""
    if not source.startswith("/"):
        refuse(case, "bind-not-absolute", f"the source of {flag} is not an absolute path", "write the whole path")
    real = resolved(case, source)
    if any(char < " " or char == '"' for char in real):
        refuse(case, "mount-syntax", f"the source of {flag} holds quotes or control characters", "rename it")
    if any(is_socket(path) for path in (source, real)):
        refuse(case, "bind-socket", f"{flag} {source} is refused: a socket commands its service", "remove it")
    roots = [root for root in bind_roots(case) if is_below(real, root)]
    if not all_open(real) and not any(_explicit(root, real) for root in roots):
        refuse(case, "bind-system-path", f"{flag} {source} is refused: it belongs to the system", "mount other data")
    if not roots:
        advice = f"move the data below a bind root, or {WIDEN} (binds)"
        refuse(case, "bind-outside-roots", f"{flag} {source} is not below a bind root", advice)
    return real


def resolved(case: Case, path: str) -> str:
    return "/" + posixpath.normpath(case.realpath(path)).lstrip("/")


def bind_roots(case: Case) -> list[str]:
    """All roots that count for this image, resolved; a relative one counts for nothing."""
    return [resolved(case, root) for root in (*case.bind_roots, *case.allow.binds) if root.startswith("/")]


def is_below(path: str, root: str) -> bool:
    """Equal counts as below. Both are resolved."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def is_socket(path: str) -> bool:
    return _SOCKET.search(posixpath.basename(path.rstrip("/"))) is not None


def all_open(real: str) -> bool:
    """Whether the path neither holds nor is part of something of the system's or somebody's credentials."""
    return not any(is_below(real, place) or is_below(place, real) for place in SYSTEM) and not _secrets_in(real)


def _secrets_in(path: str) -> set[str]:
    return {name for name in CREDENTIALS if f"/{name}/" in f"{path}/"}


def _explicit(root: str, real: str) -> bool:
    """A root that itself lies inside everything sensitive that the path lies in was written on purpose."""
    if any(is_below(place, real) for place in SYSTEM):
        return False
    inside = [place for place in SYSTEM if is_below(real, place)]
    return all(is_below(root, place) and root != place for place in inside) and _secrets_in(real) <= _secrets_in(root)
