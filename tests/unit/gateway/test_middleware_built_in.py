"""What is built in, one by one, on calls of their own."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config.middleware_schema import BUILT_IN as SCHEMAS
from metamcp.errors import MetaMCPError, MiddlewareFailed, RefusedByPolicy
from metamcp.gateway.middleware.interface import Call
from metamcp.gateway.middleware.passage import Passage
from metamcp.gateway.middleware.patterns import fits
from metamcp.gateway.middleware.stack import Link, Stack
from metamcp.gateway.middleware.stacks import BUILT_IN
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import Raw


def passage(use: str, method: str = "tools/call", arguments: Any = None, **options: Any) -> Passage:
    made = BUILT_IN[use](SCHEMAS[use]().load(options))
    stack = Stack("n", (Link(use, made),), lambda _namespace, _middleware: None)
    params = {"arguments": Raw(json.dumps(arguments or {}).encode())}
    return Passage((stack,), Call(method, "git", "log", params), "dev", "key:laptop")


def body(text: str) -> bytes:
    return jsonrpc.encode({"content": [{"type": "text", "text": text}]})


# --- result-size -------------------------------------------------------------------------------------------


def test_result_within_the_limit_keeps_its_bytes() -> None:
    result = b'{ "content" : [] }'
    assert passage("result-size", bytes=len(result)).result(result) == result


def test_larger_result_of_a_tool_is_an_error_that_the_model_reads() -> None:
    result = b'{"resultType":"complete","content":"' + b"x" * 100 + b'"}'
    answer = json.loads(passage("result-size", bytes=100).result(result))
    assert answer["isError"] is True and answer["resultType"] == "complete"
    assert f"{len(result)} bytes, and 100 is the limit" in answer["content"][0]["text"]


def test_larger_result_of_anything_else_is_refused() -> None:
    with pytest.raises(RefusedByPolicy, match="limit here") as caught:
        passage("result-size", "resources/read", bytes=5).result(body("long"))
    assert caught.value.data["rule"] == "result-size"


# --- redact ------------------------------------------------------------------------------------------------


def test_what_has_nothing_to_hide_keeps_its_bytes() -> None:
    result = b'{"a" : 123456789012345678901, "b":[1.50,"\\u0041/\\/"], "c":"\\ud800"}'
    assert passage("redact", patterns=["secret"]).result(result) == result


@given(st.text(), st.text())
def test_no_spelling_of_a_secret_passes(before: str, behind: str) -> None:
    text = f"{before}sk-s3cret\N{SNOWMAN}{behind}"
    for ascii_only in (True, False):
        spelled = json.dumps({"content": [{"text": text}], text: [text]}, ensure_ascii=ascii_only)
        result = spelled.encode("utf-8", "surrogatepass")
        shown = json.loads(passage("redact", patterns=["sk-s3cret."]).result(result))
        assert "sk-s3cret" not in json.dumps(shown, ensure_ascii=False)
        assert shown["content"][0]["text"] == f"{before}***{behind}"


def test_value_is_masked_also_as_it_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_TOKEN", 'a"b/c d')
    inner = json.dumps({"token": 'a"b/c d', "url": "a%22b%2Fc%20d"})
    shown = json.loads(passage("redact", values=["${OWN_TOKEN}"], replacement="[gone]").result(body(inner)))
    assert json.loads(shown["content"][0]["text"]) == {"token": "[gone]", "url": "[gone]"}


@pytest.mark.parametrize("value", [None, "abc"])
def test_value_that_is_missing_or_too_short_makes_it_unusable(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OWN_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("OWN_TOKEN", value)
    with pytest.raises((MetaMCPError, ValueError)):
        passage("redact", values=["${OWN_TOKEN}"])


def test_result_that_is_too_large_to_look_through_does_not_pass() -> None:
    with pytest.raises(RefusedByPolicy, match="too many to look through"):
        passage("redact", patterns=["x"], bytes=20).result(body("y" * 30))


# --- call-log ----------------------------------------------------------------------------------------------


def test_call_is_told_with_the_names_of_its_arguments_and_no_value(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("metamcp"), "propagate", True)
    caplog.set_level(logging.INFO, "metamcp")
    arguments = {"path": "s3cret", "s3cret value in a name": 1} | {f"a{number}": 1 for number in range(25)}
    passage("call-log", arguments=arguments).result(body("s3cret"))
    passage("call-log", "resources/read").error(b'{"code":5,"message":"s3cret"}')
    told = [record.fields for record in caplog.records if record.getMessage() == "middleware-call"]
    assert told[0]["arguments"].split(",")[:3] == ["path", "(other)", "a0"] and "7 more" in told[0]["arguments"]
    assert (told[0]["tool"], told[0]["outcome"], told[0]["principal"]) == ("log", "result", "key:laptop")
    assert told[1]["outcome"] == "error" and "tool" not in told[1]
    assert "s3cret" not in str(told)


# --- all of them -------------------------------------------------------------------------------------------


def test_slow_hook_is_told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("metamcp"), "propagate", True)
    monkeypatch.setattr("metamcp.gateway.middleware.stack.SLOW_SECONDS", 0.0)
    passage("time-budget", seconds=1)
    (told,) = [record.fields for record in caplog.records if record.getMessage() == "middleware-slow"]
    assert (told["middleware"], told["hook"]) == ("time-budget", "on_call")


def test_the_least_of_several_limits_counts() -> None:
    call = Call("tools/call", "git", "log", {})
    call.limit(5)
    call.limit(9)
    call.limit(3)
    assert call.seconds == 3


def test_middleware_that_could_not_be_made_is_counted_with_each_call() -> None:
    counted: list[tuple[str, str]] = []
    stack = Stack("n", (Link("x", None),), lambda namespace, use: counted.append((namespace, use)))
    for _ in range(2):
        with pytest.raises(MiddlewareFailed):
            Passage((stack,), Call("tools/call", "git", "log", {}), "", "")
    assert counted == [("n", "x")] * 2


@pytest.mark.parametrize(
    ("pattern", "name", "fitting"),
    [
        ("git__*", "git__log", True), ("git__*", "xgit__log", False), ("a?c", "abc", True), ("a?c", "ac", False),
        ("a.c", "abc", False), ("[a]", "a", False), ("*", "", True), ("A", "a", False), ("a*", "a\nb", True),
    ],
)  # fmt: skip
def test_patterns(pattern: str, name: str, fitting: bool) -> None:
    assert fits([pattern])(name) is fitting
    assert not fits([])(name)
