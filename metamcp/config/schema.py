"""``servers.json`` and ``allowlist.json``: from JSON to the records of ``model``, with every mistake at once.

Defaults are those of the records: a key that is absent here is left to the dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, post_load, validates_schema

from metamcp.config import names
from metamcp.config.crosschecks import DEFAULT, pattern_problem, servers_problems, shadowed_rules
from metamcp.config.document import Problem, config_invalid, flatten, read_json
from metamcp.config.fields import (
    Choice,
    Flag,
    Items,
    NamedMap,
    Number,
    Record,
    Size,
    Strict,
    Text,
    Texts,
    Worded,
    raise_all,
)
from metamcp.config.images import is_digest, parse_pattern
from metamcp.config.model import (
    MIB,
    MOST_INSTANCES,
    SEVERITIES,
    Allowance,
    Allowlist,
    Cosign,
    EndpointSpec,
    GatewayConfig,
    ImageRule,
    Limits,
    NamespaceSpec,
    OAuthSpec,
    Scan,
    ServerSpec,
    Timeouts,
    ToolOverride,
)
from metamcp.config.rates import rate_problem

WEEK = 7 * 24 * 3600.0
LEAST_MEMORY = 6 * MIB  # the Docker engine refuses less
LEAST_CPUS = 0.01  # likewise

TRANSPORTS = ("stdio", "sse", "streamable-http")
TRANSPORT_ALIASES = {name: name for name in TRANSPORTS} | {"http": "streamable-http"}


class LimitsSchema(Strict):
    memory = Size(LEAST_MEMORY, '"6m"')
    cpus = Number(LEAST_CPUS, 4096)
    pids = Number(1, 2**22, whole=True)

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Limits:
        return Limits(**data)


class TimeoutsSchema(Strict):
    start = Number(0.001, WEEK)
    call = Number(0.001, WEEK)
    total = Number(0.001, WEEK)

    @validates_schema(skip_on_field_errors=False)
    def total_is_the_longest(self, data: Mapping[str, float], **_: Any) -> None:
        total = data.get("total", Timeouts().total)
        used = {key: data.get(key, getattr(Timeouts(), key)) for key in ("start", "call")}
        told = f"must not be more than total, which is {total:g} seconds"
        raise_all({key: [f"is {value:g} seconds and {told}"] for key, value in used.items() if value > total})

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Timeouts:
        return Timeouts(**data)


class ServerSchema(Strict):
    command = Text(check=names.command)
    args = Items(Text(template=True, empty=True))
    env = NamedMap(Text(template=True, empty=True), names.variable_name)
    url = Text(template=True, check=names.remote_url)
    headers = NamedMap(Text(template=True, empty=True, check=names.header_value), names.header_name)
    transport = Choice(TRANSPORTS, TRANSPORT_ALIASES)
    type = Choice(TRANSPORTS, TRANSPORT_ALIASES)
    enabled = Flag()
    isolation = Choice(("session", "shared", "call"))
    warm = Number(0, 1000, whole=True)
    max_instances = Number(1, 1000, whole=True, data_key="maxInstances")
    idle_seconds = Number(0.001, WEEK, data_key="idleSeconds")
    network = Choice(("none", "internal", "egress"))
    user = Text(check=names.container_user)
    limits = Record(LimitsSchema)
    timeouts = Record(TimeoutsSchema)
    era = Choice(("auto", "legacy", "modern"))

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def keys_fit_together(self, data: Mapping[str, Any], original: Any, **_: Any) -> None:
        if isinstance(original, Mapping):
            raise_all(_kind_problems(data, original) | _warm_problem(data))

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        kind = data.pop("type", None)
        return {**data, "transport": _transport(data.get("transport"), kind, "url" in data)}


class ListedServerSchema(ServerSchema):
    name = Text(required=True, check=names.server_name)


class AnnotationsSchema(Strict):
    title = Text()
    read_only = Flag(data_key="readOnlyHint", attribute="readOnlyHint")
    destructive = Flag(data_key="destructiveHint", attribute="destructiveHint")
    idempotent = Flag(data_key="idempotentHint", attribute="idempotentHint")
    open_world = Flag(data_key="openWorldHint", attribute="openWorldHint")


class ToolSchema(Strict):
    enabled = Flag()
    name = Text(check=names.tool_name)
    title = Text()
    description = Text(empty=True)
    annotations = Record(AnnotationsSchema)

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> ToolOverride:
        return ToolOverride(**data)


class NamespaceSchema(Strict):
    servers = Items(Text(), required=True)
    prefix = Flag()
    tools = NamedMap(Record(ToolSchema))


class OAuthSchema(Strict):
    issuer = Text(required=True, check=names.issuer)
    jwks_url = Text(check=names.trusted_url, data_key="jwksUrl")
    audiences = Texts(data_key="audience")
    scopes = Items(Text(check=names.oauth_scope))

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> OAuthSpec:
        return OAuthSpec(**data)


class EndpointSchema(Strict):
    namespace = Text(required=True)
    auth = Choice(("none", "api-key", "oauth"))
    oauth = Record(OAuthSchema)
    rate_limit = Text(check=rate_problem, data_key="rateLimit")


class ServersSchema(Strict):
    mcp_servers = NamedMap(Record(ServerSchema), names.server_name, data_key="mcpServers")
    servers = Items(Record(ListedServerSchema))
    namespaces = NamedMap(Record(NamespaceSchema), names.url_safe_name)
    endpoints = NamedMap(Record(EndpointSchema), names.endpoint_name)
    oauth = Record(OAuthSchema)


class AllowanceSchema(Strict):
    network = Flag()
    cap_add = Items(Text(check=names.capability), data_key="capAdd")
    shm_size = Size(1, "1 byte", data_key="shmSize")
    devices = Items(Text(check=names.device_path))
    gpus = Flag()
    ports = Flag()
    binds = Items(Text(check=names.absolute_path))
    writable = Flag()
    user = Flag()

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Allowance:
        if "cap_add" in data:
            data["cap_add"] = tuple(name.removeprefix("CAP_") for name in data["cap_add"])
        return Allowance(**data)


class CosignSchema(Strict):
    key = Text()
    identity = Text()
    issuer = Text()
    program = Text()
    tlog = Flag()
    seconds = Number(1, 3600)

    @validates_schema
    def one_signer(self, data: Mapping[str, Any], **_: Any) -> None:
        keyless = "identity" in data and "issuer" in data
        if ("key" in data) == ("identity" in data or "issuer" in data) or ("key" not in data and not keyless):
            raise_all({"key": ["is needed, or identity and issuer instead of it"]})
        if any(str(value).startswith("-") for value in data.values()):
            raise_all({"key": ["no text here may begin with -: cosign would take it for an option"]})

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Cosign:
        return Cosign(**data)


class ScanSchema(Strict):
    command = Items(Text())
    block_at = Choice(SEVERITIES[1:], data_key="blockAt")
    required = Flag()
    contents = Flag()
    seconds = Number(1, 3600)

    @validates_schema
    def command_names_the_image(self, data: Mapping[str, Any], **_: Any) -> None:
        if data.get("command") and not any("{image}" in word for word in data["command"][1:]):
            raise_all({"command": ["must have {image} in one of its arguments: the image to scan"]})

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Scan:
        return Scan(**data)


class ImageSchema(Strict):
    image = Text(required=True, check=pattern_problem)
    digest = Text(check=lambda text: None if is_digest(text) else "must be sha256: and 64 hexadecimal digits")
    allow = Record(AllowanceSchema)
    user = Text(check=names.container_user)
    pin = Flag()
    dry_run = Flag(data_key="dryRun")
    cosign = Record(CosignSchema)
    scan = Record(ScanSchema)

    @validates_schema
    def digest_belongs_to_one_image(self, data: Mapping[str, Any], **_: Any) -> None:
        pattern = parse_pattern(data["image"])
        if "digest" in data and pattern.wild:
            raise_all({"digest": ["belongs to one image: write image without *"]})
        if "digest" in data and pattern.digest not in (None, data["digest"]):
            raise_all({"digest": ["contradicts the digest in image: keep one of them"]})

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> ImageRule:
        pattern = data.pop("image")
        digest = data.pop("digest", None) or parse_pattern(pattern).digest
        return ImageRule(pattern, digest, **data)


class ImageEntry(Worded):
    """A pattern, or an object with ``image``."""

    def read(self, value: Any) -> Any:
        if isinstance(value, str):
            try:
                return ImageSchema().load({"image": value})
            except ValidationError as invalid:
                raise ValidationError([text for _, text in flatten(invalid.messages)]) from None
        if not isinstance(value, Mapping):
            raise ValidationError('must be a pattern such as "ghcr.io/example/*", or an object with "image"')
        return ImageSchema().load(value)


class AllowlistSchema(Strict):
    images = Items(ImageEntry())
    bind_roots = Items(Text(check=names.absolute_path), data_key="bindRoots")
    dry_run = Flag(data_key="dryRun")
    cosign = Record(CosignSchema)
    scan = Record(ScanSchema)

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Allowlist:
        return Allowlist(data.pop("images", ()), **data)


def parse_servers(text: str) -> GatewayConfig:
    """``servers.json`` in any of its forms. Raises ConfigInvalid with every problem, in the order of the file."""
    document, repeated = read_json(text)
    return servers_from(document, repeated)


def parse_allowlist(text: str) -> Allowlist:
    """``allowlist.json``. Raises ConfigInvalid with every problem, in the order of the file."""
    document, repeated = read_json(text)
    return allowlist_from(document, repeated)


def servers_from(document: Any, known_problems: list[Problem] | None = None) -> GatewayConfig:
    """Like ``parse_servers``, for JSON that is read already."""
    document = {"servers": document} if isinstance(document, list) else document
    data, problems = _load(ServersSchema(), document)
    problems += [*(known_problems or ()), *servers_problems(document)]
    if problems:
        raise config_invalid(document, problems)
    return _config(data)


def allowlist_from(document: Any, known_problems: list[Problem] | None = None) -> Allowlist:
    """Like ``parse_allowlist``, for JSON that is read already."""
    made, problems = _load(AllowlistSchema(), document)
    problems += known_problems or []
    problems += list(shadowed_rules(made)) if isinstance(made, Allowlist) else []
    if problems:
        raise config_invalid(document, problems)
    return made  # type: ignore[no-any-return]


def _load(schema: Schema, document: Any) -> tuple[Any, list[Problem]]:
    try:
        return schema.load(document), []
    except ValidationError as invalid:
        return None, list(flatten(invalid.messages))


def _config(data: Mapping[str, Any]) -> GatewayConfig:
    listed = {body["name"]: body for body in data.get("servers", ())}
    bodies = data.get("mcp_servers", listed)
    servers = {name: ServerSpec(**{**body, "name": name}) for name, body in bodies.items()}
    everything = {DEFAULT: {"servers": tuple(servers)}}
    namespaces = data.get("namespaces", everything)
    endpoints = data.get("endpoints", {DEFAULT: {"namespace": DEFAULT}})
    return GatewayConfig(
        servers,
        {name: NamespaceSpec(name, **body) for name, body in namespaces.items()},
        {name: _endpoint(name, body, data.get("oauth")) for name, body in endpoints.items()},
    )


def _endpoint(name: str, body: Mapping[str, Any], usual: OAuthSpec | None) -> EndpointSpec:
    oauth = body.get("oauth", usual) if body.get("auth") == "oauth" else None
    return EndpointSpec(**{**body, "name": name, "oauth": oauth})


def _kind_problems(data: Mapping[str, Any], original: Mapping[str, Any]) -> dict[Any, list[str]]:
    """A server is a command or a URL; keys of the one kind make no sense for the other."""
    if "command" in original and "url" in original:
        return {"url": ["cannot stand beside command: a server is either started or reached by a URL"]}
    if "type" in data and "transport" in data and data["type"] != data["transport"]:
        return {"type": ["contradicts transport: keep one of them"]}
    if any(key in original and key not in data for key in ("transport", "type")):
        return {}
    if _transport(data.get("transport"), data.get("type"), "url" in original) == "stdio":
        return _foreign(original, "command", "url", ("headers",))
    return _foreign(original, "url", "command", ("args", "env"))


def _foreign(
    original: Mapping[str, Any], needed: str, wrong: str, without_use: tuple[str, ...]
) -> dict[Any, list[str]]:
    stdio = needed == "command"
    found = {key: [f"has no use without {wrong}: remove it"] for key in without_use if original.get(key)}
    if wrong in original:
        found[wrong] = [f"does not fit the transport, which needs {needed}"]
    elif needed not in original:
        also = ' (or "url" for a remote server)' if stdio else " for this transport"
        found[needed] = [f"is required{also}"]
    return found


def _warm_problem(data: Mapping[str, Any]) -> dict[Any, list[str]]:
    most = data.get("max_instances", MOST_INSTANCES)
    too_many = data.get("warm", 0) > most
    return {"warm": [f"must not be more than maxInstances, which is {most}"]} if too_many else {}


def _transport(transport: str | None, kind: str | None, has_url: bool) -> str:
    return transport or kind or ("streamable-http" if has_url else "stdio")
