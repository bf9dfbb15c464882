"""From what Docker says to what an operator can do. The same rules read the CLI's stderr and the API's errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from metamcp.runtime.diagnosis.remote_advice import Rule, remote_rules, rule

NO_CLI = "docker: not found"
"""What a missing docker command is told as."""

_UNIX = "unix://"


# First match wins, so what happens inside a container stands before what looks alike on the way to the engine.
_RULES: tuple[Rule, ...] = (
    rule(
        r"exec format error|does not match the (detected host|specified) platform|no matching manifest",
        "The image is built for another CPU architecture: use an image for the engine's own platform.",
    ),
    rule(
        r"docker-init[^\n]*(executable file not found|no such file)",
        "The engine lacks its init program: install docker-init (part of Docker's packages; Debian: tini) there.",
    ),
    rule(
        r"executable file not found|(exec|stat) [^\n]*no such file or directory",
        "The image has no such command: check the command and --entrypoint in the server's args.",
    ),
    rule(r"exec: [^\n]*permission denied", "The command in the image is not executable for the container's user."),
    rule(
        r"bind source path does not exist|invalid mount config|error mounting",
        "A mount cannot be made: its source must exist on the machine that runs the engine, "
        "not inside the gateway's container.",
    ),
    rule(
        r"no such file or directory: '(?:[^']*/)?(?:docker|podman)(?:\.exe)?'|docker: (command )?not found",
        "The docker command line client is not installed where the supervisor runs: install docker-cli there.",
    ),
    rule(
        r"forbidden by administrative rules|\b403\b[^\n]*forbidden",
        "A socket proxy at {host} refuses this call: allow containers, images, events, info, version, networks, "
        "ping and POST/DELETE on it.",
    ),
    rule(
        r"setting rlimit|setrlimit",
        "The engine may not set a limit as high as that, since it lacks CAP_SYS_RESOURCE: write a lower --ulimit into "
        "the server's args, or default_ulimits into Podman's containers.conf.",
    ),
    rule(
        r"permission denied|PermissionError|EACCES|operation not permitted",
        "The gateway's user may not use {path}: add the socket's group {gid} to the supervisor, "
        'in Compose with group_add: ["{gid}"].',
    ),
    rule(
        r"client version \S+ is too new",
        "The client speaks a newer API than the engine: set DOCKER_API_VERSION to the maximum that the message "
        "names, or upgrade the engine.",
    ),
    rule(
        r"invalid IP address in add-host: \"?host-gateway|unknown flag: --\S+|needs API \S+ or newer",
        "The engine or the docker command is too old: upgrade it (Docker 20.10, API 1.41, is enough).",
    ),
    rule(
        r"client version \S+ is too old|no longer supported by this library|is not available for version",
        "Client and engine are too far apart in age: upgrade the older one (Docker 20.10, API 1.41, is enough).",
    ),
    rule(r"invalid reference format", "The image reference is malformed: write [registry/]name[:tag], lower case."),
    rule(
        r"toomanyrequests|rate limit",
        "The registry limits pulls: log in on the engine's machine, or load the image beforehand.",
    ),
    rule(
        r"pull access denied|may require 'docker login'|unauthorized|denied: requested access",
        "The image is not on the engine and the registry does not give it out: check the name, build or load the "
        "image, or log in with docker login.",
    ),
    rule(
        r"unable to find image.*(\bGet \"|\bHead \"|dial tcp|proxyconnect)",
        "The image is not on the engine, and its registry cannot be reached from there: build or load the image, or "
        "mend the network and DNS settings of the machine that runs the engine.",
    ),
    rule(
        r"no such host|name resolution|server misbehaving|name or service not known|NameResolutionError|getaddrinfo",
        "A host name cannot be resolved: check it (DOCKER_HOST is {host}) and the DNS settings of the machine that "
        "runs the engine.",
    ),
    rule(
        r"no such image|image not (found|known)|manifest (unknown|for)|unable to find image|reference does not exist",
        "The image is not on the engine: build it there, or fetch it with docker pull or docker load.",
    ),
    rule(
        r"container name [^\n]*already in use|\bconflict\b[^\n]*name",
        "A container of that name exists: remove it with docker rm -f, and look whether a second gateway uses the "
        "same state directory.",
    ),
    rule(
        r"no space left on device|disk quota exceeded",
        "The engine's disk is full: free space with docker system prune, or enlarge the disk of its data directory.",
    ),
    rule(
        r"range of CPUs is from|minimum memory limit|memory limit should",
        "The limit lies outside what this machine has: change the server's limits to fit it.",
    ),
    rule(
        r"kernel does not support|cgroup is not mounted|limitation discarded|cannot enter cgroup|cgroups?: [^\n]*not",
        "The engine's kernel cannot enforce this limit: enable the cgroup controller (on Debian and Raspberry Pi the "
        "kernel options cgroup_enable=memory swapaccount=1) or use cgroup v2.",
    ),
    rule(
        r"\boom\b|oom-?kill|out of memory|cannot allocate memory|(exit|exited)[^\n]{0,20}\b137\b",
        "The container was out of memory or was killed: raise limits.memory of the server.",
    ),
    rule(r"could not select device driver", "The engine has no driver for this device: install it, or drop --gpus."),
    rule(r"port is already allocated|address already in use", "Another process has that port: choose another one."),
    rule(
        r"network \S+ not found|no such network",
        "The network does not exist on the engine: create it with docker network create.",
    ),
    rule(
        r"error waiting for container|unexpected EOF|\bEOF$",
        "The connection to the engine at {host} was cut: look whether the engine was restarted, and whether a proxy on "
        "the way ends connections that are silent.",
    ),
    rule(
        r"x509|certificate|tls handshake",
        "TLS fails: if it is a registry's, put its authority into /etc/docker/certs.d of the engine; if it is "
        "the engine's at {host}, check DOCKER_TLS_VERIFY and DOCKER_CERT_PATH.",
    ),
    rule(
        r"timed? ?out|deadline exceeded|no answer within",
        "The engine at {host} does not answer: check that it is not overloaded or stopped (systemctl status docker), "
        "and that no firewall drops the connection.",
    ),
    rule(
        r"connection refused|ConnectionRefusedError|is the docker daemon running|connection reset|connection aborted"
        r"[^\n]*(reset|without response)",
        "Nothing serves {host}: start the engine (systemctl start docker) and check DOCKER_HOST; after an engine "
        "restart the socket must be mounted again.",
    ),
    rule(
        r"no such file or directory|FileNotFoundError|path is correct|not a socket|operation on non-socket",
        "There is no socket at {path}: start the engine, mount its socket into the supervisor "
        "(/var/run/docker.sock:/var/run/docker.sock), or set DOCKER_HOST.",
    ),
    rule(
        r"not docker's|JSONDecodeError|404 client error for http",
        "What answers at {host} is not a Docker engine: check DOCKER_HOST.",
    ),
    rule(
        r"invalid bind address|no connection adapters|invalid url|unsupported|(missing|no) schema|only supported on",
        "DOCKER_HOST is {host}: write unix:///path/to/docker.sock, tcp://host:port or ssh://user@host.",
    ),
)
_UNKNOWN = "Compare this message with the engine's own log (journalctl -u docker on the engine's machine)."


def socket_path(docker_host: str) -> str | None:
    """The path of a ``unix://`` host, or None for any other kind."""
    return docker_host.removeprefix(_UNIX) if docker_host.startswith(_UNIX) else None


def socket_group(path: str) -> int | None:
    """The group id that owns ``path``, or None when it cannot be read."""
    try:
        return Path(path).stat().st_gid
    except OSError:
        return None


def advice(
    error: str | BaseException,
    docker_host: str,
    group_of: Callable[[str], int | None] = socket_group,
) -> str:
    """One or two sentences of what to do about ``error``; never empty, and never a part of the error's own text.

    Only the rule about permissions asks ``group_of``; everything else depends on the arguments alone.
    """
    text = error if isinstance(error, str) else "\n".join(_texts(error))
    rules = (*remote_rules(docker_host, text), *_RULES)
    template = next((answer for pattern, answer in rules if pattern.search(text)), _UNKNOWN)
    path = socket_path(docker_host)
    gid = _gid(path, group_of) if "{gid}" in template else ""
    return template.format(host=docker_host, path=path or docker_host, gid=gid)


def plain_text(error: BaseException) -> str:
    """What went wrong in the words of the innermost cause, without the wrappings of HTTP libraries."""
    said = getattr(error, "explanation", None)
    if said:
        return str(said)
    causes = [cause for cause in _chain(error) if isinstance(cause, OSError)]
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return "no answer in time (timed out)"
    known = [cause.strerror for cause in causes if cause.strerror]
    return known[-1] if known else str(error)


def _gid(path: str | None, group_of: Callable[[str], int | None]) -> str:
    found = group_of(path) if path else None
    return str(found) if found is not None else f"(the number that stat -c %g {path or 'SOCKET'} prints)"


def _texts(error: BaseException) -> Iterator[str]:
    for cause in _chain(error):
        yield f"{type(cause).__name__}: {cause}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
