"""What an operator configured, as frozen records. Made by ``loader``; everybody else only reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from metamcp.config.given import NOTHING, Given

Transport = Literal["stdio", "sse", "streamable-http"]
Isolation = Literal["session", "shared", "call"]
Network = Literal["none", "internal", "egress"]
Era = Literal["auto", "legacy", "modern"]
Auth = Literal["none", "api-key", "oauth"]
Discovery = Literal["list", "search"]

MIB = 1024 * 1024

MOST_INSTANCES = 20
"""Of one server at once, where nothing is configured."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Enforced on every container, also when the operator's ``docker run`` arguments say nothing."""

    memory: int = 512 * MIB  # bytes; memory and swap together, so no swap
    cpus: float = 1.0
    pids: int = 256


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. ``start``: process start to initialize answered. ``call``: silence within one call (progress
    renews it). ``total``: one call, whatever its progress."""

    start: float = 30.0
    call: float = 60.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """One configured MCP server. ``env``, ``args``, ``url``, ``headers`` and ``credentials`` are unresolved:
    ``${NAME}`` stands in them until the moment of use, so that no secret lives in the configuration. ``given`` is
    configured nowhere: what the instance that is started has for its client alone."""

    name: str
    transport: Transport = "stdio"
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
    isolation: Isolation | None = None  # None: by the era that the server speaks
    warm: int = 0
    max_instances: int | None = None  # None: MOST_INSTANCES, but one for all of isolation "shared"
    idle_seconds: float = 300.0
    network: Network = "egress"
    user: str = ""  # of the container: USER[:GROUP]; "" leaves it to the image
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    era: Era = "auto"
    pass_headers: Mapping[str, str] = field(default_factory=dict)  # of the client -> variable or header of the server
    credentials: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by principal
    given: Given = field(default=NOTHING, repr=False)

    def given_to(self, principal: str, passed: Mapping[str, str]) -> Given:
        """``passed``: headers that the client sent, by their names in lower case."""
        if not self.pass_headers and not self.credentials:
            return NOTHING
        sent = {name: value for header, name in self.pass_headers.items() if (value := passed.get(header.lower()))}
        return Given(sent, self.credentials.get(principal, {}))

    def fingerprint(self) -> str:
        """Short stable hash of everything that shapes a child; the container label ``metamcp.config``."""
        return _fingerprint(self)


@dataclass(frozen=True, slots=True)
class ToolOverride:
    """What a namespace changes about one tool; None leaves the server's own."""

    enabled: bool = True
    name: str | None = None
    title: str | None = None
    description: str | None = None
    annotations: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class MiddlewareSpec:
    """What lists and calls go through. ``use``: its name; ``options``: as its schema loads them. ``plugin``: the class
    that an installed package has for it; None for what is built in."""

    use: str
    options: Mapping[str, Any] = field(default_factory=dict)
    plugin: type[Any] | None = None


@dataclass(frozen=True, slots=True)
class NamespaceSpec:
    """``servers`` and ``namespaces`` are its members but for those that are disabled in it; no namespace is within
    itself, however deeply."""

    name: str
    servers: tuple[str, ...]
    prefix: bool = True
    tools: Mapping[str, ToolOverride] = field(default_factory=dict)
    namespaces: tuple[NamespaceSpec, ...] = ()
    middleware: tuple[MiddlewareSpec, ...] = ()
    discovery: Discovery = "list"  # as the endpoint wants it that shows the namespace

    @property
    def reach(self) -> tuple[str, ...]:
        """Its servers and those of the namespaces within it, each once."""
        inner = [server for namespace in self.namespaces for server in namespace.reach]
        return tuple(dict.fromkeys((*self.servers, *inner)))

    @property
    def prefixed(self) -> bool:
        """Every tool's name begins with its server's, unless an override says otherwise."""
        return self.prefix and all(namespace.prefixed for namespace in self.namespaces)


@dataclass(frozen=True, slots=True)
class OAuthSpec:
    """Whose tokens an endpoint takes. Without ``jwks_url`` the issuer is asked where its keys are; without
    ``audiences`` a token has to be meant for the endpoint's own URL. ``scopes`` a token needs all."""

    issuer: str
    jwks_url: str = ""
    audiences: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """``oauth`` is there exactly when ``auth`` says so."""

    name: str
    namespace: str
    auth: Auth = "none"
    oauth: OAuthSpec | None = None
    rate_limit: str = ""  # as in config.rates, over all clients; empty: none
    discovery: Discovery = "list"


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """``servers.json``, complete and cross-checked: every name that is referred to exists."""

    servers: Mapping[str, ServerSpec]
    namespaces: Mapping[str, NamespaceSpec]
    endpoints: Mapping[str, EndpointSpec]


@dataclass(frozen=True, slots=True)
class Allowance:
    """How far one image's containers may leave the default policy; every widening is explicit."""

    network: bool = False  # any named network of the operator's, not only none/internal/egress
    cap_add: tuple[str, ...] = ()
    shm_size: int | None = None  # bytes
    devices: tuple[str, ...] = ()
    gpus: bool = False
    ports: bool = False
    binds: tuple[str, ...] = ()  # further bind roots for this image alone
    writable: bool = False
    user: bool = True


@dataclass(frozen=True, slots=True)
class Cosign:
    """Whose signature an image must carry: of ``key`` (path or URI), or of ``identity`` as ``issuer`` certified it."""

    key: str = ""
    identity: str = ""
    issuer: str = ""
    program: str = "cosign"
    tlog: bool = True  # the signature must be in the transparency log
    seconds: float = 30.0


Severity = Literal["unknown", "low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("unknown", "low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class Scan:
    """How an image is looked into before its first use. ``command``: an external scanner, with ``{image}`` in it.
    ``block_at``: from this severity on it does not run. ``required``: nor does it when it could not be scanned."""

    command: tuple[str, ...] = ()
    block_at: Severity | None = None
    required: bool = False
    contents: bool = False  # its files, too, from ``docker save``
    seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class ImageRule:
    """``pattern`` is as written; ``digest`` pins it (``sha256:…``). ``pin``: only the image that the tag named first.
    ``dry_run``: what ``pin``, ``cosign`` and ``scan`` would refuse is only told."""

    pattern: str
    digest: str | None = None
    allow: Allowance = Allowance()
    user: str = ""  # every container of the image runs as this USER[:GROUP]
    pin: bool = False
    dry_run: bool = False
    cosign: Cosign | None = None  # None: the allowlist's
    scan: Scan | None = None  # None: the allowlist's


@dataclass(frozen=True, slots=True)
class Allowlist:
    """``allowlist.json``. No rule means that no image may run."""

    rules: tuple[ImageRule, ...] = ()
    bind_roots: tuple[str, ...] = ()
    dry_run: bool = False  # no image is refused, only told; flags are refused all the same
    cosign: Cosign | None = None
    scan: Scan = Scan()

    def judges(self, rule: ImageRule) -> tuple[Cosign | None, Scan]:
        """Whose signature the images of ``rule`` need, and how they are looked into."""
        return rule.cosign or self.cosign, rule.scan or self.scan


def _fingerprint(record: Any) -> str:
    parts = [f"{it.name}={_plain(getattr(record, it.name))!r}" for it in fields(record) if it.name != "given"]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _plain(value: Any) -> Any:
    return sorted(value.items()) if isinstance(value, Mapping) else value
