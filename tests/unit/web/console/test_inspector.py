"""The inspector's routes at the edge of one worker: who speaks there, as whom, what is noted, and forms of schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from console_site import HOSTILE, Site
from werkzeug.test import TestResponse

from metamcp.access.keys import ADMIN
from metamcp.gateway.interface import Ask, Delete, Is, Listen, Outbound, Post

SESSION = "0123456789abcdef"
HELLO = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}})
PING = json.dumps({"jsonrpc": "2.0", "id": 2, "method": "ping"})
ANSWER = b'{"jsonrpc":"2.0","id":1,"result":{}}'
OPENED = Outbound(Is.ANSWER, ANSWER, session=SESSION)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Where the operator has signed in."""
    found = Site(tmp_path, operator=ADMIN, laptop="dev")
    found.sign_in()
    found.gateway.items = (OPENED,)
    return found


def headers(site: Site, **more: str) -> dict[str, str]:
    shown = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
    return shown | {"X-CSRF-Token": site.token(), "Content-Type": "application/json"} | more


def messages(name: str) -> str:
    return f"/console/endpoints/{name}/inspect/messages"


def sent(site: Site, name: str, body: str, **more: str) -> TestResponse:
    return site.http.post(messages(name), data=body, headers=headers(site, **more))


def asked(site: Site) -> list[Any]:
    """Besides what the pages ask."""
    return [it for it in site.orders if not isinstance(it, Ask)]


def noted(site: Site) -> list[tuple[str, str]]:
    return [(it.argument, it.principal) for it in site.orders if isinstance(it, Ask) and it.subject == "inspect"]


# --- messages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "principal"), [("dev", "operator"), ("open", "anonymous")])
def test_a_session_is_opened_as_its_client_and_noted_with_who_opened_it(
    site: Site, name: str, principal: str
) -> None:
    answer = sent(site, name, HELLO)
    assert (answer.status_code, answer.data, answer.headers["Mcp-Session-Id"]) == (200, ANSWER, SESSION)
    (post,) = asked(site)
    assert isinstance(post, Post) and post.method == "initialize"
    assert (post.client.endpoint, post.client.principal) == (name, principal)
    assert noted(site) == [(f"{name} {SESSION[:8]}", "operator")]


def test_what_follows_belongs_to_the_session_and_is_not_noted_again(site: Site) -> None:
    site.gateway.items = (Outbound(Is.EVENT, b'{"method":"a"}', number=1), Outbound(Is.ANSWER, ANSWER, number=2))
    answer = sent(site, "dev", PING, **{"Mcp-Session-Id": SESSION})
    assert answer.mimetype == "text/event-stream" and b'data: {"method":"a"}' in answer.data
    (post,) = asked(site)
    assert (post.client.session, post.method) == (SESSION, "ping") and noted(site) == []


def test_a_stream_is_listened_to_and_a_session_ended_as_its_client(site: Site) -> None:
    site.gateway.items = (Outbound(Is.OPENED), Outbound(Is.EVENT, b'{"method":"b"}', number=1), Outbound(Is.ENDED))
    answer = site.http.get(messages("open"), headers=headers(site, **{"Mcp-Session-Id": SESSION}))
    assert answer.mimetype == "text/event-stream" and b'"b"' in answer.data
    site.gateway.items = (Outbound(Is.ACCEPTED, status=202),)
    answer = site.http.delete(messages("open"), headers=headers(site, **{"Mcp-Session-Id": SESSION}))
    assert answer.status_code == 200
    listening, ended = asked(site)
    assert isinstance(listening, Listen) and isinstance(ended, Delete)
    assert {it.client.principal for it in (listening, ended)} == {"anonymous"}


@pytest.mark.parametrize("revision", ["", "2026-07-28", "1999-01-01"])
def test_without_a_revision_that_has_sessions_nothing_is_done(site: Site, revision: str) -> None:
    answer = sent(site, "dev", HELLO, **{"MCP-Protocol-Version": revision})
    assert answer.status_code == 400 and "2025-11-25" in answer.json["error"]["message"]
    assert asked(site) == [] and noted(site) == []


def test_a_message_that_is_none_is_refused_as_its_client_reads_it(site: Site) -> None:
    answer = sent(site, "dev", "{", **{"Mcp-Session-Id": SESSION})
    assert (answer.status_code, answer.mimetype, answer.json["error"]["code"]) == (400, "application/json", -32700)
    assert sent(site, "dev", PING).status_code == 400, "without a session"
    assert asked(site) == [] and noted(site) == []


@pytest.mark.parametrize(("name", "status"), [("sso", 403), ("nowhere", 404)])
def test_where_the_console_may_not_enter_nothing_is_done(site: Site, name: str, status: int) -> None:
    assert sent(site, name, HELLO).status_code == status
    assert asked(site) == [] and noted(site) == []


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_nothing_is_done_by_a_cookie_without_the_token(site: Site, method: str) -> None:
    shown = headers(site, **{"Mcp-Session-Id": SESSION, "X-CSRF-Token": "0" * 64})
    assert site.http.open(messages("dev"), method=method, data=PING, headers=shown).status_code == 403
    assert asked(site) == []


def test_nobody_speaks_who_has_not_signed_in(site: Site) -> None:
    shown = headers(site)
    site.http.delete_cookie("metamcp_console")
    assert site.http.post(messages("open"), data=HELLO, headers=shown).status_code == 401
    assert asked(site) == []


def test_a_revoked_key_ends_what_it_began(site: Site) -> None:
    site.gateway.items = (Outbound(Is.EVENT, b'{"method":"a"}', number=1), Outbound(Is.ANSWER, ANSWER, number=2))
    shown = headers(site, **{"Mcp-Session-Id": SESSION})
    answer = site.http.post(messages("dev"), data=PING, headers=shown, buffered=False)
    site.revoke()
    assert b"result" not in answer.data


# --- forms of schemas --------------------------------------------------------------------------------------

SCHEMA = {
    "type": "object", "required": ["size"],
    "properties": {
        "size": {"type": "string", "enum": ["s", "l"], "enumNames": ["small", HOSTILE]}, "n": {"type": "integer"},
    },
}  # fmt: skip


def form(site: Site, body: object) -> TestResponse:
    return site.http.post("/console/fields", data=json.dumps(body), headers=headers(site))


def test_a_schema_becomes_fields_and_what_was_written_its_arguments(site: Site) -> None:
    answer = form(site, {"schema": SCHEMA})
    size, n = answer.json["fields"]
    assert (size["kind"], size["choices"], size["required"]) == ("choice", [['"s"', "small"], ['"l"', HOSTILE]], True)
    assert n["kind"] == "integer" and answer.json["arguments"] is None
    written = {"argument:size": '"l"', "argument:n": "12345678901234567890"}
    assert form(site, {"schema": SCHEMA, "sent": written}).json["arguments"] == '{"size":"l","n":12345678901234567890}'
    wrong = form(site, {"schema": SCHEMA, "sent": {"argument:n": "x"}}).json
    assert wrong["arguments"] is None and [bool(it["problem"]) for it in wrong["fields"]] == [True, True]
    assert "not JSON" in form(site, {"schema": SCHEMA, "sent": {"arguments": "{"}}).json["problem"]


@pytest.mark.parametrize("schema", [None, True, 5, {"properties": {"a": {"default": "\ud83d"}}}])
def test_whatever_a_server_calls_a_schema_gets_an_answer(site: Site, schema: object) -> None:
    assert form(site, {"schema": schema}).status_code == 200


@pytest.mark.parametrize("body", [[], {"sent": {"a": 1}}, {"sent": []}])
def test_what_is_no_form_is_refused(site: Site, body: object) -> None:
    assert form(site, body).status_code == 400
