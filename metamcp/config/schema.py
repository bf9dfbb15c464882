"""``servers.json`` and ``allowlist.json``: from JSON to the records of ``model``, with every mistake at once.

Defaults are those of the records: a key that is absent here is left to the dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import post_load

from metamcp.config import names
from metamcp.config.crosschecks import DEFAULT, servers_problems
from metamcp.config.document import Problem, config_invalid, read_json
from metamcp.config.fields import (
    Choice,
    Flag,
    Items,
    NamedMap,
    Record,
    Strict,
    Text,
    Texts,
    loaded,
)
from metamcp.config.hints import AnnotationsSchema
from metamcp.config.middleware_schema import MiddlewareEntry
from metamcp.config.model import (
    EndpointSpec,
    GatewayConfig,
    NamespaceSpec,
    OAuthSpec,
    ServerSpec,
    ToolOverride,
)
from metamcp.config.rates import rate_problem
from metamcp.config.server_schema import ListedServerSchema, ServerSchema


class ToolSchema(Strict):
    enabled = Flag(doc="`false` hides the tool.")
    name = Text(
        check=names.tool_name,
        shape="1 to 64 of `A-Z a-z 0-9 _ -`",
        unset="the tool's",
        doc="The whole name that clients see, instead of `<server>__<tool>`.",
    )
    title = Text(unset="the tool's", doc="A name for people.")
    description = Text(empty=True, unset="the tool's", doc="What the model reads about it.")
    annotations = Record(
        AnnotationsSchema,
        unset="the tool's",
        doc="[Hints](#hints) for clients; those given replace the tool's own, the others stay.",
    )

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> ToolOverride:
        return ToolOverride(**data)


class NamespaceSchema(Strict):
    servers = Items(Text(), unset="none; needed without `namespaces`", doc="Names of servers, each once.")
    namespaces = Items(
        Text(),
        unset="none",
        doc="[Namespaces within this one](#namespaces-within-namespaces), by name, each once.",
    )
    disabled = Items(
        Text(),
        unset="none",
        doc="Those of `servers` and `namespaces` that are switched off here; nothing of them can be seen or called.",
    )
    prefix = Flag(
        doc=(
            "`true`: tools are called `<server>__<tool>`; `false`: they keep their own names, for servers that have no "
            "tool of the same name."
        ),
    )
    tools = NamedMap(
        Record(ToolSchema),
        doc=(
            "[Changes to single tools](#a-tool), by the name that clients would see: `git__push`, or `push` without "
            "prefix."
        ),
    )
    middleware = Items(
        MiddlewareEntry(),
        doc="[What lists and calls go through](middleware.md), in this order: `{\"use\": NAME, …}` with its options.",
    )


class OAuthSchema(Strict):
    issuer = Text(
        required=True,
        check=names.issuer,
        shape="a URL with `https://`, or `http://` to a loopback host",
        doc="Whose tokens are good, as it stands in their `iss`; clients are sent there.",
    )
    jwks_url = Text(
        check=names.trusted_url,
        data_key="jwksUrl",
        shape="a URL, likewise",
        unset="discovered",
        doc=(
            "Where the issuer's public keys are; without it they are looked for through its metadata (RFC 8414, OpenID "
            "Connect)."
        ),
    )
    audiences = Texts(
        data_key="audience",
        unset="the endpoint's own URL",
        doc="What a token's `aud` must contain, where the issuer cannot put the endpoint's URL into it.",
    )
    scopes = Items(Text(check=names.oauth_scope), doc="Scopes that a token needs, all of them (`scope` or `scp`).")

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> OAuthSpec:
        return OAuthSpec(**data)


class EndpointSchema(Strict):
    namespace = Text(required=True, doc="The name of a namespace.")
    auth = Choice(
        ("none", "api-key", "oauth"),
        doc=(
            "Who may use it: everybody who reaches it; whoever has a [key](security.md#authentication) with its name "
            "as scope; whoever has a token of its issuer."
        ),
    )
    oauth = Record(
        OAuthSchema,
        unset="the one beside `endpoints`",
        doc='[Whose tokens](#oauth) it takes; with `"auth": "oauth"` alone.',
    )
    rate_limit = Text(
        check=rate_problem,
        data_key="rateLimit",
        shape='as in `"6000/minute"` (`second`, `minute`, `hour`, `day`)',
        unset="none",
        doc=(
            "Requests to this endpoint of all clients together, over all workers; more is answered with 503 and "
            "`Retry-After`."
        ),
    )
    discovery = Choice(
        ("list", "search"),
        doc=(
            "How clients learn of tools: from a list of all of them, or [by searching](#discovery-by-search) with two "
            "tools that are listed in their place."
        ),
    )


class ServersSchema(Strict):
    mcp_servers = NamedMap(
        Record(ServerSchema),
        names.server_name,
        data_key="mcpServers",
        doc="[The servers](#a-server) by name.",
    )
    servers = Items(Record(ListedServerSchema), doc="The servers as a list, instead of `mcpServers`.")
    namespaces = NamedMap(
        Record(NamespaceSchema),
        names.url_safe_name,
        unset="one, `default`, with every server",
        doc="[Groups of servers](#a-namespace) by name.",
    )
    endpoints = NamedMap(
        Record(EndpointSchema),
        names.endpoint_name,
        unset="one, `default`, for the namespace `default`",
        doc="[Public addresses](#an-endpoint) by name.",
    )
    oauth = Record(
        OAuthSchema,
        doc='[Who issues the tokens](#oauth) of endpoints with `"auth": "oauth"` that have no `oauth` of their own.',
    )


def parse_servers(text: str) -> GatewayConfig:
    """``servers.json`` in any of its forms. Raises ConfigInvalid with every problem, in the order of the file."""
    document, repeated = read_json(text)
    return servers_from(document, repeated)


def servers_from(document: Any, known_problems: list[Problem] | None = None) -> GatewayConfig:
    """Like ``parse_servers``, for JSON that is read already."""
    document = {"servers": document} if isinstance(document, list) else document
    data, problems = loaded(ServersSchema(), document)
    problems += [*(known_problems or ()), *servers_problems(document)]
    if problems:
        raise config_invalid(document, problems)
    return _config(data)


def _config(data: Mapping[str, Any]) -> GatewayConfig:
    listed = {body["name"]: body for body in data.get("servers", ())}
    bodies = data.get("mcp_servers", listed)
    servers = {name: ServerSpec(**{**body, "name": name}) for name, body in bodies.items()}
    everything = {DEFAULT: {"servers": tuple(servers)}}
    namespaces = data.get("namespaces", everything)
    endpoints = data.get("endpoints", {DEFAULT: {"namespace": DEFAULT}})
    return GatewayConfig(
        servers,
        _namespaces(namespaces),
        {name: _endpoint(name, body, data.get("oauth")) for name, body in endpoints.items()},
    )


def _namespaces(bodies: Mapping[str, Mapping[str, Any]]) -> dict[str, NamespaceSpec]:
    """Each with what is within it; that none is within itself has been checked."""
    made: dict[str, NamespaceSpec] = {}

    def make(name: str) -> NamespaceSpec:
        if name not in made:
            body = dict(bodies[name])
            off = frozenset(body.pop("disabled", ()))
            inner = tuple(make(within) for within in body.pop("namespaces", ()) if within not in off)
            servers = tuple(server for server in body.pop("servers", ()) if server not in off)
            made[name] = NamespaceSpec(name, servers, namespaces=inner, **body)
        return made[name]

    return {name: make(name) for name in bodies}


def _endpoint(name: str, body: Mapping[str, Any], usual: OAuthSpec | None) -> EndpointSpec:
    oauth = body.get("oauth", usual) if body.get("auth") == "oauth" else None
    return EndpointSpec(**{**body, "name": name, "oauth": oauth})
