"""Many servers as one listing, and the way back from a name to its server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metamcp.config.model import NamespaceSpec, ToolOverride
from metamcp.errors import InvalidParams, MetaMCPError, RefusedByPolicy, ServerUnavailable, server_unavailable
from metamcp.gateway.listings import KINDS, PROMPTS, RESOURCES, TEMPLATES, TOOLS, Entry, Item, Kind
from metamcp.gateway.merging import Route, View, merge
from metamcp.gateway.namespace import Namespace
from metamcp.protocol.jsonrpc import decode_object, decode_string


def items(kind: Kind, *bodies: bytes | str) -> tuple[Item, ...]:
    """Items of raw bodies; a plain text is an item of that name alone."""
    raw = [body if isinstance(body, bytes) else json.dumps({kind.identity: body}).encode() for body in bodies]
    found = [decode_object(body) for body in raw]
    return tuple(Item(decode_string(body[kind.identity], "identity"), body) for body in found)


def entry(server: str, tools: tuple[Item, ...] = (), says: str = "", **more: Any) -> Entry:
    capabilities = decode_object(json.dumps(more.pop("capabilities", {"tools": {}})).encode())
    return Entry(server, capabilities, says, {"tools": tools, **more})


def shown(view: View, kind: Kind = TOOLS) -> list[str]:
    return [item[kind.identity] for item in json.loads(view.listings[kind.name])[kind.member]]


GIT = entry("git", items(TOOLS, "status", "log"))
TIME = entry("time", items(TOOLS, "now"))
BOTH = NamespaceSpec("all", ("git", "time"))
PLAIN = NamespaceSpec("all", ("git", "time"), prefix=False)


# --- merging -----------------------------------------------------------------------------------------------


def test_listing_joins_the_servers_in_their_order_under_prefixed_names() -> None:
    view = merge(BOTH, [GIT, TIME])
    assert shown(view) == ["git__status", "git__log", "time__now"]
    assert view.routes["tools"]["git__log"] == Route("git", "log")
    assert view.problems == ()


def test_every_kind_has_a_listing_even_an_empty_one() -> None:
    view = merge(BOTH, ())
    assert [json.loads(view.listings[kind.name]) for kind in KINDS] == [{kind.member: []} for kind in KINDS]


def test_members_other_than_the_name_stay_byte_for_byte_and_in_order() -> None:
    body = b'{"x-big":123456789012345678901,"name":"t","inputSchema":{"b" : 1.50,"a":"\\u0041/\\/"},"_meta":{}}'
    view = merge(BOTH, [entry("git", items(TOOLS, body))])
    assert view.listings["tools"] == b'{"tools":[%s]}' % body.replace(b'"name":"t"', b'"name":"git__t"')


def test_unprefixed_names_are_the_servers_own() -> None:
    view = merge(PLAIN, [GIT, TIME])
    assert shown(view) == ["status", "log", "now"]
    assert view.problems == ()


def test_of_two_equal_unprefixed_names_the_second_gets_its_prefix_and_is_reported() -> None:
    view = merge(PLAIN, [GIT, entry("time", items(TOOLS, "status"))])
    assert shown(view) == ["status", "log", "time__status"]
    assert view.routes["tools"]["status"] == Route("git", "status")
    assert view.problems == ("tools: 'status' of 'time' is shown as 'time__status'",)


def test_a_name_that_a_server_lists_twice_is_shown_once_and_reported() -> None:
    view = merge(BOTH, [entry("git", items(TOOLS, "status", "status"))])
    assert shown(view) == ["git__status"]
    assert view.problems == ("tools: 'status' of 'git' is hidden by another one",)


def test_prompts_are_named_like_tools() -> None:
    view = merge(BOTH, [entry("git", prompts=items(PROMPTS, "review"))])
    assert shown(view, PROMPTS) == ["git__review"]


def test_addresses_of_resources_are_never_changed_and_the_first_server_wins() -> None:
    one = entry("git", resources=items(RESOURCES, "file:///a"))
    other = entry("time", resources=items(RESOURCES, "file:///a", "file:///b"))
    view = merge(BOTH, [one, other])
    assert shown(view, RESOURCES) == ["file:///a", "file:///b"]
    assert view.routes["resources"]["file:///a"].server == "git"
    assert view.problems == ("resources: 'file:///a' of 'time' is hidden by another one",)


def test_capabilities_are_the_union_with_list_changed() -> None:
    view = merge(BOTH, [
        entry("git", capabilities={"tools": {}, "logging": {}}),
        entry("time", capabilities={"resources": {"subscribe": True}, "completions": {}, "experimental": {}}),
    ])
    assert json.loads(view.capabilities) == {
        "tools": {"listChanged": True}, "resources": {"listChanged": True, "subscribe": True}, "completions": {},
        "logging": {},
    }
    assert view.declared == {"tools", "resources", "completions", "logging"}


def test_subscriptions_are_offered_only_where_a_server_has_them() -> None:
    view = merge(BOTH, [entry("time", capabilities={"resources": {"subscribe": False}})])
    assert json.loads(view.capabilities) == {"resources": {"listChanged": True}}


def test_arguments_that_headers_repeat_are_known_by_exposed_name() -> None:
    def described(name: str, annotation: str) -> bytes:
        properties = {"region": {"type": "string", "x-mcp-header": annotation}}
        return json.dumps({"name": name, "inputSchema": {"type": "object", "properties": properties}}).encode()

    view = merge(BOTH, [entry("git", items(TOOLS, described("good", "Region"), described("bad", "no token")))])
    assert view.mirrored == {"git__good": {"Region": ("region",)}}


def test_instructions_are_joined_under_the_servers_names() -> None:
    view = merge(BOTH, [entry("git", says="Use git."), entry("time", says="")])
    assert view.instructions == "# git\n\nUse git."


# --- overrides ---------------------------------------------------------------------------------------------


def test_a_disabled_tool_is_neither_shown_nor_callable() -> None:
    view = merge(NamespaceSpec("n", ("git",), tools={"git__log": ToolOverride(enabled=False)}), [GIT])
    assert shown(view) == ["git__status"]
    assert "git__log" not in view.routes["tools"]


def test_a_renamed_tool_leads_to_its_server_by_its_new_name_alone() -> None:
    view = merge(NamespaceSpec("n", ("git",), tools={"git__log": ToolOverride(name="history")}), [GIT])
    assert shown(view) == ["git__status", "history"]
    assert view.routes["tools"]["history"] == Route("git", "log")
    assert "git__log" not in view.routes["tools"]


def test_an_override_replaces_texts_and_adds_to_annotations() -> None:
    body = b'{"name":"log","description":"old","annotations":{"readOnlyHint":false,"k":1},"inputSchema":{}}'
    override = ToolOverride(title="Log", description="new", annotations={"readOnlyHint": True})
    view = merge(NamespaceSpec("n", ("git",), tools={"git__log": override}), [entry("git", items(TOOLS, body))])
    (tool,) = json.loads(view.listings["tools"])["tools"]
    assert (tool["title"], tool["description"]) == ("Log", "new")
    assert tool["annotations"] == {"readOnlyHint": True, "k": 1}


def test_a_new_name_that_is_taken_is_not_given_twice() -> None:
    spec = NamespaceSpec("n", ("git",), tools={"git__log": ToolOverride(name="git__status")})
    assert shown(merge(spec, [GIT])) == ["git__status", "git__log"]


def test_overrides_do_not_touch_prompts_of_the_same_name() -> None:
    spec = NamespaceSpec("n", ("git",), tools={"git__log": ToolOverride(enabled=False)})
    assert shown(merge(spec, [entry("git", prompts=items(PROMPTS, "log"))]), PROMPTS) == ["git__log"]


# --- at work -----------------------------------------------------------------------------------------------


class House:
    """A namespace over a catalog that is a dict."""

    def __init__(self, spec: NamespaceSpec, *entries: Entry) -> None:
        self.entries = {one.server: one for one in entries}
        self.problems: dict[str, MetaMCPError] = {}
        self.namespace = Namespace(spec, self.entries.get, self.problems.get)
        self.namespace.rebuild()


def test_rebuild_tells_the_kinds_whose_listing_is_another_one() -> None:
    house = House(BOTH, GIT)
    assert house.namespace.rebuild() == ()
    house.entries["time"] = entry("time", items(TOOLS, "now"), prompts=items(PROMPTS, "p"))
    assert house.namespace.rebuild() == (TOOLS, PROMPTS)
    assert shown(house.namespace.view) == ["git__status", "git__log", "time__now"]


def test_resolve_finds_the_server_and_its_own_name() -> None:
    assert House(BOTH, GIT, TIME).namespace.resolve(TOOLS, "git__status") == Route("git", "status")


def test_unknown_names_are_the_clients_mistake() -> None:
    namespace = House(BOTH, GIT, TIME).namespace
    for kind, name in ((TOOLS, "git__nope"), (PROMPTS, "git__status"), (TOOLS, "status")):
        with pytest.raises(InvalidParams, match="unknown") as caught:
            namespace.resolve(kind, name)
        assert caught.value.code == -32602


def test_a_name_of_a_missing_server_raises_unavailable_with_its_reason() -> None:
    house = House(BOTH, GIT)
    house.problems["time"] = ServerUnavailable("it exited with code 3")
    with pytest.raises(ServerUnavailable, match="it exited with code 3") as caught:
        house.namespace.resolve(TOOLS, "time__now")
    assert caught.value.data["server"] == "time"
    with pytest.raises(InvalidParams):
        house.namespace.resolve(TOOLS, "git__nope")


def test_a_name_of_a_server_that_policy_refuses_raises_that_refusal() -> None:
    house = House(BOTH, GIT)
    house.problems["time"] = RefusedByPolicy("the image is not allowed", server="time", rule="image-not-allowed")
    with pytest.raises(RefusedByPolicy, match="not allowed") as caught:
        house.namespace.resolve(TOOLS, "time__now")
    assert caught.value.data["rule"] == "image-not-allowed"


def test_an_unprefixed_unknown_name_may_be_of_any_missing_server() -> None:
    with pytest.raises(ServerUnavailable, match="it has not been asked yet"):
        House(PLAIN, GIT).namespace.resolve(TOOLS, "now")


def test_missing_names_every_absent_server_with_its_reason() -> None:
    house = House(NamespaceSpec("n", ("git", "time", "web")), GIT)
    house.problems["web"] = ServerUnavailable("no such program")
    assert house.namespace.missing() == {"time": "it has not been asked yet", "web": "no such program"}


# --- resources ---------------------------------------------------------------------------------------------

FILES = entry(
    "files", resources=items(RESOURCES, "db://users/1"), templates=items(TEMPLATES, "db://{table}", "file:///{path}")
)
USERS = entry("users", templates=items(TEMPLATES, "db://users/{id}"))


@pytest.mark.parametrize(
    ("uri", "server"),
    [("db://users/1", "files"), ("db://users/2", "users"), ("db://orders", "files"), ("file:///a/b", "files")],
)
def test_a_resource_leads_to_its_lister_else_to_the_longest_fitting_template(uri: str, server: str) -> None:
    namespace = House(NamespaceSpec("n", ("files", "users")), FILES, USERS).namespace
    assert namespace.resolve_resource(uri) == Route(server, uri)


def test_a_template_itself_leads_to_its_server() -> None:
    namespace = House(NamespaceSpec("n", ("files", "users")), FILES, USERS).namespace
    assert namespace.resolve_resource("db://users/{id}").server == "users"


def test_an_unknown_resource_is_reported_with_its_address() -> None:
    with pytest.raises(InvalidParams) as caught:
        House(BOTH, GIT, TIME).namespace.resolve_resource("file:///nope")
    assert (caught.value.code, caught.value.data) == (-32002, {"uri": "file:///nope"})


def test_why_a_server_cannot_be_used_is_said_once() -> None:
    space = Namespace(BOTH, lambda _server: None, lambda server: server_unavailable(server, "BACKOFF", "it is down"))
    with pytest.raises(ServerUnavailable) as caught:
        space.resolve(TOOLS, "git__status")
    assert caught.value.text == "server 'git' is unavailable: it is down"
