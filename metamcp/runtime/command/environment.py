"""What of the gateway's own environment others get to see."""

from __future__ import annotations

from collections.abc import Mapping

from metamcp.config.engine_address import EngineAddress

BASICS = ("PATH", "HOME", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "LANG", "LC_ALL", "TZ", "TMPDIR", "CONTAINERS_CONF")
FOR_DOCKER = ("DOCKER_API_VERSION",)
FOR_SSH = ("SSH_AUTH_SOCK",)


def basics(environ: Mapping[str, str]) -> dict[str, str]:
    """What the docker command and plain servers need; the rest, secrets among it, stays ours."""
    return _only(BASICS, environ)


def for_docker(environ: Mapping[str, str], address: EngineAddress) -> dict[str, str]:
    """The environment of a docker command that is to use the engine at ``address`` and no other."""
    names = (*BASICS, *FOR_DOCKER, *(FOR_SSH if address.host.startswith("ssh://") else ()))
    return _only(names, environ) | address.variables()


def for_ssh(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of our own ssh client: the one of the docker command's, so that both are let in or neither."""
    return _only((*BASICS, *FOR_SSH), environ)


def _only(names: tuple[str, ...], environ: Mapping[str, str]) -> dict[str, str]:
    return {name: environ[name] for name in names if name in environ}
