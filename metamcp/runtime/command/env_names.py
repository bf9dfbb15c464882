"""How the value of an environment variable reaches a container, by its name.

The docker CLI reads ``--env NAME`` from *its own* environment, so that no value shows in a process list. But
some names mean something to the CLI itself, to the program loader or to Go:

* **refused**: names that choose or steer the engine, the CLI or the loader (``DOCKER_HOST``, ``LD_PRELOAD``,
  ``GODEBUG``). In another program's configuration they would act on the docker command; here an operator
  would wait in vain for that, and their values may be credentials (``DOCKER_AUTH_CONFIG``).
* **argv**: names that a server may well want and whose values are no secrets (``PATH``, ``HOME``, proxies,
  ``SSL_CERT_FILE``). They travel as ``--env NAME=VALUE``, which leaves the CLI alone. A proxy with a password
  in its URL is refused, for it would show.
* **environment**: everything else.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Literal, NoReturn

from metamcp.errors import RefusedByPolicy

Channel = Literal["environment", "argv"]

# No "*": podman would take it as a pattern over the whole environment.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")

_REFUSED_PREFIXES = (
    "BUILDAH_", "BUILDKIT", "BUILDX_", "COMPOSE_", "CONTAINERS_", "DOCKER_", "DYLD_", "LD_", "MOBY_", "PODMAN_",
    "_CONTAINERS_",
)  # fmt: skip
_REFUSED = frozenset({
    "CONTAINER_CONNECTION", "CONTAINER_HOST", "CONTAINER_PROXY", "CONTAINER_SSHKEY", "GCONV_PATH", "GLIBC_TUNABLES",
    "GODEBUG", "HOSTALIASES", "LOCALDOMAIN", "LOCPATH", "REGISTRY_AUTH_FILE", "RES_OPTIONS", "STORAGE_DRIVER",
    "STORAGE_OPTS",
})  # fmt: skip
_ARGV_PREFIXES = ("SSL_CERT_", "XDG_")
_PROXIES = frozenset({"ALL_PROXY", "FTP_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"})
_ARGV = _PROXIES | {
    "BASHOPTS", "BASH_ENV", "ENV", "IFS", "NODE_OPTIONS", "NODE_PATH", "PERL5LIB", "PERL5OPT", "PS4", "PYTHONHOME",
    "PYTHONPATH", "PYTHONSTARTUP", "RUBYLIB", "RUBYOPT", "SHELLOPTS",  # of helpers that the CLI starts (credentials)
    "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK", "HOME", "LOGNAME", "PATH", "PWD", "SHELL", "SSH_AUTH_SOCK",
    "TEMP", "TMP", "TMPDIR", "USER", "USERPROFILE",
}  # fmt: skip


def check_name(server: str, name: str) -> None:
    """Raise RefusedByPolicy for a name that no container may be given (env-name-invalid, env-name-reserved)."""
    if _NAME.fullmatch(name) is None:
        _refuse(server, "env-name-invalid", "a variable's name is not a name", "use letters, digits and _")
    if name.upper() in _REFUSED or name.upper().startswith(_REFUSED_PREFIXES):
        advice = "rename it, or set it in the image (ENV); the engine is chosen by the gateway's own DOCKER_HOST"
        _refuse(server, "env-name-reserved", f"{name} steers the docker command itself", advice)


def channel(server: str, name: str, value: str, engine_names: Container[str]) -> Channel:
    """``engine_names``: what the CLI's own environment holds already and must keep. Raises as ``check_name``,
    and RefusedByPolicy (env-value-invalid, env-secret-on-argv)."""
    check_name(server, name)
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        _refuse(server, "env-value-invalid", f"{name} holds a character that no process can be given", "change it")
    upper = name.upper()
    if upper in _PROXIES and "@" in value:
        advice = "use a proxy without a password, or configure it in the image"
        _refuse(server, "env-secret-on-argv", f"{name} holds credentials that a process list would show", advice)
    public = upper in _ARGV or upper.startswith(_ARGV_PREFIXES) or name in engine_names
    return "argv" if public else "environment"


def refuse_on_argv(server: str, name: str) -> NoReturn:
    """For what belongs to one client and has the name of a variable that everybody may see (env-secret-on-argv)."""
    advice = "pass it under another name"
    _refuse(server, "env-secret-on-argv", f"a process list would show what {name} holds for one client", advice)


def _refuse(server: str, rule: str, text: str, advice: str) -> NoReturn:
    raise RefusedByPolicy(f"server {server!r}: {text}", server=server, rule=rule, advice=advice)
