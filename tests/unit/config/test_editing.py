"""A document of the configuration in which one thing is another one, and all else as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config import editing
from metamcp.config.editing import Edit, Taken, Unknown, edited, items, merged
from metamcp.config.schema import servers_from
from metamcp.errors import ConfigInvalid

NAMED = {"mcpServers": {"a": {"command": "x"}, "b": {"command": "y"}}}
LISTED = {"servers": [{"name": "a", "command": "x"}, {"command": "y", "name": "b"}]}
BARE = LISTED["servers"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.parametrize("document", [NAMED, LISTED, BARE], ids=["named", "listed", "bare"])
def test_servers_in_each_form(document: Any) -> None:
    before = json.dumps(document)
    assert items(document, "servers") == NAMED["mcpServers"]
    more = edited(document, Edit("servers", "c", "create", {"name": "c", "command": "z"}))
    changed = edited(more, Edit("servers", "a", "change", {"args": ["1"]}))
    replaced = edited(changed, Edit("servers", "b", "replace", {"command": "w"}))
    less = edited(replaced, Edit("servers", "a", "delete"))
    assert items(changed, "servers")["a"] == {"command": "x", "args": ["1"]}
    assert list(items(changed, "servers")) == ["a", "b", "c"], "in the order of the file"
    assert items(less, "servers") == {"b": {"command": "w"}, "c": {"command": "z"}}
    assert {name: spec.command for name, spec in servers_from(less).servers.items()} == {"b": "w", "c": "z"}
    assert json.dumps(document) == before


@pytest.mark.parametrize("document", [NAMED, LISTED, BARE], ids=["named", "listed", "bare"])
def test_what_counts_unwritten_is_listed_and_written_before_it_is_changed(document: Any) -> None:
    assert items(document, "namespaces") == {"default": {"servers": ["a", "b"]}}
    assert items(document, "endpoints") == {"default": {"namespace": "default"}}
    closed = servers_from(edited(document, Edit("endpoints", "default", "change", {"auth": "api-key"})))
    assert closed.endpoints["default"].auth == "api-key" and closed.namespaces["default"].servers == ("a", "b")
    few = servers_from(edited(document, Edit("namespaces", "few", "create", {"servers": ["b"]})))
    assert set(few.namespaces) == {"default", "few"} and set(few.endpoints) == {"default"}


def test_keys_keep_their_order() -> None:
    listed = edited(LISTED, Edit("servers", "b", "replace", {"name": "b", "enabled": False, "command": "w"}))
    assert json.dumps(listed["servers"][1]) == '{"command": "w", "name": "b", "enabled": false}'
    document = {"mcpServers": {"a": {"command": "x", "env": {}, "args": []}}}
    named = edited(document, Edit("servers", "a", "replace", {"warm": 1, "args": ["1"], "command": "x"}))
    assert json.dumps(named["mcpServers"]["a"]) == '{"command": "x", "args": ["1"], "warm": 1}'


def test_a_list_without_names_becomes_one_with_them_only_where_it_must() -> None:
    assert isinstance(edited(BARE, Edit("servers", "a", "delete")), list)
    assert set(edited(BARE, Edit("endpoints", "x", "create", {"namespace": "default"}))) == {"servers", "endpoints"}


def test_rules_are_texts_or_objects_and_have_an_order() -> None:
    document = {"images": ["a", {"image": "b/*", "pin": True}], "bindRoots": ["/x"]}
    assert items(document, "images") == {"a": {}, "b/*": {"pin": True}}
    assert edited(document, Edit("images", "c", "create", {"image": "c"}))["images"][-1] == "c"
    first = edited(document, Edit("images", "c", "create", {"image": "c", "pin": True}, before="a"))
    assert first["images"][:2] == [{"image": "c", "pin": True}, "a"]
    assert edited(document, Edit("images", "a", "change", {"user": "1"}))["images"][0] == {"image": "a", "user": "1"}
    assert edited(document, Edit("images", "a", "replace", {}))["images"][0] == "a"
    assert edited(document, Edit("images", "b/*", "delete")) == {"images": ["a"], "bindRoots": ["/x"]}
    assert edited({}, Edit("images", "a", "create", {})) == {"images": ["a"]}
    with pytest.raises(Unknown):
        edited(document, Edit("images", "c", "create", {}, before="nothing"))


def test_what_cannot_be_done() -> None:
    with pytest.raises(Taken):
        edited(NAMED, Edit("servers", "a", "create", {"command": "x"}))
    for how in ("change", "delete"):
        with pytest.raises(Unknown, match="configured: a, b"):
            edited(NAMED, Edit("servers", "c", how, {}))  # type: ignore[arg-type]
    with pytest.raises(Taken, match="more than once"):
        edited({"images": ["a", "a"]}, Edit("images", "a", "delete"))
    for body, path in (({"name": "z"}, "name"), ({"env": {"TOKEN": "***"}}, "env.TOKEN")):
        with pytest.raises(ConfigInvalid) as refused:
            edited(NAMED, Edit("servers", "a", "change", body))
        assert [where for where, _ in refused.value.problems] == [f"servers.json: mcpServers.a.{path}"]
    for text in ("[]", "5", "{", '{"a": 1, "a": 2}'):
        with pytest.raises(ConfigInvalid):
            editing.body_of(text)


def test_paths_are_those_of_problems() -> None:
    assert editing.path(NAMED, "servers", "b") == "servers.json: mcpServers.b"
    assert editing.path(LISTED, "servers", "b") == "servers.json: servers[1]"
    assert editing.path({"images": ["a"]}, "images", "new") == "allowlist.json: images[1]"


# --- RFC 7396 ----------------------------------------------------------------------------------------------

EXAMPLES = [  # its appendix A
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "expected"), EXAMPLES)
def test_the_examples_of_the_specification(target: Any, patch: Any, expected: Any) -> None:
    assert merged(target, patch) == expected


@given(JSON, JSON)
def test_a_patch_that_was_made_changes_nothing_any_more_and_leaves_its_target(target: Any, patch: Any) -> None:
    before = json.dumps(target)
    once = merged(target, patch)
    assert merged(once, patch) == once
    assert json.dumps(target) == before
