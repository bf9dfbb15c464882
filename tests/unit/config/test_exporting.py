"""``servers.json`` without its secrets: which they are, what stands in their place, and that it is the same again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config.exporting import Exported, without_secrets
from metamcp.config.importing.documents import import_documents
from metamcp.config.importing.outcome import Source
from metamcp.config.model import GatewayConfig
from metamcp.config.schema import servers_from
from metamcp.config.secrets import resolve_server

SECRET = "canary-01"


def one(body: dict[str, Any]) -> tuple[dict[str, Any], Exported]:
    exported = without_secrets({"mcpServers": {"x": body}})
    servers_from(exported.document)
    return exported.document["mcpServers"]["x"], exported


@pytest.mark.parametrize(
    ("body", "written", "names"),
    [
        ({"env": {"API_KEY": SECRET}}, {"env": {"API_KEY": "${API_KEY}"}}, ["API_KEY"]),
        ({"env": {"PASS": "x"}}, {"env": {"PASS": "${PASS}"}}, ["PASS"]),
        ({"env": {"db-token.x": SECRET}}, {"env": {"db-token.x": "${db_token_x}"}}, ["db_token_x"]),
        ({"env": {"DSN": f"pg://u:{SECRET}@h/d"}}, {"env": {"DSN": "pg://u:${DSN_PASSWORD}@h/d"}}, ["DSN_PASSWORD"]),
        ({"env": {"DSN": f"pg://${{U:-a:b}}:{SECRET}@h"}}, {"env": {"DSN": "pg://${U:-a:b}:${DSN_PASSWORD}@h"}},
         ["DSN_PASSWORD"]),
        ({"env": {"TOKEN": f"${{TOKEN:-{SECRET}}}"}}, {"env": {"TOKEN": "${TOKEN}"}}, ["TOKEN"]),
        ({"env": {"DSN": f"${{DSN:-pg://u:{SECRET}@h}}"}}, {"env": {"DSN": "${DSN}"}}, ["DSN"]),
        ({"env": {"TOKEN": f"{SECRET}-$${{${{ID}}"}}, {"env": {"TOKEN": "${TOKEN}${ID}"}}, ["TOKEN"]),
        ({"args": ["--api-key", SECRET]}, {"args": ["--api-key", "${API_KEY}"]}, ["API_KEY"]),
        ({"args": [f"--api-key={SECRET}"]}, {"args": ["--api-key=${API_KEY}"]}, ["API_KEY"]),
        ({"args": ["run", "-e", f"TOKEN={SECRET}", "i"]}, {"args": ["run", "-e", "TOKEN=${TOKEN}", "i"]}, ["TOKEN"]),
        ({"args": [f"-eTOKEN={SECRET}"]}, {"args": ["-eTOKEN=${TOKEN}"]}, ["TOKEN"]),
        ({"args": ["--header", f"Authorization: Bearer {SECRET}"]},
         {"args": ["--header", "Authorization: Bearer ${AUTHORIZATION}"]}, ["AUTHORIZATION"]),
        ({"args": ["--headers", "Authorization", f"Bearer {SECRET}"]},
         {"args": ["--headers", "Authorization", "Bearer ${AUTHORIZATION}"]}, ["AUTHORIZATION"]),
        ({"args": [f"redis://:{SECRET}@db/0"]}, {"args": ["redis://:${X_PASSWORD}@db/0"]}, ["X_PASSWORD"]),
        ({"args": [f"https://a.example/?api_key={SECRET}&b=c"]}, {"args": ["https://a.example/?api_key=${X_API_KEY}&b=c"]},
         ["X_API_KEY"]),
    ],
)  # fmt: skip
def test_secret_is_a_variable(body: dict[str, Any], written: dict[str, Any], names: list[str]) -> None:
    made, exported = one({"command": "p", **body})
    assert made == {"command": "p", **written}
    assert [variable.name for variable in exported.variables] == names
    assert SECRET not in json.dumps(exported.document) and SECRET not in repr(exported.variables)


def test_secrets_of_a_remote_server_are_variables_with_its_name() -> None:
    made, exported = one({
        "url": f"https://u:{SECRET}@a.example/mcp?token={SECRET}2",
        "headers": {"Authorization": f"Bearer {SECRET}3", "X-Team": "a"},
    })  # fmt: skip
    assert made == {
        "url": "https://u:${X_PASSWORD}@a.example/mcp?token=${X_TOKEN}",
        "headers": {"Authorization": "Bearer ${X_AUTHORIZATION}", "X-Team": "a"},
        "transport": "streamable-http",
    }
    assert [place for variable in exported.variables for place in variable.places] == [
        "mcpServers.x.headers.Authorization", "mcpServers.x.url", "mcpServers.x.url",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        {"env": {"API_KEY": "${API_KEY}", "MODE": "fast", "KEY_FILE": "/run/key", "TOKEN": "", "P": "a:b@c"}},
        {"args": ["--key-file", "/run/key", "--no-auth", "stdio", "-e", "API_KEY", "image", "https://a.example/x"]},
        {"args": ["--token", "${TOKEN}", "--token", "--verbose", "${file:/run/secrets/token}"]},
    ],
)
def test_what_is_no_secret_stays(body: dict[str, Any]) -> None:
    made, exported = one({"command": "p", **body})
    assert made == {"command": "p", **body} and exported.variables == ()


def test_one_value_is_one_variable_and_another_gets_another_name() -> None:
    values = {"a": "1", "b": "1", "c-d": "2"}
    servers = {name: {"command": "p", "env": {"TOKEN": value}} for name, value in values.items()}
    servers["e"] = {"command": "p", "env": {"MODE": "${E_TOKEN}", "TOKEN": "3"}}
    exported = without_secrets({"mcpServers": servers})
    assert [one["env"]["TOKEN"] for one in exported.document["mcpServers"].values()] == [
        "${TOKEN}", "${TOKEN}", "${C_D_TOKEN}", "${E_TOKEN_2}",
    ]  # fmt: skip


def test_list_form_and_everything_else_stay() -> None:
    document = [{"name": "a", "command": "p", "env": {"KEY": SECRET}, "warm": 1, "limits": {"memory": "64m"}}]
    exported = without_secrets(document).document
    assert exported == {"servers": [{**document[0], "env": {"KEY": "${KEY}"}}]}


# --- there and back ----------------------------------------------------------------------------------------

TEXT = st.text(alphabet="aZ9 :/@?&=.$-_,;\"'é", max_size=10)
PIECE = st.sampled_from(
    ["${OTHER}", "${OTHER:-usual}", "$${", "Bearer ", "token ", "://u:pw@h/", "?key=v&token=w", "--key=", "KEY=", "x: "]
)
VALUE = st.lists(TEXT | PIECE, max_size=4).map("".join)
VARIABLE = st.sampled_from(["API_KEY", "TOKEN", "MODE", "DB.password", "X_auth", "_", "A"])
HEADER = st.sampled_from(["Authorization", "X-Api-Key", "X-Team", "Cookie"])
WORD = VALUE | st.sampled_from(["--token", "--key-file", "-e", "Authorization", "--no-auth", "-H", "run"])
COMMON = {"enabled": st.booleans(), "warm": st.integers(0, 2), "isolation": st.sampled_from(["session", "shared"])}
COMMAND = st.fixed_dictionaries(
    {"command": st.sampled_from(["docker", "npx"])},
    optional={"args": st.lists(WORD, max_size=5), "env": st.dictionaries(VARIABLE, VALUE, max_size=3), **COMMON},
)
URL = VALUE.map(lambda text: f"https://a.example/mcp{''.join(text.split())}") | st.sampled_from(
    ["https://a.example/sse", f"https://u:{SECRET}@a.example/x?token={SECRET}", "${BASE}/sse"]
)
REMOTE = st.fixed_dictionaries(
    {"url": URL},
    optional={"headers": st.dictionaries(HEADER, VALUE, max_size=3), "transport": st.just("sse"), **COMMON},
)
NAMES = st.sampled_from(["git", "a-b", "X", "search_2"])
SERVERS = st.dictionaries(NAMES, COMMAND | REMOTE, min_size=1, max_size=3)


@st.composite
def configurations(draw: st.DrawFn) -> Any:
    servers = draw(SERVERS)
    document: Any = {"mcpServers": servers}
    if draw(st.booleans()):
        document = {"servers": [{"name": name, **body} for name, body in servers.items()]}
    if draw(st.booleans()):
        tools = {f"{next(iter(servers))}__t": {"enabled": False, "description": draw(TEXT)}}
        document["namespaces"] = {"n": {"servers": list(servers), "tools": tools}}
        document["endpoints"] = {"e": {"namespace": "n", "auth": draw(st.sampled_from(["none", "api-key", "oauth"]))}}
        document["oauth"] = {"issuer": "https://login.example.com"}
    elif draw(st.booleans()):
        document |= {"namespaces": {}, "endpoints": {}}
    return document


def resolved(config: GatewayConfig, environ: dict[str, str]) -> dict[str, Any]:
    """What each server gets. What cannot be resolved tells which name is not set, and that is compared, too."""
    found: dict[str, Any] = {}
    for name, spec in config.servers.items():
        made = resolve_server(spec, environ, str)
        found[name] = (made.args, dict(made.env), made.url, dict(made.headers), spec.transport, spec.enabled, spec.warm)
    return found


@given(configurations())
def test_import_of_an_export_is_the_same_configuration(document: Any) -> None:
    before = servers_from(document)
    exported = without_secrets(document)
    imported = import_documents([Source(json.loads(json.dumps(exported.document)))])
    after = servers_from(imported.document)
    assert [text for _, text in imported.notes.left_out if "is in no namespace" not in text] == []
    assert imported.notes.changed == []
    assert (after.namespaces, after.endpoints) == (before.namespaces, before.endpoints)
    environ = {"BASE": "https://b.example", "OTHER": "another"}
    asked = {variable.name: variable.value for variable in exported.variables}
    assert resolved(after, asked | environ) == resolved(before, environ)
    assert SECRET not in json.dumps(imported.document)
