"""``servers.json`` and ``allowlist.json``: what is accepted, what it becomes, and every mistake with its path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config import allowlist_schema, nesting, schema
from metamcp.config.fields import Strict, key_names
from metamcp.config.model import Allowance, ImageRule, Limits, OAuthSpec, ServerSpec, Timeouts, ToolOverride
from metamcp.errors import ConfigInvalid

ROOT = Path(__file__).resolve().parents[3]
DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def problems(document: Any, parse: Any = schema.parse_servers) -> dict[str, str]:
    with pytest.raises(ConfigInvalid) as caught:
        parse(document if isinstance(document, str) else json.dumps(document))
    return dict(caught.value.problems)


def one_server(**keys: Any) -> ServerSpec:
    body = {"command": "cat", **keys}
    return schema.parse_servers(json.dumps({"mcpServers": {"git": body}})).servers["git"]


def server_problems(**keys: Any) -> dict[str, str]:
    found = problems({"mcpServers": {"git": {"command": "cat", **keys}}})
    return {path.removeprefix("mcpServers.git."): text for path, text in found.items()}


def allowlist_problems(document: Any) -> dict[str, str]:
    return problems(document, allowlist_schema.parse_allowlist)


# --- what is accepted --------------------------------------------------------------------------------------


def test_every_key_of_a_server_arrives_in_its_record() -> None:
    made = one_server(
        args=["-u", ""],
        env={"TOKEN": "${GIT_TOKEN}"},
        transport="stdio",
        enabled=False,
        isolation="shared",
        warm=1,
        maxInstances=3,
        idleSeconds=5,
        network="none",
        limits={"memory": "64m", "cpus": 0.5, "pids": 128},
        timeouts={"start": 3, "call": 6, "total": 60},
        era="modern",
    )
    assert made == ServerSpec(
        name="git",
        command="cat",
        args=("-u", ""),
        env={"TOKEN": "${GIT_TOKEN}"},
        enabled=False,
        isolation="shared",
        warm=1,
        max_instances=3,
        idle_seconds=5.0,
        network="none",
        limits=Limits(64 * 1024**2, 0.5, 128),
        timeouts=Timeouts(3.0, 6.0, 60.0),
        era="modern",
    )


def test_only_a_command_is_needed_and_the_rest_has_the_defaults_of_the_record() -> None:
    assert one_server() == ServerSpec(name="git", command="cat")


def test_a_url_alone_means_streamable_http() -> None:
    made = schema.servers_from({"mcpServers": {"far": {"url": "https://mcp.example.com/mcp", "headers": {"A": "b"}}}})
    assert made.servers["far"].transport == "streamable-http"
    assert made.servers["far"].headers == {"A": "b"}


@pytest.mark.parametrize("wrap", [lambda listed: listed, lambda listed: {"servers": listed}])
def test_list_of_servers_is_accepted_alone_and_under_servers(wrap: Any) -> None:
    listed = [
        {"name": "b", "command": "cat", "args": ["x"], "transport": "stdio"},
        {"name": "a", "type": "SSE", "url": "http://h/"},
    ]
    made = schema.servers_from(wrap(listed))
    assert list(made.servers) == ["b", "a"]
    assert made.servers["b"].args == ("x",)
    assert made.servers["a"].transport == "sse"


@pytest.mark.parametrize("key", ["type", "transport"])
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("SSE", "sse"),
        ("sse", "sse"),
        ("STREAMABLE_HTTP", "streamable-http"),
        ("streamable_http", "streamable-http"),
        ("streamable-http", "streamable-http"),
        ("http", "streamable-http"),
    ],
)
def test_every_spelling_of_a_remote_transport_is_understood(key: str, written: str, meant: str) -> None:
    made = schema.servers_from({"mcpServers": {"far": {"url": "http://h/", key: written}}})
    assert made.servers["far"].transport == meant


@pytest.mark.parametrize("written", ["STDIO", "stdio", "Stdio"])
def test_every_spelling_of_stdio_is_understood(written: str) -> None:
    assert one_server(type=written).transport == "stdio"


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("512m", 512 << 20),
        ("1g", 1 << 30),
        ("1.5G", 3 << 29),
        ("8192k", 8 << 20),
        ("64MiB", 64 << 20),
        ("64mb", 64 << 20),
        ("8388608", 8 << 20),
        (8388608, 8 << 20),
        ("6m", 6 << 20),
    ],
)
def test_sizes_are_bytes_or_texts_with_a_unit(written: Any, size: int) -> None:
    assert one_server(limits={"memory": written}).limits.memory == size


def test_without_namespaces_and_endpoints_one_of_each_serves_everything_openly() -> None:
    made = schema.servers_from({"mcpServers": {"a": {"command": "x"}, "b": {"command": "y", "enabled": False}}})
    assert made.namespaces["default"].servers == ("a", "b")
    assert made.namespaces["default"].prefix is True
    assert made.endpoints["default"].namespace == "default"
    assert made.endpoints["default"].auth == "none"
    assert len(made.namespaces) == len(made.endpoints) == 1


def test_endpoints_alone_may_serve_the_default_namespace() -> None:
    made = schema.servers_from(
        {"mcpServers": {"a": {"command": "x"}}, "endpoints": {"safe": {"namespace": "default", "auth": "api-key"}}}
    )
    assert list(made.endpoints) == ["safe"]
    assert made.namespaces["default"].servers == ("a",)


def test_namespace_with_overrides_arrives_in_its_record() -> None:
    made = schema.servers_from(
        {
            "mcpServers": {"git": {"command": "x"}},
            "namespaces": {
                "dev": {
                    "servers": ["git"],
                    "tools": {
                        "git__push": {"enabled": False},
                        "git__log": {"name": "log", "title": "History", "annotations": {"readOnlyHint": True}},
                    },
                }
            },
            "endpoints": {"dev": {"namespace": "dev", "auth": "api-key"}},
        }
    )
    assert made.namespaces["dev"].tools == {
        "git__push": ToolOverride(enabled=False),
        "git__log": ToolOverride(name="log", title="History", annotations={"readOnlyHint": True}),
    }
    assert made.endpoints["dev"].auth == "api-key"


def test_namespace_within_another_one_arrives_within_its_record() -> None:
    made = schema.servers_from(
        {
            "mcpServers": {name: {"command": "x"} for name in ("git", "time", "web")},
            "namespaces": {
                "outer": {"servers": ["time"], "namespaces": ["inner", "off"], "disabled": ["off"]},
                "inner": {"servers": ["git", "web", "time"], "disabled": ["web"]},
                "off": {"servers": ["web"]},
            },
            "endpoints": {},
        }
    )
    outer = made.namespaces["outer"]
    assert outer.namespaces == (made.namespaces["inner"],)
    assert (outer.servers, outer.namespaces[0].servers) == (("time",), ("git", "time"))
    assert outer.reach == ("time", "git")
    assert made.namespaces["off"].servers == ("web",)


def test_namespaces_alone_need_no_servers() -> None:
    spaces = {"outer": {"namespaces": ["inner"]}, "inner": {"servers": ["git"]}}
    made = schema.servers_from({"mcpServers": {"git": {"command": "x"}}, "namespaces": spaces, "endpoints": {}})
    assert made.namespaces["outer"].reach == ("git",)


def test_without_prefix_an_override_is_named_by_the_tool_alone() -> None:
    made = schema.servers_from(
        {
            "mcpServers": {"git": {"command": "x"}},
            "namespaces": {"dev": {"servers": ["git"], "prefix": False, "tools": {"push": {"enabled": False}}}},
            "endpoints": {},
        }
    )
    assert list(made.namespaces["dev"].tools) == ["push"]
    assert made.endpoints == {}


# --- mistakes in servers.json ------------------------------------------------------------------------------


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file() -> None:
    text = """{
      "mcpServers": {
        "git": {"comand": "x", "limits": {"memory": "5m", "pids": 0}, "timeouts": {"start": 700}},
        "far": {"url": "ftp://x", "warm": 30}
      },
      "namespaces": {"dev": {"servers": ["gti"], "tools": {"push": {}}}},
      "endpoints": {"a/b": {"namespace": "prod"}}
    }"""
    with pytest.raises(ConfigInvalid) as caught:
        schema.parse_servers(text)
    assert [path for path, _ in caught.value.problems] == [
        "mcpServers.git.comand",
        "mcpServers.git.limits.memory",
        "mcpServers.git.limits.pids",
        "mcpServers.git.timeouts.start",
        "mcpServers.git.command",
        "mcpServers.far.url",
        "mcpServers.far.warm",
        "namespaces.dev.servers[0]",
        "namespaces.dev.tools.push",
        'endpoints["a/b"]',
        'endpoints["a/b"].namespace',
    ]


def test_unknown_key_is_refused_with_the_key_that_was_probably_meant() -> None:
    assert 'did you mean "idleSeconds"' in server_problems(idleseconds=3)["idleseconds"]
    assert 'did you mean "mcpServers"' in problems({"mcpservers": {}})["mcpservers"]
    assert "did you mean" not in server_problems(zzz=3)["zzz"]


def test_key_called_like_an_internal_of_the_library_is_refused_under_its_own_path() -> None:
    found = problems({"mcpServers": {"_schema": 4, "git": {"command": "x", "_schema": 1, "env": {"_schema": 1}}}})
    assert set(found) == {"mcpServers._schema", "mcpServers.git._schema", "mcpServers.git.env._schema"}


@pytest.mark.parametrize(
    ("keys", "path", "word"),
    [
        ({"command": ""}, "command", "empty"),
        ({"command": 4}, "command", "text"),
        ({"command": None}, "command", "null"),
        ({"command": "${PROGRAM}"}, "command", "args, env, url and headers"),
        ({"args": "run -i"}, "args", "list"),
        ({"args": ["a", 8080]}, "args[1]", "quotes"),
        ({"args": ["a\0b"]}, "args[0]", "u0000"),
        ({"args": ["\ud800"]}, "args[0]", "surrogate"),
        ({"args": ["${A"]}, "args[0]", "closing"),
        ({"args": ["${A-B}"]}, "args[0]", "${NAME:-default}"),
        ({"env": ["A=b"]}, "env", "object"),
        ({"env": {"A": 1}}, "env.A", "quotes"),
        ({"env": {"A=B": "x"}}, 'env["A=B"]', "environment variable"),
        ({"env": {"A": "${}"}}, "env.A", "${NAME}"),
        ({"headers": {"A": "b"}}, "headers", "url"),
        ({"url": "http://h/"}, "url", "command"),
        ({"type": "stdoi"}, "type", 'did you mean "stdio"'),
        ({"transport": "sse"}, "command", "does not fit"),
        ({"transport": "sse", "type": "stdio"}, "type", "contradicts"),
        ({"enabled": "true"}, "enabled", "without quotes"),
        ({"isolation": "shard"}, "isolation", 'did you mean "shared"'),
        ({"warm": 21}, "warm", "maxInstances, which is 20"),
        ({"warm": 3, "maxInstances": 2}, "warm", "maxInstances, which is 2"),
        ({"warm": -1}, "warm", "from 0"),
        ({"warm": True}, "warm", "whole number"),
        ({"warm": 1.5}, "warm", "whole number"),
        ({"maxInstances": 0}, "maxInstances", "from 1"),
        ({"idleSeconds": 0}, "idleSeconds", "number"),
        ({"idleSeconds": 10**400}, "idleSeconds", "number"),
        ({"network": "host"}, "network", "none, internal, egress"),
        ({"limits": {"memory": "5m"}}, "limits.memory", "at least"),
        ({"limits": {"memory": "much"}}, "limits.memory", "512m"),
        ({"limits": {"memory": True}}, "limits.memory", "512m"),
        ({"limits": {"memory": 512}}, "limits.memory", "bytes"),
        ({"limits": {"memory": 2**63}}, "limits.memory", "at least"),
        ({"limits": {"cpus": 0}}, "limits.cpus", "number"),
        ({"limits": {"pids": 0}}, "limits.pids", "from 1"),
        ({"limits": 5}, "limits", "object"),
        ({"timeouts": {"start": 0}}, "timeouts.start", "number"),
        ({"timeouts": {"call": 61, "total": 60}}, "timeouts.call", "total, which is 60"),
        ({"timeouts": {"total": 59}}, "timeouts.call", "is 60 seconds"),
        ({"era": "old"}, "era", "auto, legacy, modern"),
    ],
)
def test_mistake_in_a_server_is_named_with_its_path_and_the_remedy(keys: Any, path: str, word: str) -> None:
    found = server_problems(**keys)
    assert list(found) == [path]
    assert word in found[path]


@pytest.mark.parametrize(
    ("body", "path", "word"),
    [
        ({}, "command", "url"),
        ({"args": []}, "command", "required"),
        ({"type": "sse"}, "url", "required"),
        ({"url": "http://h/", "transport": "stdio"}, "url", "does not fit"),
        ({"url": "http://h/", "args": ["x"]}, "args", "command"),
        ({"url": "http://h/", "env": {"A": "b"}}, "env", "command"),
        ({"url": "mcp.example.com"}, "url", "https://"),
        ({"url": "http://[::1"}, "url", "https://"),
        ({"url": "http://h:99999/"}, "url", "https://"),
        ({"url": "http://h/a b"}, "url", "https://"),
        ({"url": "http://h/", "headers": {"A b": "c"}}, 'headers["A b"]', "header"),
        ({"url": "http://h/", "headers": {"A": "b\r\nC: d"}}, "headers.A", "line breaks"),
    ],
)
def test_mistake_in_what_a_server_is_reached_by_is_named(body: Any, path: str, word: str) -> None:
    found = problems({"mcpServers": {"far": body}})
    assert list(found) == [f"mcpServers.far.{path}"]
    assert word in found[f"mcpServers.far.{path}"]


@pytest.mark.parametrize("url", ["${URL}", "https://${HOST}:${PORT}/mcp", "http://127.0.0.1:8000"])
def test_url_with_values_to_come_is_accepted(url: str) -> None:
    assert schema.servers_from({"mcpServers": {"far": {"url": url}}}).servers["far"].url == url


@pytest.mark.parametrize("name", ["a__b", "a_", "_", "a.b", "a b", "ä", "", "x" * 33, "a\n"])
def test_server_name_that_would_make_tool_names_ambiguous_or_invalid_is_refused(name: str) -> None:
    by_name = problems({"mcpServers": {name: {"command": "x"}}})
    listed = problems({"servers": [{"command": "x", "name": name}]})
    assert len(by_name) == 1
    assert list(listed) == ["servers[0].name"]


@pytest.mark.parametrize("name", ["a", "a_b", "-", "_a", "A-1", "x" * 32])
def test_plain_server_name_is_accepted(name: str) -> None:
    assert list(schema.servers_from({"mcpServers": {name: {"command": "x"}}}).servers) == [name]


def test_name_used_twice_in_the_list_is_refused_at_the_second() -> None:
    listed = [{"name": "a", "command": "x"}, {"name": "b", "command": "x"}, {"name": "a", "command": "y"}]
    assert "servers[0]" in problems(listed)["servers[2].name"]


def test_listed_server_without_name_and_command_is_told_both() -> None:
    assert set(problems([{"name": "a", "command": "x"}, {}])) == {"servers[1].name", "servers[1].command"}


def test_both_forms_of_servers_together_are_refused() -> None:
    assert "mcpServers" in problems({"mcpServers": {}, "servers": []})["servers"]


@pytest.mark.parametrize("document", [{}, None, 4, "x", {"namespaces": {}, "endpoints": {}}])
def test_document_without_servers_is_refused_as_a_whole(document: Any) -> None:
    assert list(problems(json.dumps(document))) == ["(document)"]


def test_namespaces_without_endpoints_are_refused_because_nothing_would_serve_them() -> None:
    document = {"mcpServers": {"a": {"command": "x"}}, "namespaces": {"dev": {"servers": ["a"]}}}
    assert "missing" in problems(document)["endpoints"]


def namespace_problems(**keys: Any) -> dict[str, str]:
    servers = {name: {"command": "x"} for name in ("git", "files")}
    namespaces = {"dev": {"servers": ["git"], **keys}}
    found = problems({"mcpServers": servers, "namespaces": namespaces, "endpoints": {"dev": {"namespace": "dev"}}})
    return {path.removeprefix("namespaces.dev."): text for path, text in found.items()}


def nesting_problems(**namespaces: Any) -> dict[str, str]:
    document = {"mcpServers": {"git": {"command": "x"}}, "namespaces": namespaces, "endpoints": {}}
    found = problems(document)
    return {path.removeprefix("namespaces."): text for path, text in found.items()}


def test_namespace_without_members_is_told_what_it_needs() -> None:
    assert nesting_problems(a={}) == {"a.servers": "is required, where there is no namespaces"}


def test_cycle_of_namespaces_is_told_once_with_its_way() -> None:
    found = nesting_problems(
        first={"namespaces": ["a"]}, a={"namespaces": ["leaf", "b"]}, b={"namespaces": ["c"]},
        c={"namespaces": ["a"]}, leaf={"servers": ["git"]},
    )  # fmt: skip
    assert found == {"a.namespaces[1]": "leads back to this namespace (a > b > c > a): remove it"}


def test_cycle_is_refused_also_where_a_member_of_it_is_disabled() -> None:
    found = nesting_problems(a={"namespaces": ["b"], "disabled": ["b"]}, b={"namespaces": ["a"]})
    assert list(found) == ["a.namespaces[0]"]


def test_namespace_within_itself_is_refused() -> None:
    assert "(a > a)" in nesting_problems(a={"namespaces": ["a"]})["a.namespaces[0]"]


def test_namespaces_are_not_nested_deeper_than_the_limit() -> None:
    chain = {f"n{level}": {"namespaces": [f"n{level + 1}"]} for level in range(1, nesting.MOST_LEVELS)}
    deepest = {f"n{nesting.MOST_LEVELS}": {"servers": ["git"]}}
    document = {"mcpServers": {"git": {"command": "x"}}, "namespaces": chain | deepest, "endpoints": {}}
    assert schema.servers_from(document).namespaces["n1"].reach == ("git",)
    found = nesting_problems(n0={"namespaces": ["n1"]}, **chain, **deepest)
    assert found == {"n0.namespaces": "go deeper than 5 levels: name inner ones directly"}


@pytest.mark.parametrize(
    ("keys", "path", "word"),
    [
        ({"namespaces": ["devv"]}, "namespaces[0]", 'did you mean "dev"'),
        ({"namespaces": ["dev"]}, "namespaces[0]", "(dev > dev)"),
        ({"namespaces": "dev"}, "namespaces", "must be a list"),
        ({"disabled": ["files"]}, "disabled[0]", "names no member of this namespace"),
        ({"disabled": ["git", "git"]}, "disabled[1]", "already"),
        ({"servers": ["git", "gitt"]}, "servers[1]", 'did you mean "git"'),
        ({"servers": ["git", "git"]}, "servers[1]", "already"),
        ({"servers": "git"}, "servers", "list"),
        ({"prefix": 1}, "prefix", "true or false"),
        ({"tools": {"push": {}}}, "tools.push", "<server>__<tool>"),
        ({"tools": {"git__": {}}}, "tools.git__", "<server>__<tool>"),
        ({"tools": {"files__read": {}}}, "tools.files__read", "no server of this namespace"),
        ({"tools": {"git__a": {"name": "a b"}}}, "tools.git__a.name", "clients refuse"),
        ({"tools": {"git__a": {"enable": True}}}, "tools.git__a.enable", 'did you mean "enabled"'),
        ({"tools": {"git__a": {"annotations": {"title": 1}}}}, "tools.git__a.annotations.title", "text"),
        (
            {"tools": {"git__a": {"annotations": {"readonlyHint": True}}}},
            "tools.git__a.annotations.readonlyHint",
            'did you mean "readOnlyHint"',
        ),
    ],
)
def test_mistake_in_a_namespace_is_named_with_its_path(keys: Any, path: str, word: str) -> None:
    found = namespace_problems(**keys)
    assert list(found) == [path]
    assert word in found[path]


@pytest.mark.parametrize("name", ["a/b", "..", ".", "", "a b", "ä", "a?b", "x" * 65, "admin"])
def test_endpoint_name_that_no_url_or_scope_can_carry_is_refused(name: str) -> None:
    assert len(problems({"mcpServers": {}, "endpoints": {name: {"namespace": "default"}}})) == 1


def test_endpoint_of_an_unknown_namespace_is_refused_with_a_hint() -> None:
    found = problems({"mcpServers": {}, "endpoints": {"a": {"namespace": "defualt", "auth": "apikey"}}})
    assert 'did you mean "default"' in found["endpoints.a.namespace"]
    assert 'did you mean "api-key"' in found["endpoints.a.auth"]


def test_key_written_twice_is_refused_with_its_path() -> None:
    text = '{"mcpServers": {"a": {"command": "x", "limits": {"pids": 3, "pids": 4}}, "a": {"command": "y"}}}'
    assert "more than once" in problems(text)["mcpServers.a"]
    inner = '[{"name": "a", "command": "x", "args": ["y"], "args": ["z"]}]'
    assert "more than once" in problems('{"servers": ' + inner + "}")["servers[0].args"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{\n  "mcpServers": {,}\n}', "line 2 column 18"),
        ("", "line 1 column 1"),
        ('{"mcpServers": {}}\n// done', "line 2 column 1"),
        ('{"x": "NaN",\n "y": NaN}', "line 2 column 7"),
        ("[" * 100_000, "deep"),
        ("9" * 5000, "digits"),
    ],
)
def test_broken_json_is_refused_with_line_and_column(text: str, place: str) -> None:
    assert place in problems(text)["(document)"]


def test_message_never_repeats_a_value_that_may_be_a_secret() -> None:
    secret = "hunter2-hunter2"
    document = {
        "mcpServers": {
            "a": {"command": "x", "env": {"TOKEN": [secret], "B": "${" + secret}, "limits": {"memory": secret}},
            "b": {"url": secret, "transport": secret, "headers": {"A": secret + "\n"}, "warm": secret},
        }
    }
    assert secret not in str(problems(document))


# --- allowlist.json ----------------------------------------------------------------------------------------


def test_every_key_of_the_allowlist_arrives_in_its_record() -> None:
    made = allowlist_schema.parse_allowlist(
        json.dumps(
            {
                "images": [
                    "ghcr.io/example/*",
                    f"alpine@{DIGEST}",
                    {
                        "image": "mcp/playwright",
                        "digest": OTHER,
                        "allow": {
                            "network": True,
                            "capAdd": ["SYS_ADMIN", "CAP_CHOWN"],
                            "shmSize": "1g",
                            "devices": ["/dev/dri"],
                            "gpus": True,
                            "ports": True,
                            "binds": ["/srv/x"],
                            "writable": True,
                            "user": False,
                        },
                    },
                ],
                "bindRoots": ["/srv/mcp-data"],
            }
        )
    )
    widened = Allowance(True, ("SYS_ADMIN", "CHOWN"), 1 << 30, ("/dev/dri",), True, True, ("/srv/x",), True, False)
    assert made.bind_roots == ("/srv/mcp-data",)
    assert made.rules == (
        ImageRule("ghcr.io/example/*"),
        ImageRule(f"alpine@{DIGEST}", DIGEST),
        ImageRule("mcp/playwright", OTHER, widened),
    )


@pytest.mark.parametrize("document", [{}, {"images": []}, {"bindRoots": []}])
def test_allowlist_without_rules_is_valid_and_empty(document: Any) -> None:
    assert allowlist_schema.allowlist_from(document).rules == ()


@pytest.mark.parametrize(
    ("entry", "path", "word"),
    [
        ("", "images[0]", "empty"),
        ("a**", "images[0]", "only one *"),
        ("*.io/x", "images[0]", "registry"),
        ("Alpine", "images[0]", "lower case"),
        (4, "images[0]", "pattern"),
        (["a"], "images[0]", "pattern"),
        ({}, "images[0].image", "required"),
        ({"image": "a", "digest": "a"}, "images[0].digest", "64"),
        ({"image": "a*", "digest": DIGEST}, "images[0].digest", "without *"),
        ({"image": f"a@{DIGEST}", "digest": OTHER}, "images[0].digest", "contradicts"),
        ({"image": "a", "allow": {"capAdd": ["sys admin"]}}, "images[0].allow.capAdd[0]", "SYS_ADMIN"),
        ({"image": "a", "allow": {"capadd": []}}, "images[0].allow.capadd", 'did you mean "capAdd"'),
        ({"image": "a", "allow": {"shmSize": 0}}, "images[0].allow.shmSize", "at least"),
        ({"image": "a", "allow": {"devices": ["/etc"]}}, "images[0].allow.devices[0]", "/dev/"),
        ({"image": "a", "allow": {"binds": ["/"]}}, "images[0].allow.binds[0]", "not / itself"),
    ],
)
def test_mistake_in_a_rule_is_named_with_its_path(entry: Any, path: str, word: str) -> None:
    found = allowlist_problems({"images": [entry]})
    assert list(found) == [path]
    assert word in found[path]


@pytest.mark.parametrize("root", ["relative", "/", "//", "/a/../b", "/a//b", "/a/./b", ""])
def test_bind_root_that_is_no_plain_directory_is_refused(root: str) -> None:
    assert list(allowlist_problems({"bindRoots": [root]})) == ["bindRoots[0]"]


@pytest.mark.parametrize(
    "images",
    [
        ["*", {"image": "mcp/a", "digest": DIGEST}],
        ["mcp/*", {"image": "mcp/a:1", "allow": {"network": True}}],
        ["mcp/a:1", {"image": "mcp/a:1", "digest": DIGEST}],
        ["*", {"image": "mcp/*", "allow": {"gpus": True}}],
    ],
)
def test_pin_or_widening_that_an_earlier_rule_hides_is_refused(images: list[Any]) -> None:
    assert "images[0]" in allowlist_problems({"images": images})["images[1]"]


@pytest.mark.parametrize(
    "images",
    [
        [{"image": "mcp/a", "digest": DIGEST}, "*"],
        ["*", "mcp/a"],
        ["mcp/a:2", {"image": "mcp/a:1", "digest": DIGEST}],
        ["docker.io/mcp/*", {"image": "*", "allow": {"gpus": True}}],
    ],
)
def test_rules_that_all_take_effect_are_accepted(images: list[Any]) -> None:
    assert len(allowlist_schema.allowlist_from({"images": images}).rules) == len(images)


# --- any input ---------------------------------------------------------------------------------------------

KEYS = st.sampled_from(
    [key for made in Strict.__subclasses__() for key in key_names(made)] + ["_schema", "", "a", "git", "a__b", "é.x"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(["git", "cat", "http://h", "512m", "stdio", "${A}", "${", "alpine:*", DIGEST, "/srv"])
)
ANY_JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(), inner, max_size=5)
)


@given(st.one_of(ANY_JSON, st.fixed_dictionaries({"mcpServers": st.dictionaries(KEYS, ANY_JSON)})))
def test_any_json_as_servers_loads_or_is_refused_with_paths(document: Any) -> None:
    try:
        schema.parse_servers(json.dumps(document))
    except ConfigInvalid as invalid:
        assert invalid.problems
        assert all(path and text for path, text in invalid.problems)


@given(st.one_of(ANY_JSON, st.fixed_dictionaries({"images": st.lists(ANY_JSON), "bindRoots": ANY_JSON})))
def test_any_json_as_allowlist_loads_or_is_refused_with_paths(document: Any) -> None:
    try:
        allowlist_schema.parse_allowlist(json.dumps(document))
    except ConfigInvalid as invalid:
        assert invalid.problems
        assert all(path and text for path, text in invalid.problems)


@given(st.text(alphabet=st.sampled_from('{}[]":,1eN aI-\\u\n') | st.characters()))
def test_any_text_as_servers_loads_or_is_refused_with_paths(text: str) -> None:
    try:
        schema.parse_servers(text)
    except ConfigInvalid as invalid:
        assert all(path and shown for path, shown in invalid.problems)


# --- the documentation -------------------------------------------------------------------------------------


# --- oauth -------------------------------------------------------------------------------------------------

ISSUER = "https://login.example.com/realms/one"
SERVER = {"mcpServers": {"git": {"command": "x"}}}


def endpoint(**body: Any) -> dict[str, Any]:
    return SERVER | {"endpoints": {"dev": {"namespace": "default", **body}}}


def test_oauth_of_an_endpoint_arrives_in_its_record() -> None:
    oauth = {
        "issuer": ISSUER, "jwksUrl": "http://localhost:8080/keys?v=1",
        "audience": "api://gateway", "scopes": ["mcp", "tools:read"],
    }  # fmt: skip
    made = schema.servers_from(endpoint(auth="oauth", oauth=oauth)).endpoints["dev"]
    assert made.oauth == OAuthSpec(
        ISSUER, "http://localhost:8080/keys?v=1", ("api://gateway",), ("mcp", "tools:read")
    )


def test_oauth_beside_the_endpoints_is_for_those_that_name_no_other_one() -> None:
    made = schema.servers_from(
        SERVER | {
            "oauth": {"issuer": ISSUER, "audience": ["a", "b"]},
            "endpoints": {
                "usual": {"namespace": "default", "auth": "oauth"},
                "own": {"namespace": "default", "auth": "oauth", "oauth": {"issuer": "https://other.example"}},
                "keys": {"namespace": "default", "auth": "api-key"},
            },
        }
    )  # fmt: skip
    assert {name: it.oauth for name, it in made.endpoints.items()} == {
        "usual": OAuthSpec(ISSUER, audiences=("a", "b")), "own": OAuthSpec("https://other.example"), "keys": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "path", "text"),
    [
        ({"auth": "oauth"}, "oauth", "is required"),
        ({"auth": "api-key", "oauth": {"issuer": ISSUER}}, "oauth", "has no use"),
        ({"oauth": {"issuer": ISSUER}}, "oauth", "has no use"),
        ({"auth": "oauth", "oauth": {}}, "oauth.issuer", "is required"),
        ({"auth": "oauth", "oauth": {"issuer": "http://login.example.com"}}, "oauth.issuer", "https://"),
        ({"auth": "oauth", "oauth": {"issuer": "https://me@login.example.com"}}, "oauth.issuer", "without user"),
        ({"auth": "oauth", "oauth": {"issuer": f"{ISSUER}?a=b"}}, "oauth.issuer", "no query"),
        ({"auth": "oauth", "oauth": {"issuer": f"{ISSUER}#a"}}, "oauth.issuer", "fragment"),
        ({"auth": "oauth", "oauth": {"issuer": 'https://a.example/"'}}, "oauth.issuer", "must be a URL"),
        ({"auth": "oauth", "oauth": {"issuer": ISSUER, "jwksUrl": "ftp://a"}}, "oauth.jwksUrl", "must be a URL"),
        ({"auth": "oauth", "oauth": {"issuer": ISSUER, "audience": []}}, "oauth.audience", "must not be empty"),
        ({"auth": "oauth", "oauth": {"issuer": ISSUER, "scopes": ["a b"]}}, "oauth.scopes[0]", "one scope"),
        ({"auth": "oauth", "oauth": {"issuer": ISSUER, "jwks_url": "x"}}, "oauth.jwks_url", "not a known key"),
    ],
)
def test_mistakes_about_oauth_are_named_by_their_path(body: dict[str, Any], path: str, text: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        schema.servers_from(endpoint(**body))
    assert [it for it, _ in caught.value.problems] == [f"endpoints.dev.{path}"]
    assert text in caught.value.problems[0][1]
