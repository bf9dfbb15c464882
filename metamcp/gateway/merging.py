"""What many servers have as one listing, and where each name of it leads.

A namespace shows the things of its servers, then those of the namespaces within it as these show them. Whatever is
left out on the way is in no listing and has no route: it cannot be called by any name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from metamcp.config.model import NamespaceSpec, ToolOverride
from metamcp.errors import MetaMCPError, MiddlewareFailed
from metamcp.gateway import own_tools
from metamcp.gateway.listings import KINDS, RESOURCES, TEMPLATES, TOOLS, Entry, Kind
from metamcp.gateway.middleware.interface import Listed
from metamcp.gateway.middleware.stack import Stack
from metamcp.gateway.naming import SEPARATOR, exposed_name
from metamcp.gateway.tool_index import ToolIndex
from metamcp.protocol import headers, jsonrpc
from metamcp.protocol.jsonrpc import JsonObject, Raw

StackOf = Callable[[NamespaceSpec], Stack | None]
"""The middleware of a namespace; None where it has none."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where an exposed name leads: the server, and the name that the server itself uses. ``stacks``: the middleware
    that calls go through, of the innermost namespace first."""

    server: str
    name: str
    stacks: tuple[Stack, ...] = ()


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
    failures: Mapping[str, MiddlewareFailed]  # by kind: what is not in the listings because of them
    index: ToolIndex | None = None


@dataclass(frozen=True, slots=True)
class _Shown:
    """One thing in a listing. ``known_as``: every name by which an override may mean it, the one that clients would
    see without overrides first."""

    route: Route
    name: str
    body: JsonObject
    known_as: tuple[str, ...]
    within: bool = False  # as a namespace shows it


def differing(before: View | None, after: View) -> tuple[Kind, ...]:
    """The kinds whose listing is another one; all of them for somebody who has seen none."""
    return tuple(kind for kind in KINDS if before is None or before.listings[kind.name] != after.listings[kind.name])


def merge(spec: NamespaceSpec, entries: Iterable[Entry], stacks: StackOf = lambda _spec: None) -> View:
    """The view over ``entries``, which are those of its servers that are known, in the order of ``spec.reach``."""
    known = list(entries)
    merging = _Merging({entry.server: entry for entry in known}, stacks, {})
    listings: dict[str, bytes] = {}
    routes: dict[str, dict[str, Route]] = {}
    problems: list[str] = []
    mirrored: dict[str, Mapping[str, tuple[str, ...]]] = {}
    index = None
    for kind in KINDS:
        shown = merging.shown(spec, kind, problems)
        bodies = [one.body for one in shown]
        if kind is TOOLS:
            mirrored = _mirrored(shown)
            if spec.discovery == "search":
                index = ToolIndex([(one.route.server, one.body) for one in shown])
                bodies = own_tools.bodies(spec.reach)
        routes[kind.name] = {one.name: one.route for one in shown}
        listings[kind.name] = jsonrpc.encode({kind.member: bodies})
    capabilities = _capabilities(known, {"tools"} if index is not None else set())
    return View(
        listings, routes, jsonrpc.encode(capabilities), frozenset(capabilities), mirrored,
        _instructions(known), tuple(problems), merging.failures, index,
    )  # fmt: skip


def heard(spec: NamespaceSpec, stacks: StackOf) -> dict[str, tuple[Stack, ...]]:
    """By server: the middleware that wants to see what the server says by itself, of the innermost namespace first.
    No message says on which way a server came into ``spec``, so of one that came on several that of all counts."""
    found: dict[str, tuple[Stack, ...]] = dict.fromkeys(spec.reach, ())
    for within in spec.namespaces:
        for server, some in heard(within, stacks).items():
            found[server] = tuple(dict.fromkeys((*found[server], *some)))
    own = stacks(spec)
    if own is None or not own.hearing:
        return found
    return {server: (*some, own) for server, some in found.items()}


@dataclass(frozen=True, slots=True)
class _Merging:
    """``failures``: by kind, of the middleware of a namespace, of which nothing is shown then."""

    entries: Mapping[str, Entry]
    stacks: StackOf
    failures: dict[str, MiddlewareFailed]

    def shown(self, spec: NamespaceSpec, kind: Kind, problems: list[str]) -> list[_Shown]:
        """What ``spec`` shows, after its overrides and its middleware."""
        shown: dict[str, _Shown] = {}
        reserved = own_tools.NAMES if kind is TOOLS and spec.discovery == "search" else frozenset[str]()
        for found, candidates in self._candidates(spec, kind):
            override = _override(spec, found) if kind is TOOLS else None
            if override is not None and not override.enabled:
                continue
            wanted = (override.name, *candidates) if override is not None and override.name else candidates
            route = found.route
            free = (name for name in wanted if name not in shown or (found.within and shown[name].route == route))
            name = next((name for name in free if name not in reserved), None)
            if name in shown:
                continue  # the same thing, which came on another way, too
            if name is None:
                problems.append(f"{kind.name}: {route.name!r} of {route.server!r} is hidden by another one")
                continue
            unasked = name != found.name and override is None and (found.within or not spec.prefix)
            if unasked or wanted[0] in reserved:
                problems.append(f"{kind.name}: {route.name!r} of {route.server!r} is shown as {name!r}")
            known_as = tuple(dict.fromkeys((name, *found.known_as)))
            shown[name] = _Shown(route, name, _body(found, kind, name, override), known_as, within=True)
        return self._through(self.stacks(spec), kind, list(shown.values()))

    def _candidates(self, spec: NamespaceSpec, kind: Kind) -> Iterator[tuple[_Shown, tuple[str, ...]]]:
        """Everything of the members, in their order, and the names that each may get: the first one that nobody has.
        Addresses are never changed, so there the first one wins."""
        addressed = kind in (RESOURCES, TEMPLATES)
        for server in spec.servers:
            for item in self.entries[server].items.get(kind.name, ()) if server in self.entries else ():
                own, plain = item.identity, f"{server}{SEPARATOR}{item.identity}"
                names = (own,) if addressed else _names(server, own, spec.prefix)
                known_as = (*names, plain) if spec.prefix else (*names, own, plain)
                yield _Shown(Route(server, own), own, item.body, known_as), names
        for within in spec.namespaces:
            for one in self.shown(within, kind, []):
                others = ((one.route.server, one.route.name), (within.name, one.name)) if not addressed else ()
                yield one, (one.name, *(exposed_name(first, then, True) for first, then in others))

    def _through(self, stack: Stack | None, kind: Kind, shown: list[_Shown]) -> list[_Shown]:
        """What the middleware leaves; calls of it go through the same."""
        if stack is None:
            return shown
        items = [
            Listed(one.route.server, one.route.name, one.name, kind.identity, one.body, one.known_as) for one in shown
        ]
        by_item = {id(item): one for item, one in zip(items, shown, strict=True)}
        try:
            kept = stack.listed(kind.name, items)
        except MiddlewareFailed as failed:
            self.failures.setdefault(kind.name, failed)
            return []
        found = [(by_item[id(item)], item.body) for item in kept]
        return [
            replace(one, route=replace(one.route, stacks=(*one.route.stacks, stack)), body=body) for one, body in found
        ]


def _names(server: str, own: str, prefix: bool) -> tuple[str, ...]:
    prefixed = exposed_name(server, own, True)
    return (prefixed,) if prefix else (exposed_name(server, own, False), prefixed)


def _override(spec: NamespaceSpec, found: _Shown) -> ToolOverride | None:
    """Of several that mean the same tool one that disables it counts."""
    meant = [spec.tools[name] for name in found.known_as if name in spec.tools]
    return next((override for override in meant if not override.enabled), meant[0] if meant else None)


def _body(found: _Shown, kind: Kind, name: str, override: ToolOverride | None) -> JsonObject:
    body = dict(found.body)
    if name != found.name:
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


def _mirrored(tools: list[_Shown]) -> dict[str, Mapping[str, tuple[str, ...]]]:
    """By exposed name. A tool whose annotations are not valid has none: its clients drop it (2026-07-28, Tools)."""
    found: dict[str, Mapping[str, tuple[str, ...]]] = {}
    for tool in tools:
        schema = tool.body.get("inputSchema", Raw(b""))
        if b"x-mcp-header" in bytes(schema):
            with contextlib.suppress(MetaMCPError):
                found[tool.name] = headers.mirrored(schema)
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
