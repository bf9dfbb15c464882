"""Where the Docker engine is: ``DOCKER_HOST``, else a context of the docker command, else a socket that is there.

The order is the docker command's own (docs.docker.com, Docker contexts), so that the gateway
uses the engine that ``docker ps`` shows. What is found here is given to both halves: to the Engine API, and to each
docker command by its variables, whatever its user has chosen for himself.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from metamcp.config.engine_sockets import NPIPE, PODMAN, Files, ThisMachine, candidates
from metamcp.errors import ConfigInvalid

ENGINE_VARIABLES = (
    "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_TLS", "DOCKER_CERT_PATH",
)  # fmt: skip
SCHEMES = ("unix", "tcp", "http", "https", "ssh", "npipe")
EXAMPLES = "unix:///var/run/docker.sock, tcp://engine:2376 or ssh://user@engine"
DEFAULT_CONTEXT = "default"
PLAIN_PORT, TLS_PORT = 2375, 2376

_WORD = r"[^@:/?#%\s\[\]-][^@:/?#%\s\[\]]*"  # not an option of ssh
_HOST = rf"\[[0-9A-Za-z:.%]+\]|{_WORD}"
_REST = r"(?::([0-9]{1,5}))?(/[^?#\s]*)?"  # port and path
_SSH = re.compile(rf"ssh://(?:({_WORD})@)?({_HOST}){_REST}")
_TCP = re.compile(rf"(tcp|http|https)://({_HOST}){_REST}")
_CA, _CERT, _KEY = "ca.pem", "cert.pem", "key.pem"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """``folder`` holds ca.pem, cert.pem and key.pem; without the last two the client shows no certificate.
    ``verify``: whether the engine has to show one of that authority."""

    folder: str
    client: bool
    verify: bool

    @property
    def ca(self) -> str:
        return f"{self.folder}/{_CA}"

    @property
    def cert(self) -> str:
        return f"{self.folder}/{_CERT}"

    @property
    def key(self) -> str:
        return f"{self.folder}/{_KEY}"


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """``host`` as the docker command takes it in DOCKER_HOST. ``because``: why this one. ``tls``: of tcp:// alone."""

    host: str
    because: str
    tls: TlsFiles | None = None

    def __str__(self) -> str:
        return self.host

    @property
    def tls_shown(self) -> str | None:
        """For people: "verified" or "not verified"; None without TLS."""
        if self.tls is None:
            return None
        return "verified" if self.tls.verify else "not verified"

    def variables(self) -> dict[str, str]:
        """What makes a docker command use this engine and no other."""
        if self.tls is None:
            return {"DOCKER_HOST": self.host}
        switch = "DOCKER_TLS_VERIFY" if self.tls.verify else "DOCKER_TLS"
        return {"DOCKER_HOST": self.host, switch: "1", "DOCKER_CERT_PATH": self.tls.folder}


@dataclass(frozen=True, slots=True)
class SshTarget:
    """Of ``ssh://user@host:port/path``; ``path``: of the engine's socket over there, "" for its default."""

    user: str
    host: str
    port: str
    path: str


def locate(environ: Mapping[str, str], files: Files | None = None, platform: str = sys.platform) -> EngineAddress:
    """The engine to use, with the reason. Reads files of the docker command, and looks which sockets there are.

    ``files``: None for those of this machine. Raises ConfigInvalid, under the variable or the file that is to be
    corrected.
    """
    files = files or ThisMachine()
    if host := _value(environ, "DOCKER_HOST"):
        return _of_host(host, "DOCKER_HOST is set", environ, files)
    if _value(environ, "METAMCP_RUNTIME") == "podman":
        return _of_socket(environ, files, platform, PODMAN)
    context, path, because = _chosen_context(environ, files)
    if context != DEFAULT_CONTEXT:
        return _of_context(context, path, because, environ, files)
    if _tls_switch(environ):
        because = f"{_tls_switch(environ)} is set and DOCKER_HOST is not"
        return _of_host("tcp://localhost", because, environ, files)
    return _of_socket(environ, files, platform, "")


def address_problem(text: str) -> str | None:
    """What is wrong with a value for DOCKER_HOST."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in SCHEMES or not rest or any(char.isspace() for char in rest):
        return f"must be the address of an engine, such as {EXAMPLES}"
    if scheme == "ssh" and not _is_port(_SSH.fullmatch(text)):
        return "must be ssh://user@host or ssh://user@host:port, without a password: ssh takes a key"
    if scheme in ("tcp", "http", "https") and not _is_port(_TCP.fullmatch(text)):
        return f"must be {scheme}://host or {scheme}://host:port, without user and password"
    return None


def ssh_target(host: str) -> SshTarget:
    """Of an address that has no problem."""
    found = _SSH.fullmatch(host)
    if found is None:
        raise ValueError("not an address of ssh")
    user, name, port, path = (part or "" for part in found.groups())
    return SshTarget(user, name.strip("[]"), port, path if path.strip("/") else "")


def _is_port(found: re.Match[str] | None) -> bool:
    return found is not None and (found[3] is None or 0 < int(found[3]) < 65536)


def _value(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip()


def _tls_switch(environ: Mapping[str, str]) -> str:
    """The variable that asks for TLS, or "". Any value does, as it does for the docker command."""
    return next((name for name in ("DOCKER_TLS_VERIFY", "DOCKER_TLS") if _value(environ, name)), "")


def _of_host(host: str, because: str, environ: Mapping[str, str], files: Files) -> EngineAddress:
    """The docker command knows neither http:// nor https://: they are tcp:// without and with TLS."""
    if problem := address_problem(host):
        raise _wrong("DOCKER_HOST", problem)
    scheme = host.partition("://")[0]
    switch = _tls_switch(environ)
    wanted = scheme == "https" or (scheme == "tcp" and bool(switch))
    if not wanted:
        return EngineAddress(_with_port(host, PLAIN_PORT), because)
    folder = _value(environ, "DOCKER_CERT_PATH") or _docker_folder(environ, files)
    tls = _tls(folder, switch != "DOCKER_TLS", "DOCKER_CERT_PATH", files)
    return EngineAddress(_with_port(host, TLS_PORT), because, tls)


def _with_port(host: str, port: int) -> str:
    found = _TCP.fullmatch(host)
    return host if found is None else f"tcp://{found[2]}:{found[3] or port}{found[4] or ''}"


def _tls(folder: str, verify: bool, blamed: str, files: Files) -> TlsFiles:
    """Raises ConfigInvalid for what the docker command would refuse, too."""
    there = [name for name in (_CA, _CERT, _KEY) if files.is_readable(f"{folder}/{name}")]
    if _CA not in there:
        raise _wrong(blamed, f"{folder}/{_CA} is not there, or cannot be read: it is what the engine is known by")
    if len(there) == 2:
        lacking = _KEY if _CERT in there else _CERT
        raise _wrong(blamed, f"{folder}/{lacking} is not there, or cannot be read, and belongs to {there[1]}")
    return TlsFiles(str(Path(folder).absolute()), len(there) == 3, verify)


# --- contexts ----------------------------------------------------------------------------------------------


def _docker_folder(environ: Mapping[str, str], files: Files) -> str:
    home = _value(environ, "HOME") or files.home()
    return _value(environ, "DOCKER_CONFIG") or f"{home}/.docker"


def _chosen_context(environ: Mapping[str, str], files: Files) -> tuple[str, str, str]:
    """(its name, what names it and is to be corrected, why it is taken)."""
    if name := _value(environ, "DOCKER_CONTEXT"):
        return name, "DOCKER_CONTEXT", f"DOCKER_CONTEXT names the context {name!r}"
    path = f"{_docker_folder(environ, files)}/config.json"
    document = _json(path, files)
    name = document.get("currentContext", "") if isinstance(document, dict) else ""
    if not isinstance(name, str):
        raise _wrong(path, "currentContext is not a text; docker context use default corrects it")
    return name or DEFAULT_CONTEXT, path, f"{name!r} is the current context of the docker command"


def _of_context(name: str, blamed: str, because: str, environ: Mapping[str, str], files: Files) -> EngineAddress:
    folder, key = f"{_docker_folder(environ, files)}/contexts", sha256(name.encode()).hexdigest()
    document = _json(f"{folder}/meta/{key}/meta.json", files)
    if document is None:
        raise _wrong(blamed, f"there is no context {name!r} in {folder}; docker context ls shows those that there are, "
                             "DOCKER_HOST goes before all of them")  # fmt: skip
    endpoint = _endpoint(document)
    host = endpoint.get("Host")
    if not isinstance(host, str) or address_problem(host):
        raise _wrong(blamed, f"the context {name!r} has no usable address of an engine: docker context inspect {name}")
    tls_folder = f"{folder}/tls/{key}/docker"
    skip = endpoint.get("SkipTLSVerify") is True
    if not host.startswith("tcp://") or not (skip or files.names(tls_folder)):
        return EngineAddress(_with_port(host, PLAIN_PORT), because)
    return EngineAddress(_with_port(host, TLS_PORT), because, _tls(tls_folder, not skip, blamed, files))


def _endpoint(document: Any) -> Mapping[str, Any]:
    found: Any = document
    for key in ("Endpoints", "docker"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _json(path: str, files: Files) -> Any:
    """None: there is no such file. Raises ConfigInvalid."""
    try:
        text = files.read(path)
        return None if text is None else json.loads(text)
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}; or set DOCKER_HOST, which goes before it") from error
    except (ValueError, RecursionError) as error:
        raise _wrong(path, "is no JSON; correct it, or set DOCKER_HOST, which goes before it") from error


# --- sockets -----------------------------------------------------------------------------------------------


def _of_socket(environ: Mapping[str, str], files: Files, platform: str, product: str) -> EngineAddress:
    """``product``: only the sockets of that one; "" for all."""
    if platform == "win32":
        return EngineAddress(NPIPE, "nothing is set: the pipe of Docker on Windows")
    known = candidates(platform, environ, _value(environ, "HOME") or files.home(), files.names)
    known = [(path, whose) for path, whose in known if product in whose]
    for path, whose in known:
        if files.is_socket(path):
            return EngineAddress(f"unix://{path}", f"nothing is set, and this socket of {whose} is there")
    first = known[0][0]
    return EngineAddress(f"unix://{first}", f"nothing is set, and none of {len(known)} known sockets is there")


def _wrong(path: str, text: str) -> ConfigInvalid:
    return ConfigInvalid([(path, text)])
