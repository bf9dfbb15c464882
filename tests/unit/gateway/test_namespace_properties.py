"""For any configuration: whatever is listed can be called and leads to its server's own, and nothing that is switched
off can be reached by any name."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config.model import GatewayConfig, NamespaceSpec
from metamcp.config.schema import servers_from
from metamcp.errors import InvalidParams
from metamcp.gateway.listings import KINDS, PROMPTS, RESOURCES, TEMPLATES, TOOLS, Entry, Item, Kind
from metamcp.gateway.namespace import Namespace
from metamcp.gateway.naming import exposed_name
from metamcp.protocol.jsonrpc import decode_object

SERVERS = ("git", "time", "web")
OWN = ("run", "a.b", "git__run", "x" * 70)
GIVEN = ("run", "go", "git__run", "time__run")
SPACES = ("outer", "middle", "inner")  # each may contain those behind it


def item(kind: Kind, identity: str) -> Item:
    return Item(identity, decode_object(json.dumps({kind.identity: identity, "title": "t"}).encode()))


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Entry]:
    named = st.lists(st.sampled_from(OWN), unique=True, max_size=4)
    addressed = st.lists(st.sampled_from(["file:///a", "db://{table}", "db://one"]), unique=True, max_size=3)
    return {
        server: Entry(server, {}, "", {
            kind.name: tuple(item(kind, one) for one in draw(named if kind in (TOOLS, PROMPTS) else addressed))
            for kind in KINDS
        })
        for server in SERVERS
    }  # fmt: skip


def override() -> st.SearchStrategy[dict[str, Any]]:
    return st.just({"enabled": False}) | st.fixed_dictionaries({}, optional={
        "enabled": st.booleans(), "name": st.sampled_from(GIVEN), "title": st.just("other"),
    })  # fmt: skip


@st.composite
def configurations(draw: st.DrawFn) -> GatewayConfig:
    """Keys of ``tools`` are every kind of name: a tool's own, one with a prefix, one that an override gave."""
    namespaces: dict[str, Any] = {}
    for at, name in enumerate(SPACES):
        servers = draw(st.lists(st.sampled_from(SERVERS), unique=True))
        within = draw(st.lists(st.sampled_from(SPACES[at + 1 :]), unique=True)) if SPACES[at + 1 :] else []
        prefix = draw(st.booleans())
        keys = [f"{server}__{own}" for server in servers for own in OWN]
        if not prefix or within:
            keys += [*OWN, *GIVEN, *(f"{server}__{own}" for server in SERVERS for own in OWN)]
        tools = st.dictionaries(st.sampled_from(keys), override(), max_size=5) if keys else st.just({})
        off = st.sampled_from([[], *([member] for member in (*servers, *within))])
        namespaces[name] = {
            "servers": servers, "namespaces": within, "prefix": prefix, "tools": draw(tools), "disabled": draw(off),
        }  # fmt: skip
    servers = {server: {"command": "x"} for server in SERVERS}
    return servers_from({"mcpServers": servers, "namespaces": namespaces, "endpoints": {}})


def at_work(spec: NamespaceSpec, known: dict[str, Entry]) -> Namespace:
    namespace = Namespace(spec, known.get, lambda _server: None)
    namespace.rebuild()
    return namespace


def let_through(spec: NamespaceSpec, known: dict[str, Entry], server: str, own: str) -> bool:
    """Whether any way is left on which the tool ``own`` of ``server`` comes, written down once more and otherwise."""
    off = {name for name, changed in spec.tools.items() if not changed.enabled}
    usual = {f"{server}__{own}", exposed_name(server, own, True)}
    direct = usual if spec.prefix else usual | {own, exposed_name(server, own, False)}
    if server in spec.servers and not off & direct:
        return True
    for within in spec.namespaces:
        routes = at_work(within, known).view.routes["tools"]
        seen = {name for name, route in routes.items() if (route.server, route.name) == (server, own)}
        if let_through(within, known, server, own) and not off & usual and seen - off:
            return True
    return False


@given(configurations(), entries())
def test_whatever_is_listed_can_be_called_and_leads_to_its_own_servers(
    config: GatewayConfig, known: dict[str, Entry]
) -> None:
    for spec in config.namespaces.values():
        namespace = at_work(spec, known)
        for kind in KINDS:
            listed = [body[kind.identity] for body in json.loads(namespace.view.listings[kind.name])[kind.member]]
            assert len(set(listed)) == len(listed) and set(listed) == namespace.view.routes[kind.name].keys()
            for name in listed:
                addressed = kind in (RESOURCES, TEMPLATES)
                route = namespace.resolve_resource(name) if addressed else namespace.resolve(kind, name)
                assert route.server in spec.reach
                if kind in (TOOLS, PROMPTS):
                    assert route.name in {one.identity for one in known[route.server].items[kind.name]}
                    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)


@given(configurations(), entries())
def test_nothing_that_is_switched_off_is_reached_by_any_name(config: GatewayConfig, known: dict[str, Entry]) -> None:
    names = {*OWN, *GIVEN, *(f"{server}__{own}" for server in SERVERS for own in OWN)}
    names |= {exposed_name(server, own, prefix) for server in SERVERS for own in OWN for prefix in (True, False)}
    names |= {exposed_name(space, name, True) for space in SPACES for name in names}
    for spec in config.namespaces.values():
        namespace = at_work(spec, known)
        for name in names:
            try:
                route = namespace.resolve(TOOLS, name)
            except InvalidParams:
                continue
            assert let_through(spec, known, route.server, route.name), (name, route)


@given(configurations(), entries())
def test_nothing_of_a_server_without_a_way_is_reached(config: GatewayConfig, known: dict[str, Entry]) -> None:
    for spec in config.namespaces.values():
        view = at_work(spec, known).view
        assert {route.server for routes in view.routes.values() for route in routes.values()} <= set(spec.reach)


@given(configurations(), entries())
def test_a_tool_that_every_way_lets_through_is_listed(config: GatewayConfig, known: dict[str, Entry]) -> None:
    """But for the rare one whose every name is taken, which the operator is told of."""
    for spec in config.namespaces.values():
        view = at_work(spec, known).view
        found = {(route.server, route.name) for route in view.routes["tools"].values()}
        for server in spec.servers:
            for one in known[server].items["tools"]:
                direct = NamespaceSpec(spec.name, (server,), spec.prefix, spec.tools)
                if (server, one.identity) not in found and let_through(direct, known, server, one.identity):
                    assert any(f"{one.identity!r} of {server!r} is hidden" in problem for problem in view.problems)


def spec_of(*servers: str, **body: Any) -> NamespaceSpec:
    document = {"mcpServers": {server: {"command": "x"} for server in servers}, "endpoints": {}}
    return servers_from(document | {"namespaces": {"n": {"servers": list(servers), **body}}}).namespaces["n"]


@pytest.mark.parametrize("key", ["run", "git__run"])
def test_without_prefix_a_tool_is_switched_off_by_each_of_its_names(key: str) -> None:
    known = {server: Entry(server, {}, "", {"tools": (item(TOOLS, "run"),)}) for server in ("time", "git")}
    spec = spec_of("time", "git", prefix=False, tools={key: {"enabled": False}})
    routes = at_work(spec, known).view.routes["tools"]
    assert "git" not in {route.server for route in routes.values()}


def test_a_tool_whose_name_had_to_be_changed_is_switched_off_by_its_own_name() -> None:
    known = {"git": Entry("git", {}, "", {"tools": (item(TOOLS, "a.b"),)})}
    spec = spec_of("git", tools={"git__a.b": {"enabled": False}})
    assert at_work(spec, known).view.routes["tools"] == {}
