"""``call``: what it prints of each kind of answer, and with which exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
import responses

from metamcp.commands import call as call_command
from metamcp.commands.call import Wanted
from metamcp.config.settings import Settings

URL = "http://127.0.0.1:12009/metamcp/default/mcp"
SETTINGS = Settings(link=Path("/nowhere"))
HELLO = {"jsonrpc": "2.0", "id": 0, "result": {"protocolVersion": "2025-11-25", "capabilities": {}}}


def session(answer: Any, kind: str = "application/json") -> None:
    """A gateway that answers the call so."""
    responses.post(URL, json=HELLO, headers={"Mcp-Session-Id": "s1"})
    responses.post(URL, status=202)
    body = answer if isinstance(answer, str) else json.dumps({"jsonrpc": "2.0", "id": 1, **answer})
    responses.post(URL, body=body, content_type=kind)
    responses.delete(URL, status=200)


def run(as_json: bool = False, **more: Any) -> int:
    return call_command.run(SETTINGS, Wanted("default", "git__log", b'{"n":1}', **more), as_json)


@responses.activate
def test_a_call_is_a_session_of_its_own_with_the_key(capsys: pytest.CaptureFixture[str]) -> None:
    session({"result": {"content": [{"type": "text", "text": "one\ntwo\x1b"}]}})
    assert run(key="mmcp_key") == 0
    assert capsys.readouterr().out == "one\ntwo\\x1b\n"
    asked = [call.request for call in responses.calls]
    assert [request.method for request in asked] == ["POST", "POST", "POST", "DELETE"]
    assert all(request.headers["Authorization"] == "Bearer mmcp_key" for request in asked)
    assert [request.headers.get("Mcp-Session-Id") for request in asked] == [None, "s1", "s1", "s1"]
    sent = json.loads(asked[2].body or b"")
    assert (sent["method"], sent["params"]) == ("tools/call", {"name": "git__log", "arguments": {"n": 1}})


@responses.activate
def test_an_answer_behind_notifications_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    events = [{"jsonrpc": "2.0", "method": "notifications/message", "params": {}},
              {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "late"}]}}]  # fmt: skip
    session(": heartbeat\n\n" + "".join(f"data: {json.dumps(event)}\n\n" for event in events), "text/event-stream")
    assert run() == 0 and capsys.readouterr().out == "late\n"


@pytest.mark.parametrize(
    ("answer", "status", "out", "err"),
    [
        ({"result": {"content": [], "isError": True}}, 1, "", ""),
        ({"result": {"content": [{"type": "text", "text": "no"}], "isError": True}}, 1, "no\n", ""),
        ({"error": {"code": -32602, "message": "unknown tool"}}, 1, "", "Error: unknown tool\n"),
        ({"error": {"code": -31004, "message": "died"}}, 2, "", "Error: died\n"),
        ({"result": {"content": [], "structuredContent": {"a": 1}}}, 0, '{\n  "a": 1\n}\n', ""),
        ({"result": {"content": [{"type": "image", "mimeType": "image/png", "data": "AAAA"}]}}, 0,
         "[image: image/png, 3 bytes; --json prints it]\n", ""),
        ({"result": {"content": [{"type": "resource", "resource": {"uri": "x:y", "text": "z"}}]}}, 0,
         "[resource: x:y]\nz\n", ""),
        ({"result": {"content": [{"type": "resource_link", "uri": "x:y"}, 7]}}, 0, "[resource_link: x:y]\n", ""),
        ({"result": {}}, 0, "", ""),
    ],
)  # fmt: skip
@responses.activate
def test_each_answer_is_shown_in_its_way(
    capsys: pytest.CaptureFixture[str], answer: Any, status: int, out: str, err: str
) -> None:
    session(answer)
    assert run() == status
    found = capsys.readouterr()
    assert (found.out, found.err) == (out, err)


@responses.activate
def test_as_json_it_is_what_came(capsys: pytest.CaptureFixture[str]) -> None:
    session('{"jsonrpc":"2.0","id":1,"result":{"content":[],"n":12345678901234567890123}}')
    assert run(as_json=True) == 0
    assert capsys.readouterr().out == '{"content":[],"n":12345678901234567890123}\n'


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"error": {"message": "an API key is needed"}}, "METAMCP_API_KEY"),
        (404, {"error": {"message": "there is no such endpoint"}}, "there is no such endpoint (HTTP 404)"),
        (502, None, "(HTTP 502)"),
        (302, None, "(HTTP 302)"),
        (200, {"jsonrpc": "2.0", "id": 0, "error": {"code": -1, "message": "no\x1bway"}}, "no\\x1bway"),
        (200, {"hello": "world"}, "not a JSON-RPC"),
    ],
)
@responses.activate
def test_a_gateway_that_refuses_is_status_2(
    capsys: pytest.CaptureFixture[str], status: int, body: Any, said: str
) -> None:
    headers = {"Location": "http://elsewhere/"} if status == 302 else {}
    responses.post(URL, status=status, json=body, headers=headers)
    assert run() == 2
    assert said in capsys.readouterr().err


def test_nobody_who_answers_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(url="http://127.0.0.1:1/") == 2
    assert "http://127.0.0.1:1/metamcp/default/mcp: Connection refused" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [b"{", b"[]", b"1", b"\xff"])
def test_arguments_that_are_no_object_are_an_error_of_usage(arguments: bytes) -> None:
    with pytest.raises(click.BadParameter):
        call_command.run(SETTINGS, Wanted("default", "x", arguments), as_json=False)


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1:12009", "http://127.0.0.1:12009"),
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        ("[::]:80", "http://[::1]:80"),
    ],
)
def test_where_the_gateway_of_these_settings_is_reached(bind: str, url: str) -> None:
    assert call_command.own_url(Settings(bind=bind)) == url
