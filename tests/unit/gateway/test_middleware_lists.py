"""Middleware and lists: what it leaves out has no route, and what fails shows nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config.model import MiddlewareSpec, NamespaceSpec, ToolOverride
from metamcp.config.schema import servers_from
from metamcp.errors import InvalidParams, MiddlewareFailed
from metamcp.gateway.listings import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Entry, Item, Kind
from metamcp.gateway.middleware.interface import Context, Listed, Middleware
from metamcp.gateway.middleware.stacks import Stacks
from metamcp.gateway.namespace import Namespace
from metamcp.protocol.jsonrpc import decode_object


def items(kind: Kind, *names: str, **more: Any) -> tuple[Item, ...]:
    return tuple(Item(name, decode_object(json.dumps({kind.identity: name, **more}).encode())) for name in names)


GIT = Entry("git", {}, "", {"tools": items(TOOLS, "log", "push", title="T"), "prompts": items(PROMPTS, "push")})
FILES = Entry("files", {}, "", {
    "tools": items(TOOLS, "read"), "resources": items(RESOURCES, "file:///docs/a", "file:///etc/b"),
    "templates": items(TEMPLATES, "file:///{path}"),
})  # fmt: skip
KNOWN = {"git": GIT, "files": FILES}


def built_in(*entries: dict[str, Any]) -> tuple[MiddlewareSpec, ...]:
    spaces = {"n": {"servers": [], "middleware": list(entries)}}
    return servers_from({"mcpServers": {}, "namespaces": spaces, "endpoints": {}}).namespaces["n"].middleware


def own(made: type[Middleware]) -> MiddlewareSpec:
    return MiddlewareSpec(made.__name__, {}, made)


class House:
    """``failures``: (namespace, middleware), as they are counted."""

    def __init__(self) -> None:
        self.failures: list[tuple[str, str]] = []
        self.stacks = Stacks(lambda namespace, middleware: self.failures.append((namespace, middleware)))

    def at_work(self, *middleware: MiddlewareSpec, **more: Any) -> Namespace:
        spec = NamespaceSpec("n", more.pop("servers", ("git", "files")), middleware=middleware, **more)
        namespace = Namespace(spec, KNOWN.get, lambda _server: None, self.stacks.of)
        namespace.rebuild()
        return namespace


@pytest.fixture
def house() -> House:
    return House()


def shown(namespace: Namespace, kind: Kind = TOOLS) -> list[str]:
    return [body[kind.identity] for body in json.loads(namespace.listing(kind))[kind.member]]


class Broken(Middleware):
    def on_list(self, kind: str, items: list[Listed], context: Context) -> list[Listed]:
        raise KeyError("a secret of the client")


def test_filter_leaves_out_what_is_denied_and_what_is_not_allowed(house: House) -> None:
    namespace = house.at_work(*built_in({"use": "filter", "allow": ["git__*"], "deny": ["*push"]}))
    assert (shown(namespace), shown(namespace, PROMPTS)) == (["git__log"], [])
    for name in ("git__push", "push", "files__read", "read"):
        with pytest.raises(InvalidParams):
            namespace.resolve(TOOLS, name)
    assert shown(namespace, RESOURCES) == ["file:///docs/a", "file:///etc/b"]


def test_nothing_allowed_is_nothing(house: House) -> None:
    assert shown(house.at_work(*built_in({"use": "filter", "allow": []}))) == []


@pytest.mark.parametrize("denied", ["git__push", "push", "harmless"])
def test_renamed_tool_is_denied_by_its_former_names_too(house: House, denied: str) -> None:
    tools = {"git__push": ToolOverride(name="harmless")}
    namespace = house.at_work(*built_in({"use": "filter", "deny": [denied]}), tools=tools)
    assert shown(namespace) == ["git__log", "files__read"]


def test_filter_of_resources_is_also_about_templates(house: House) -> None:
    allowed = {"use": "filter", "kinds": ["resources"], "allow": ["file:///docs/*"]}
    namespace = house.at_work(*built_in(allowed))
    assert (shown(namespace, RESOURCES), shown(namespace, TEMPLATES)) == (["file:///docs/a"], [])
    with pytest.raises(InvalidParams):
        namespace.resolve_resource("file:///etc/b")


@given(st.lists(st.sampled_from(["git__*", "*push", "*", "?og", "files__rea?", "x"])), st.booleans())
def test_whatever_is_filtered_out_cannot_be_called(patterns: list[str], denied: bool) -> None:
    namespace = House().at_work(*built_in({"use": "filter", ("deny" if denied else "allow"): patterns}))
    for name in ("git__log", "git__push", "files__read", "log", "push", "read"):
        if name in shown(namespace):
            assert namespace.resolve(TOOLS, name).stacks
        else:
            with pytest.raises(InvalidParams):
                namespace.resolve(TOOLS, name)


def test_overrides_change_many_and_leave_the_other_bytes(house: House) -> None:
    change = {"use": "overrides", "match": ["git__*"], "descriptionPrefix": "ask first. ", "titlePrefix": "Git: "}
    (namespace,) = [house.at_work(*built_in(change | {"annotations": {"destructiveHint": True}}))]
    log, _, read = json.loads(namespace.listing(TOOLS))["tools"]
    assert log == {
        "name": "git__log", "title": "Git: T", "description": "ask first. ", "annotations": {"destructiveHint": True},
    }  # fmt: skip
    assert read == {"name": "files__read"}


def test_list_goes_through_its_middleware_in_order(house: House) -> None:
    class First(Middleware):
        def on_list(self, kind: str, items: list[Listed], context: Context) -> list[Listed]:
            for item in items:
                item.put("title", f"{item.get('title', '')}1")
            return list(reversed(items))

    class Second(Middleware):
        def on_list(self, kind: str, items: list[Listed], context: Context) -> list[Listed]:
            for item in items:
                item.put("title", f"{item.get('title', '')}2")
            return items

    namespace = house.at_work(own(First), own(Second))
    titles = [(body["name"], body["title"]) for body in json.loads(namespace.listing(TOOLS))["tools"]]
    assert titles == [("files__read", "12"), ("git__push", "T12"), ("git__log", "T12")]


def test_list_whose_middleware_fails_is_that_error_and_nothing_of_it_can_be_called(house: House) -> None:
    namespace = house.at_work(own(Broken))
    with pytest.raises(MiddlewareFailed, match="'Broken' of namespace 'n'") as caught:
        namespace.listing(TOOLS)
    assert "secret" not in str(caught.value.as_jsonrpc())
    with pytest.raises(MiddlewareFailed):
        namespace.resolve(TOOLS, "git__log")
    assert namespace.problems[0].startswith("tools: middleware 'Broken'")
    assert set(house.failures) == {("n", "Broken")}


def test_middleware_cannot_add_what_it_was_not_given_nor_rename(house: House) -> None:
    class Adds(Middleware):
        def on_list(self, kind: str, items: list[Listed], context: Context) -> list[Listed]:
            return [*items, Listed("git", "push", "free", "name", {})]

    class Twice(Middleware):
        def on_list(self, kind: str, items: list[Listed], context: Context) -> list[Listed]:
            return [*items, *items]

    class Renames(Middleware):
        def on_list(self, kind: str, items: list[Listed], context: Context) -> list[Listed]:
            items[0].put("name", "free")
            return items

    for made in (Adds, Twice, Renames):
        with pytest.raises(MiddlewareFailed):
            house.at_work(own(made)).listing(TOOLS)


def test_middleware_that_cannot_be_made_lets_nothing_through(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_TOKEN", raising=False)
    namespace = house.at_work(*built_in({"use": "redact", "values": ["${NO_SUCH_TOKEN}"]}))
    with pytest.raises(MiddlewareFailed, match="'redact'"):
        namespace.listing(TOOLS)


def test_outer_namespace_shows_the_others_when_the_middleware_within_fails(house: House) -> None:
    inner = NamespaceSpec("in", ("git",), middleware=(own(Broken),))
    namespace = house.at_work(servers=("files",), namespaces=(inner,))
    assert shown(namespace) == ["files__read"]
    assert "namespace 'in'" in namespace.problems[0]
    with pytest.raises(MiddlewareFailed):
        namespace.resolve(TOOLS, "git__log")


def test_filter_of_a_namespace_within_holds_in_the_outer_one_and_calls_go_through_both(house: House) -> None:
    inner = NamespaceSpec("in", ("git",), middleware=built_in({"use": "filter", "deny": ["*push"]}))
    namespace = house.at_work(*built_in({"use": "call-log"}), servers=("files",), namespaces=(inner,))
    assert shown(namespace) == ["files__read", "git__log"]
    assert [stack.namespace for stack in namespace.resolve(TOOLS, "git__log").stacks] == ["in", "n"]
    assert [stack.namespace for stack in namespace.resolve(TOOLS, "files__read").stacks] == ["n"]


def test_middleware_is_made_once_for_each_configuration_of_its_namespace(house: House) -> None:
    made: list[Middleware] = []

    class Counted(Middleware):
        def __init__(self, options: Any) -> None:
            super().__init__(options)
            made.append(self)

    namespace = house.at_work(own(Counted))
    namespace.rebuild()
    namespace.follow(NamespaceSpec("n", ("git",), middleware=(own(Counted),)))
    assert len(made) == 1
    namespace.follow(NamespaceSpec("n", ("git",), middleware=(own(Counted), *built_in({"use": "call-log"}))))
    assert len(made) == 2


def test_namespace_without_middleware_has_no_stack_on_its_routes(house: House) -> None:
    assert house.at_work().resolve(TOOLS, "git__log").stacks == ()
