"""One namespace's merged view of the catalog: what clients see, and where each name leads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from metamcp.config.model import NamespaceSpec, ToolOverride
from metamcp.errors import InvalidParams, MetaMCPError, server_unavailable
from metamcp.gateway import own_tools
from metamcp.gateway.listings import KINDS, PROMPTS, RESOURCES, TEMPLATES, TOOLS, Entry, Item, Kind
from metamcp.gateway.naming import SEPARATOR, exposed_name
from metamcp.gateway.tool_index import ToolIndex
from metamcp.protocol import headers, jsonrpc
from metamcp.protocol.jsonrpc import JsonObject, Raw
from metamcp.telemetry import logs

_log = logs.get("gateway.namespace")

_RESOURCE_NOT_FOUND = -32002  # of every handshake-era revision (Resources, Error Handling)


class ResourceUnknown(InvalidParams):
    code = _RESOURCE_NOT_FOUND


@dataclass(frozen=True, slots=True)
class Route:
    """Where an exposed name leads: the server, and the name that the server itself uses."""

    server: str
    name: str


@dataclass(frozen=True, slots=True)
class View:
    """``listings``: by kind, the complete raw ``result`` of its list method. ``problems`` are for the operator.
    ``index`` is there where tools are not listed, but searched."""

    listings: dict[str, bytes]
    routes: dict[str, dict[str, Route]]
    capabilities: bytes
    declared: frozenset[str]  # the names of the capabilities
    mirrored: dict[str, Mapping[str, tuple[str, ...]]]  # of a tool: its arguments that HTTP headers repeat
    instructions: str
    problems: tuple[str, ...]
    index: ToolIndex | None = None


def differing(before: View | None, after: View) -> tuple[Kind, ...]:
    """The kinds whose listing is another one; all of them for somebody who has seen none."""
    return tuple(kind for kind in KINDS if before is None or before.listings[kind.name] != after.listings[kind.name])


def merge(spec: NamespaceSpec, entries: Iterable[Entry]) -> View:
    """The view over ``entries``, which come in the order of the namespace's servers."""
    known = list(entries)
    listings: dict[str, bytes] = {}
    routes: dict[str, dict[str, Route]] = {}
    problems: list[str] = []
    mirrored: dict[str, Mapping[str, tuple[str, ...]]] = {}
    index = None
    for kind in KINDS:
        bodies, routes[kind.name] = _merge_kind(spec, known, kind, problems)
        if kind is TOOLS:
            mirrored = _mirrored(bodies)
            if spec.discovery == "search":
                servers = (route.server for route in routes[kind.name].values())
                index = ToolIndex(list(zip(servers, bodies, strict=True)))
                bodies = own_tools.bodies(spec.servers)
        listings[kind.name] = jsonrpc.encode({kind.member: bodies})
    capabilities = _capabilities(known, {"tools"} if index is not None else set())
    return View(
        listings, routes, jsonrpc.encode(capabilities), frozenset(capabilities), mirrored,
        _instructions(known), tuple(problems), index,
    )  # fmt: skip


def _merge_kind(
    spec: NamespaceSpec, entries: list[Entry], kind: Kind, problems: list[str]
) -> tuple[list[JsonObject], dict[str, Route]]:
    bodies: list[JsonObject] = []
    routes: dict[str, Route] = {}
    reserved = own_tools.NAMES if kind is TOOLS and spec.discovery == "search" else frozenset[str]()
    for entry in entries:
        for item in entry.items.get(kind.name, ()):
            override = spec.tools.get(_shown(spec, entry, item)) if kind is TOOLS else None
            if override is not None and not override.enabled:
                continue
            candidates = _candidates(spec, entry, item, kind, override)
            name = next((it for it in candidates if it not in routes and it not in reserved), None)
            if name is None:
                problems.append(f"{kind.name}: {item.identity!r} of {entry.server!r} is hidden by another one")
                continue
            if candidates[0] in reserved or (name != item.identity and not spec.prefix and override is None):
                problems.append(f"{kind.name}: {item.identity!r} of {entry.server!r} is shown as {name!r}")
            routes[name] = Route(entry.server, item.identity)
            bodies.append(_body(item, kind, name, override))
    return bodies, routes


def _shown(spec: NamespaceSpec, entry: Entry, item: Item) -> str:
    return exposed_name(entry.server, item.identity, spec.prefix)


def _candidates(spec: NamespaceSpec, entry: Entry, item: Item, kind: Kind, override: ToolOverride | None) -> list[str]:
    """The names that it may have, of which the first free one counts; addresses are never changed, so there the first
    server wins."""
    if kind in (RESOURCES, TEMPLATES):
        return [item.identity]
    candidates = [_shown(spec, entry, item), exposed_name(entry.server, item.identity, True)]
    if override is not None and override.name:
        candidates.insert(0, override.name)
    return candidates


def _body(item: Item, kind: Kind, name: str, override: ToolOverride | None) -> JsonObject:
    body = dict(item.body)
    if name != item.identity:
        body[kind.identity] = Raw(jsonrpc.encode(name))
    if override is None:
        return body
    for member, value in (("title", override.title), ("description", override.description)):
        if value is not None:
            body[member] = Raw(jsonrpc.encode(value))
    if override.annotations is not None:
        members = jsonrpc.decode_object(body.get("annotations", Raw(b"{}")), "annotations")
        members.update({key: Raw(jsonrpc.encode(value)) for key, value in override.annotations.items()})
        body["annotations"] = Raw(jsonrpc.encode(members))
    return body


def _mirrored(tools: list[JsonObject]) -> dict[str, Mapping[str, tuple[str, ...]]]:
    """By exposed name. A tool whose annotations are not valid has none: its clients drop it (2026-07-28, Tools)."""
    found: dict[str, Mapping[str, tuple[str, ...]]] = {}
    for body in tools:
        schema = body.get("inputSchema", Raw(b""))
        if b"x-mcp-header" in bytes(schema):
            with contextlib.suppress(MetaMCPError):
                found[jsonrpc.decode_string(body["name"], "name")] = headers.mirrored(schema)
    return found


def _capabilities(entries: list[Entry], own: set[str]) -> dict[str, dict[str, bool]]:
    """The union of what the servers can do and the gateway passes on, and what it has by itself."""
    declared = own | {name for entry in entries for name in entry.capabilities}
    union: dict[str, dict[str, bool]] = {
        name: {"listChanged": True} for name in ("tools", "prompts", "resources") if name in declared
    }
    if any(entry.subscribes for entry in entries):
        union["resources"]["subscribe"] = True
    union |= {name: {} for name in ("completions", "logging") if name in declared}
    return union


def _instructions(entries: list[Entry]) -> str:
    parts = [(entry.server, entry.instructions) for entry in entries if entry.instructions]
    return "\n\n".join(f"# {server}\n\n{text}" for server, text in parts)


class Namespace:
    """A namespace at work. ``entry`` and ``problem`` read the catalog. Owned by the reactor's thread."""

    def __init__(
        self,
        spec: NamespaceSpec,
        entry: Callable[[str], Entry | None],
        problem: Callable[[str], MetaMCPError | None],
    ) -> None:
        self.spec = spec
        self._entry = entry
        self._problem = problem
        self.view = merge(spec, ())

    def rebuild(self) -> tuple[Kind, ...]:
        """Merge anew; the kinds whose listing is different now."""
        before = self.view
        self.view = merge(self.spec, [entry for name in self.spec.servers if (entry := self._entry(name))])
        for problem in self.view.problems:
            if problem not in before.problems:
                _log.warning("name-collision", extra=logs.fields(namespace=self.spec.name, problem=problem))
        return differing(before, self.view)

    def follow(self, spec: NamespaceSpec) -> tuple[Kind, ...]:
        """Be ``spec`` from now on; the kinds whose listing is different now."""
        self.spec = spec
        return self.rebuild()

    def missing(self) -> dict[str, str]:
        """The servers that are not in the listings, each with its reason."""
        return {
            name: problem.told if (problem := self._problem(name)) else "it has not been asked yet"
            for name in self.spec.servers
            if self._entry(name) is None
        }

    def resolve(self, kind: Kind, name: str) -> Route:
        """Where ``name`` leads. Raises InvalidParams for an unknown name; when its server is one whose list is not
        known, RefusedByPolicy or ServerUnavailable with the reason."""
        route = self.view.routes[kind.name].get(name)
        if route is not None:
            return route
        for server, reason in self.missing().items():
            if not self.spec.prefix or name.startswith(server + SEPARATOR):
                problem = self._problem(server)
                if problem is not None and ("state" in problem.data or problem.fault == "operator"):
                    raise problem.again()
                raise server_unavailable(server, "BACKOFF", reason)
        raise self._unknown(kind, name)

    def resolve_resource(self, uri: str) -> Route:
        """By the listed address, else by the longest template whose literal beginning fits."""
        routes = self.view.routes
        if route := routes[RESOURCES.name].get(uri):
            return route
        fitting = [(len(head), route) for text, route in routes[TEMPLATES.name].items()
                   if uri.startswith(head := text.split("{", 1)[0])]
        if fitting:
            return Route(max(fitting, key=lambda pair: pair[0])[1].server, uri)
        return self.resolve(RESOURCES, uri)

    def _unknown(self, kind: Kind, name: str) -> MetaMCPError:
        if kind is RESOURCES:
            return ResourceUnknown(f"no server has the resource {name!r}", uri=name)
        what = "prompt" if kind is PROMPTS else "tool"
        return InvalidParams(f"unknown {what}: {name!r}")
