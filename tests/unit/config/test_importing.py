"""Configurations of others, as they write them, and what becomes of each part."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config.importing.documents import import_documents
from metamcp.config.importing.outcome import Imported, Source
from metamcp.config.importing.servers import fitting_name
from metamcp.config.schema import servers_from
from metamcp.errors import ConfigInvalid

METAMCP = {
    "mcpServers": {
        "Hacker News": {"type": "STDIO", "command": "uvx", "args": ["mcp-hn"], "description": "stories", "env": {}},
        "git": {"type": "stdio", "command": "docker", "args": ["run", "-i", "x/git"], "env": {"A": "b"}, "url": None},
        "search": {
            "type": "STREAMABLE_HTTP", "url": "https://search.example.com/mcp", "bearerToken": "token-in-clear",
            "headers": {"X-Version": "2"},
        },
        "events": {"type": "SSE", "url": "https://events.example.com/sse", "bearerToken": "", "status": "INACTIVE"},
    }
}  # fmt: skip


def imports(*documents: Any) -> Imported:
    return import_documents([Source(document) for document in documents])


def one(body: Any, name: str = "x") -> Imported:
    return imports({"mcpServers": {"other": {"command": "true"}, name: body}})


def made(body: Any) -> dict[str, Any]:
    return one(body).document["mcpServers"]["x"]  # type: ignore[no-any-return]


def test_export_of_metamcp_is_taken_over() -> None:
    imported = imports(METAMCP)
    assert imported.document == {
        "mcpServers": {
            "HackerNews": {"command": "uvx", "args": ["mcp-hn"], "transport": "stdio"},
            "git": {"command": "docker", "args": ["run", "-i", "x/git"], "env": {"A": "b"}, "transport": "stdio"},
            "search": {
                "url": "https://search.example.com/mcp", "transport": "streamable-http",
                "headers": {"Authorization": "Bearer token-in-clear", "X-Version": "2"},
            },
            "events": {"url": "https://events.example.com/sse", "transport": "sse", "enabled": False},
        }
    }  # fmt: skip
    assert imported.notes.left_out == []
    assert imported.notes.changed == [("mcpServers.HackerNews", "is called so here, instead of 'Hacker News'")]
    assert set(servers_from(imported.document).servers) == {"HackerNews", "git", "search", "events"}


@pytest.mark.parametrize(
    ("document", "server"),
    [
        ({"mcpServers": {"x": {"command": "npx", "args": ["-y", "p"]}}}, {"command": "npx", "args": ["-y", "p"]}),
        ({"mcpServers": {"x": {"command": "p", "disabled": True}}}, {"command": "p", "enabled": False}),
        ({"servers": {"x": {"type": "http", "url": "https://a.example"}}, "inputs": [{"id": "k"}]},
         {"url": "https://a.example", "transport": "streamable-http"}),
        ({"mcpServers": {"x": {"serverUrl": "https://a.example"}}}, {"url": "https://a.example"}),
        ({"mcpServers": {"x": {"httpUrl": "https://a.example"}}},
         {"url": "https://a.example", "transport": "streamable-http"}),
        ([{"name": "x", "command": "p", "transport": "stdio"}], {"command": "p", "transport": "stdio"}),
        ({"servers": [{"name": "x", "type": "std", "command": "p"}]}, {"command": "p", "transport": "stdio"}),
        ({"mcpServers": {"x": {"command": "docker", "args": ["run", "i"], "isolation": "shared", "warm": 1}}},
         {"command": "docker", "args": ["run", "i"], "isolation": "shared", "warm": 1}),
    ],
)  # fmt: skip
def test_each_form_is_read(document: Any, server: dict[str, Any]) -> None:
    imported = imports(document)
    assert imported.document["mcpServers"] == {"x": server}
    assert imported.notes.left_out == []


def test_values_that_are_no_texts_become_texts() -> None:
    assert made({"command": "p", "env": {"N": 5, "F": 0.5, "B": True}})["env"] == {"N": "5", "F": "0.5", "B": "true"}


@pytest.mark.parametrize(
    ("written", "ours"),
    [
        ("${TOKEN}", "${TOKEN}"),
        ("${env:TOKEN}", "${TOKEN}"),
        ("Bearer ${input:api-key}", "Bearer ${api_key}"),
        ("${TOKEN:-x}", "${TOKEN:-x}"),
        ("${workspace Folder}/a", "$${workspace Folder}/a"),
        ("${1} and ${A}", "$${1} and $${A}"),
        ("open ${", "open $${"),
    ],
)
def test_variables_of_others_are_ours_or_literal(written: str, ours: str) -> None:
    imported = one({"command": "p", "args": [written], "env": {"A": written}})
    server = imported.document["mcpServers"]["x"]
    assert (server["args"], server["env"]["A"]) == ([ours], ours)
    assert len(imported.notes.changed) == (2 if "$$" in ours else 0)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"command": "p", "autoApprove": ["a"], "cwd": "/x"}, "mcpServers.x.autoApprove"),
        ({"type": "stdio"}, "mcpServers.x.command"),
        ({"command": "p", "url": "https://a.example"}, "mcpServers.x.url"),
        ({"url": "ftp://a.example"}, "mcpServers.x.url"),
        ({"command": "p", "type": "carrier-pigeon"}, "mcpServers.x.transport"),
        ({"command": "p", "env": ["A"]}, "mcpServers.x.env"),
        ({"url": "https://a.example", "headers": "X", "bearerToken": "t"}, "mcpServers.x.headers"),
        ("npx", "mcpServers.x"),
        (None, "mcpServers.x"),
    ],
)
def test_what_has_no_place_here_is_named_and_the_others_are_imported(body: Any, place: str) -> None:
    imported = one(body)
    assert place in [path for path, _ in imported.notes.left_out]
    assert "other" in imported.document["mcpServers"]


@pytest.mark.parametrize(
    ("name", "ours"),
    [("Hacker News", "HackerNews"), ("a__b", "a_b"), ("a_", "a"), ("ä.b-c", "b-c"), ("x" * 40, "x" * 32), ("日本", "")],
)
def test_name_is_the_one_that_metamcp_gives_its_tools(name: str, ours: str) -> None:
    assert fitting_name(name) == ours


def test_names_that_become_equal_or_nothing_are_left_out() -> None:
    servers = {"a b": {"command": "1"}, "ab": {"command": "2"}, "ö": {"command": "3"}}
    imported = imports({"mcpServers": servers})
    assert imported.document["mcpServers"] == {"ab": {"command": "1"}}
    assert [path for path, _ in imported.notes.left_out] == ["mcpServers.ab", "mcpServers.ö"]


SECRETS: list[tuple[dict[str, Any], str, str]] = [
    ({"command": "p", "env": {"API_KEY": "sk_0123456789"}}, "env.API_KEY", "${API_KEY}"),
    ({"command": "p", "env": {"URL": "postgres://u:pw0rd@db/x"}}, "env.URL", "${URL}"),
    ({"command": "docker", "args": ["run", "-e", "TOKEN=sk_0123456789", "i"]}, "args[2]", "${NAME}"),
    ({"command": "docker", "args": ["run", "-eTOKEN=sk_0123456789", "i"]}, "args[1]", "${NAME}"),
    ({"command": "p", "args": ["--api-key", "sk_0123456789"]}, "args[1]", "${NAME}"),
    ({"command": "p", "args": ["--api-key=sk_0123456789"]}, "args[0]", "${NAME}"),
    ({"command": "npx", "args": ["mcp-remote", "https://a.example", "--header", "Authorization: Bearer sk_0123456789"]},
     "args[3]", "${NAME}"),
    ({"command": "p", "args": ["redis://:sk_0123456789@db"]}, "args[0]", "${NAME}"),
    ({"url": "https://a.example", "bearerToken": "sk_0123456789"}, "headers.Authorization", "Bearer ${X_AUTH"),
    ({"url": "https://a.example", "headers": {"X-API-Key": "sk_0123456789"}}, "headers.X-API-Key", "${X_X_API_KEY}"),
    ({"url": "https://u:sk_0123456789@a.example"}, "url", "${X_PASSWORD}"),
]


@pytest.mark.parametrize(("body", "place", "form"), SECRETS)
def test_secret_in_clear_is_pointed_out_and_not_repeated(body: dict[str, Any], place: str, form: str) -> None:
    notes = one(body).notes
    [(path, text)] = notes.secrets
    assert path == f"mcpServers.x.{place}" and form in text
    assert "0123456789" not in text and "pw0rd" not in text


@pytest.mark.parametrize(
    "body",
    [
        {"command": "p", "env": {"API_KEY": "${API_KEY}", "MODE": "production", "AUTH": "none"}},
        {"url": "https://a.example", "headers": {"Authorization": "Bearer ${TOKEN}"}},
        {"command": "p", "args": ["--token", "${TOKEN}", "--key-file=/run/key", "--key-file", "/run/keys/1"]},
    ],
)
def test_what_is_no_secret_in_clear_is_not_pointed_out(body: dict[str, Any]) -> None:
    assert one(body).notes.secrets == []


NAMESPACE = {
    "version": 1,
    "exportedAt": "2026-07-31T10:00:00.000Z",
    "namespace": {
        "name": "release",
        "description": "Tools for releases",
        "servers": [
            {"name": "Hacker News", "status": "ACTIVE"}, {"name": "git", "status": "INACTIVE"},
            {"name": "gone", "status": "ACTIVE"},
        ],
        "tools": [
            {"server": "Hacker News", "name": "top", "status": "INACTIVE"},
            {"server": "Hacker News", "name": "get", "status": "ACTIVE", "override": {
                "name": "fetch", "title": "Fetch", "description": "", "annotations": {"readOnlyHint": True, "own": 1}}},
            {"server": "gone", "name": "x", "status": "INACTIVE"},
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("documents", [[METAMCP, NAMESPACE], [NAMESPACE, METAMCP]])
def test_namespace_gets_an_endpoint_of_its_name_that_asks_for_a_key(documents: list[Any]) -> None:
    imported = imports(*documents)
    assert imported.document["namespaces"] == {
        "release": {
            "servers": ["HackerNews", "git"],
            "disabled": ["git"],
            "tools": {
                "HackerNews__top": {"enabled": False},
                "HackerNews__get": {
                    "name": "HackerNews__fetch", "title": "Fetch", "description": "",
                    "annotations": {"readOnlyHint": True},
                },
            },
        }
    }  # fmt: skip
    assert imported.document["endpoints"] == {"release": {"namespace": "release", "auth": "api-key"}}
    told = "\n".join(f"{path} {text}" for path, text in imported.notes.left_out)
    assert "'gone' is no imported server" in told and "annotations.own" in told


def test_own_namespaces_and_endpoints_are_kept() -> None:
    ours = {"namespaces": {"n": {"servers": ["a"]}}, "endpoints": {"e": {"namespace": "n"}}}
    document = {"mcpServers": {"a": {"command": "p"}}, **ours, "preferences": {}}
    imported = imports(document)
    assert imported.document == {"mcpServers": {"a": {"command": "p"}}, **ours}
    assert imported.notes.left_out == [("preferences", "has no meaning here")]


@pytest.mark.parametrize("document", [{}, [], 7, "x", None, {"mcpServers": {}}, {"mcpServers": {"x": {}}}, NAMESPACE])
def test_nothing_to_take_over_is_a_mistake(document: Any) -> None:
    with pytest.raises(ConfigInvalid, match="no server that can be taken over"):
        imports(document)


LEAF = st.none() | st.booleans() | st.integers() | st.text(max_size=12)
KEYS = st.sampled_from(
    ["command", "args", "env", "url", "headers", "type", "bearerToken", "name", "disabled", "servers", "mcpServers",
     "namespace", "namespaces", "endpoints", "tools", "override", "status", "registry", "image", "remote", "secrets",
     "volumes", "config", "snapshot", "uuid", "enable_api_key_auth", "disabledTools", "mcp", "inputs", "ref"]
) | st.text(max_size=6)  # fmt: skip
JSON = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))


def test_server_in_no_namespace_is_told() -> None:
    imported = imports(METAMCP, NAMESPACE)
    told = [path for path, text in imported.notes.left_out if "is in no namespace" in text]
    assert told == ["mcpServers.search", "mcpServers.events"], "git is a member that is off"


def test_what_a_catalog_would_enable_is_nothing_without_it() -> None:
    with pytest.raises(ConfigInvalid, match="give the catalog, too"):
        imports({"registry": {"a": {"ref": ""}}})


def test_tool_that_is_on_in_a_namespace_stays_on() -> None:
    ours = {"namespaces": {"n": {"servers": ["a"], "tools": {"a__t": {"enabled": True}}}},
            "endpoints": {"e": {"namespace": "n"}}}  # fmt: skip
    imported = imports({"mcpServers": {"a": {"command": "p", "disabledTools": ["t", "u"]}}, **ours})
    tools = imported.document["namespaces"]["n"]["tools"]
    assert tools == {"a__t": {"enabled": True}, "a__u": {"enabled": False}}
    assert [path for path, _ in imported.notes.changed] == ["namespaces.n.tools.a__u"]


HOSTILE = [
    ({"mcpServers": {"x": {"command": "p", "args": "a"}}}, "args"),
    ({"mcpServers": {"x": {"command": "p", "args": [{"a": 1}]}}}, "args"),
    ({"mcpServers": {"x": {"command": ["p"], "args": []}}}, "command"),
    ({"mcpServers": {"x": {"command": "p\0", "args": []}}}, "command"),
    ({"mcpServers": {"x": {"command": "p", "env": {"A B": "c"}}}}, "env"),
    ({"mcpServers": {"x": {"command": "p", "env": {"A": {"b": "c"}}}}}, "env"),
    ({"mcpServers": {"x": {"url": "https://a.example", "headers": {"A": "b\r\nC: d"}}}}, "headers"),
    ({"mcpServers": {"x": {"url": "http://[::1", "headers": {}}}}, "url"),
    ({"mcpServers": {"x": {"transport": {"type": {"a": 1}}, "command": "p"}}}, "transport"),
    ({"registry": {"x": {"image": ["a"]}}}, "args"),
    ({"registry": {"x": {"image": "a", "env": [{"name": "A=B", "value": "c"}]}}}, "env"),
    ({"registry": {"x": {"image": "a", "user": "root; rm"}}}, "user"),
    ({"registry": {"x": {"type": "remote", "remote": {"url": 7}}}}, "url"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "key"), HOSTILE)
def test_server_with_a_value_that_cannot_be_is_left_out_with_its_path(document: Any, key: str) -> None:
    imported = imports({"mcpServers": {"other": {"command": "true"}}}, document)
    assert set(imported.document["mcpServers"]) == {"other"}
    assert any(place.startswith(f"mcpServers.x.{key}") for place, _ in imported.notes.left_out)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"image": "a", "env": "A=b"}, "registry.x.env[0]"),
        ({"image": "a", "env": [{"name": "A", "value": ["b"]}]}, "registry.x.env[0]"),
        ({"image": "a", "secrets": [7]}, "registry.x.secrets[0]"),
        ({"image": "a", "secrets": [{"name": "s"}]}, "registry.x.secrets[0]"),
        ({"image": "a", "volumes": ["--privileged"]}, "registry.x.volumes"),
        ({"image": "a", "volumes": [{"a": 1}]}, "registry.x.volumes[0]"),
        ({"image": "a", "extraHosts": ["-v/:/host"]}, "registry.x.extraHosts"),
        ({"image": "a", "command": ["{{x.path}}"]}, "registry.x.command[0]"),
    ],
)
def test_part_of_a_catalog_that_cannot_be_is_left_out_with_its_path(body: Any, place: str) -> None:
    imported = imports({"registry": {"x": body}})
    assert imported.document["mcpServers"]["x"]["args"] == ["run", "-i", "--rm", "a"]
    assert place in [found for found, _ in imported.notes.left_out]


def test_more_servers_than_anybody_has_are_imported_in_seconds() -> None:
    document = {"mcpServers": {f"s{at}": {"command": "p", "env": {"A": "b"}} for at in range(1000)}}
    began = time.monotonic()
    assert len(imports(document).document["mcpServers"]) == 1000
    assert time.monotonic() - began < 30


@given(st.lists(JSON, max_size=3))
def test_whatever_is_imported_is_a_valid_configuration(documents: list[Any]) -> None:
    try:
        imported = imports(*documents)
    except ConfigInvalid:
        return
    servers_from(json.loads(json.dumps(imported.document)))
