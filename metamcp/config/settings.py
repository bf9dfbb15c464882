"""The gateway's own settings, from environment variables. An empty variable counts as unset, as Compose passes it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from metamcp.config.document import did_you_mean
from metamcp.config.engine_address import ENGINE_VARIABLES, address_problem
from metamcp.config.images import parse_reference
from metamcp.config.rates import rate_problem
from metamcp.config.traces import TRACE_VARIABLES
from metamcp.config.traces import problem as trace_problem
from metamcp.config.traces import wanted as traces_wanted
from metamcp.errors import CommandInvalid, ConfigInvalid

Runtime = Literal["docker-cli", "docker-api", "podman"]
LogFormat = Literal["text", "json"]

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]", "host.docker.internal")
VARIABLES = (
    "METAMCP_CONFIG_DIR",
    "METAMCP_STATE_DIR",
    "METAMCP_BIND",
    "WEB_CONCURRENCY",
    "METAMCP_LINK",
    "METAMCP_WEB_USER",
    "METAMCP_SUPERVISOR_USER",
    "METAMCP_ALLOWED_HOSTS",
    "METAMCP_ALLOWED_ORIGINS",
    "METAMCP_PUBLIC_URL",
    "METAMCP_TRUSTED_PROXIES",
    "METAMCP_CLIENT_SECONDS",
    "METAMCP_RATE_LIMIT",
    "METAMCP_MAX_SESSIONS_PER_PRINCIPAL",
    "METAMCP_MAX_STREAMS_PER_PRINCIPAL",
    "METAMCP_AUDIT_LOG",
    "METAMCP_RUNTIME",
    "METAMCP_TEST_IMAGE",
    "METAMCP_MAX_INSTANCES",
    "METAMCP_MAX_INSTANCES_PER_PRINCIPAL",
    "METAMCP_LOG_LEVEL",
    "METAMCP_LOG_FORMAT",
    *TRACE_VARIABLES,
    *ENGINE_VARIABLES,
    "TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL",
)
WEB_VARIABLES = (
    "METAMCP_STATE_DIR",
    "METAMCP_BIND",
    "WEB_CONCURRENCY",
    "METAMCP_LINK",
    "METAMCP_WEB_USER",
    "METAMCP_ALLOWED_HOSTS",
    "METAMCP_ALLOWED_ORIGINS",
    "METAMCP_PUBLIC_URL",
    "METAMCP_TRUSTED_PROXIES",
    "METAMCP_CLIENT_SECONDS",
    "METAMCP_RATE_LIMIT",
    "METAMCP_LOG_LEVEL",
    "METAMCP_LOG_FORMAT",
    *TRACE_VARIABLES,
)
"""Those that the web tier reads. It gets no others where it runs as a user of its own."""

RUNTIMES: tuple[Runtime, ...] = ("docker-cli", "docker-api", "podman")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOG_FORMATS: tuple[LogFormat, ...] = ("text", "json")
TRUE = ("true", "1", "yes", "on")
FALSE = ("false", "0", "no", "off")
LINK_NAME = "link.sock"
AUDIT_NAME = "audit.jsonl"
MAX_WORKERS = 256
MOST_INSTANCES = 100_000
MOST_PROXIES = 10
MOST_SESSIONS = 10_000
MAX_SOCKET_PATH = 107  # bytes; sockaddr_un of Linux has 108 with the ending NUL

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")

T = TypeVar("T")


class _Wrong(ValueError):
    """A value that cannot be used; the text says what is expected."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``link``: the socket between web and supervisor; ``split``: they run as separate services; ``web_user`` and
    ``supervisor_user``: whom they run as, empty for the user that starts them. Hosts are in lower case, IPv6 in
    brackets. No ``allowed_origins``: an Origin is allowed if its host is an allowed host. No ``public_url``: clients
    reach the gateway by the address that they name in Host. ``client_seconds``: for a client that neither sends nor
    reads. ``rate_limit`` is empty or as in ``config.rates``. No ``test_image``: the checks choose one themselves."""

    config_dir: Path = Path("config")
    state_dir: Path = Path("var")
    bind: str = "127.0.0.1:12009"
    workers: int = 2
    link: Path = Path("var/link.sock")
    split: bool = False
    web_user: str = ""
    supervisor_user: str = ""
    allowed_hosts: tuple[str, ...] = LOOPBACK_HOSTS
    allowed_origins: tuple[str, ...] = ()
    public_url: str = ""
    trusted_proxies: int = 0
    client_seconds: float = 30.0
    rate_limit: str = ""
    max_sessions_per_principal: int = 1000
    max_streams_per_principal: int = 2000
    audit_log: Path | None = Path("var/audit.jsonl")
    runtime: Runtime = "docker-cli"
    test_image: str = ""
    max_instances: int = 500
    max_instances_per_principal: int = 500
    log_level: str = "INFO"
    log_format: LogFormat = "text"
    traces: bool = False
    transform_localhost: bool = True

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Raises ConfigInvalid with every variable that cannot be used, each under its name."""
        return _from_env(environ)


class _Reader:
    """Reads one variable after the other and keeps what is wrong for the end."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[tuple[str, str]] = []

    def text(self, name: str) -> str:
        return self.environ.get(name, "").strip()

    def __call__(self, name: str, parse: Callable[[str], T], default: T) -> T:
        try:
            return parse(self.text(name)) if self.text(name) else default
        except _Wrong as wrong:
            self.problems.append((name, str(wrong)))
            return default


def _from_env(environ: Mapping[str, str]) -> Settings:
    read, usual = _Reader(environ), Settings()
    state_dir = read("METAMCP_STATE_DIR", _state_dir, usual.state_dir)
    most = read("METAMCP_MAX_INSTANCES", _whole(MOST_INSTANCES), usual.max_instances)
    audit_log: Path | None = state_dir / AUDIT_NAME
    audit_log = read("METAMCP_AUDIT_LOG", _path_or_off, audit_log)
    settings = Settings(
        config_dir=read("METAMCP_CONFIG_DIR", _path, usual.config_dir),
        state_dir=state_dir,
        bind=read("METAMCP_BIND", _bind, usual.bind),
        workers=read("WEB_CONCURRENCY", _whole(MAX_WORKERS), usual.workers),
        link=read("METAMCP_LINK", _socket, state_dir / LINK_NAME),
        split=bool(read.text("METAMCP_LINK")),
        web_user=read.text("METAMCP_WEB_USER"),
        supervisor_user=read.text("METAMCP_SUPERVISOR_USER"),
        allowed_hosts=read("METAMCP_ALLOWED_HOSTS", _list_of(_host), usual.allowed_hosts),
        allowed_origins=read("METAMCP_ALLOWED_ORIGINS", _list_of(_origin), usual.allowed_origins),
        public_url=read("METAMCP_PUBLIC_URL", _public_url, usual.public_url),
        trusted_proxies=read("METAMCP_TRUSTED_PROXIES", _whole(MOST_PROXIES, least=0), usual.trusted_proxies),
        client_seconds=read("METAMCP_CLIENT_SECONDS", _whole(3600), usual.client_seconds),
        rate_limit=read("METAMCP_RATE_LIMIT", _rate, usual.rate_limit),
        max_sessions_per_principal=read(
            "METAMCP_MAX_SESSIONS_PER_PRINCIPAL", _whole(MOST_SESSIONS), usual.max_sessions_per_principal
        ),
        max_streams_per_principal=read(
            "METAMCP_MAX_STREAMS_PER_PRINCIPAL", _whole(MOST_SESSIONS), usual.max_streams_per_principal
        ),
        audit_log=audit_log,
        runtime=read("METAMCP_RUNTIME", _one_of(RUNTIMES), usual.runtime),
        test_image=read("METAMCP_TEST_IMAGE", _image, usual.test_image),
        max_instances=most,
        max_instances_per_principal=read("METAMCP_MAX_INSTANCES_PER_PRINCIPAL", _whole(MOST_INSTANCES), most),
        log_level=read("METAMCP_LOG_LEVEL", _one_of(LOG_LEVELS), usual.log_level),
        log_format=read("METAMCP_LOG_FORMAT", _one_of(LOG_FORMATS), usual.log_format),
        traces=traces_wanted(read.text),
        transform_localhost=read("TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL", _flag, usual.transform_localhost),
    )
    for name in TRACE_VARIABLES if settings.traces else ():
        read(name, _of_traces(name), "")
    read("DOCKER_HOST", _engine, "")  # told with the other mistakes; engine_address.locate uses it
    if settings.supervisor_user and not settings.web_user:
        read.problems.append(("METAMCP_SUPERVISOR_USER", "needs METAMCP_WEB_USER, too"))
    if read.problems:
        raise ConfigInvalid(sorted(read.problems, key=lambda problem: VARIABLES.index(problem[0])))
    return settings


def _path(text: str) -> Path:
    if "\0" in text:
        raise _Wrong("must be a path")
    return Path(text)


def _socket(text: str) -> Path:
    path = _path(text)
    if len(str(path).encode("utf-8", "surrogatepass")) > MAX_SOCKET_PATH:
        raise _Wrong(f"the path of the link's socket must not be longer than {MAX_SOCKET_PATH} bytes")
    return path


def _state_dir(text: str) -> Path:
    _socket(str(_path(text) / LINK_NAME))
    return _path(text)


def _path_or_off(text: str) -> Path | None:
    return None if text == "off" else _path(text)


def _rate(text: str) -> str:
    if text != "off" and (problem := rate_problem(text)):
        raise _Wrong(problem)
    return "" if text == "off" else text


def _whole(most: int, least: int = 1) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
            raise _Wrong(f"must be a whole number from {least} to {most}")
        return int(text)

    return read


def _bind(text: str) -> str:
    """``host:port``; port 0 lets the system choose."""
    host, colon, port = text.rpartition(":")
    numeric = port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536
    if not (colon and numeric):
        raise _Wrong("must be HOST:PORT, such as 127.0.0.1:12009 or [::]:12009")
    return f"{_host_alone(host)}:{port}"


def _host(text: str) -> str:
    """A name or address, perhaps with a port; an IPv6 address gets its brackets."""
    host, colon, port = text.rpartition(":")
    if colon and port.isascii() and port.isdigit() and (":" not in host or host.endswith("]")):
        return f"{_host_alone(host)}:{port}"
    return _host_alone(text)


def _host_alone(text: str) -> str:
    host = text.lower()
    if ":" in host:
        try:
            return f"[{ipaddress.IPv6Address(host.removeprefix('[').removesuffix(']'))}]"
        except ValueError:
            raise _Wrong("holds something that is no IPv6 address") from None
    if not host.isascii() or _HOST.fullmatch(host) is None:
        raise _Wrong("must name hosts without scheme and path, such as mcp.example.com; * is not possible")
    return host


def _origin(text: str) -> str:
    try:
        parts = urlsplit(text)
        whole = parts.scheme and parts.netloc and text.lower() == f"{parts.scheme}://{parts.netloc}".lower()
    except ValueError:
        whole = False
    if not whole or "@" in text:
        raise _Wrong("must be origins, such as https://app.example.com, without a path")
    return f"{parts.scheme}://{_host(parts.netloc)}"


def _public_url(text: str) -> str:
    url = _origin(text.rstrip("/"))
    if not url.startswith(("http://", "https://")):
        raise _Wrong("must be an address such as https://mcp.example.com, without a path")
    return url


def _list_of(parse: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(parse(item.strip()) for item in text.split(",") if item.strip()))

    return read


def _one_of(values: tuple[T, ...]) -> Callable[[str], T]:
    def read(text: str) -> T:
        known = {str(value).lower(): value for value in values}
        if text.lower() not in known:
            raise _Wrong(f"must be one of {', '.join(map(str, values))}{did_you_mean(text, map(str, values))}")
        return known[text.lower()]

    return read


def _engine(text: str) -> str:
    if problem := address_problem(text):
        raise _Wrong(problem)
    return text


def _of_traces(name: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if wrong := trace_problem(name, text):
            raise _Wrong(wrong)
        return text

    return read


def _image(text: str) -> str:
    """In full: a short name such as ``deadbeef`` the engine would take for an image id."""
    try:
        return str(parse_reference(text))
    except CommandInvalid as invalid:
        raise _Wrong(f"must name an image, such as python:3.12-slim: {invalid.text}") from None


def _flag(text: str) -> bool:
    if text.lower() not in (*TRUE, *FALSE):
        raise _Wrong("must be true or false")
    return text.lower() in TRUE
