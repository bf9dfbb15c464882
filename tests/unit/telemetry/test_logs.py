from __future__ import annotations

import io
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from metamcp.telemetry import logs


def written(style: str, **values: object) -> str:
    stream = io.StringIO()
    logs.configure("INFO", style, stream)
    logs.get("test").info("it-happened", extra=logs.fields(**values))
    return stream.getvalue()


def test_text_line_names_the_event_and_quotes_what_needs_it() -> None:
    line = written("text", server="git", words='two "words"', nothing=None)
    assert " info    it-happened server=git " in line
    assert 'words="two \\"words\\""' in line
    assert "nothing" not in line


def test_json_line_is_one_object() -> None:
    line = json.loads(written("json", server="git", count=3))
    assert (line["event"], line["server"], line["count"], line["level"]) == ("it-happened", "git", 3, "info")


@pytest.mark.parametrize("style", ["text", "json"])
def test_secret_is_masked_wherever_it_stands(style: str) -> None:
    logs.redact.add(["s3cr3t-value"])
    assert "s3cr3t-value" not in written(style, command="run --token=s3cr3t-value", server="s3cr3t-value")


def test_short_values_are_not_masked() -> None:
    redact = logs.Redactor()
    redact.add(["1", "abc"])
    assert redact("1 abc") == "1 abc"


AWKWARD = ['quo"te-and\\slash', "pässwörd", "line one\nline two", "tab\there", "\x1b[31mred"]


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize("secret", AWKWARD)
def test_secret_is_masked_in_the_form_that_the_line_quotes_it(
    style: str, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "redact", logs.Redactor())
    logs.redact.add([secret])
    line = written(style, alone=secret, inside=f"a {secret} b")
    assert line.count("***") == 2
    assert json.dumps(secret)[1:-1] not in line and secret not in line


AWKWARD_FOR_ALL = 'päss "word"\\1~2'


@pytest.mark.parametrize("quoted", [repr, json.dumps, quote, lambda text: json.dumps(text, ensure_ascii=False)])
def test_secret_is_masked_in_the_form_that_a_server_quotes_it(quoted: Callable[[str], str]) -> None:
    redact = logs.Redactor()
    redact.add([AWKWARD_FOR_ALL])
    assert redact(f"login as {quoted(AWKWARD_FOR_ALL)}").strip("'\"").endswith("***")


def test_secret_of_several_lines_is_masked_in_each_of_them() -> None:
    redact = logs.Redactor()
    redact.add(["-----BEGIN-----\n  first-half\r\nsecond-half\nend"])
    assert redact("a first-half b") == "a *** b" and redact("second-half") == "***"
    assert redact("the end") == "the end", "a short line is no secret"


def test_secret_that_contains_another_one_is_masked_whole() -> None:
    redact = logs.Redactor()
    redact.add(["token", "tokenXYZ"])
    redact.add(["my-tokenXYZ-too"])
    assert redact("tokenXYZ token my-tokenXYZ-too") == "*** *** ***"


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize("value", ["a\nlevel=info", "a\rb", "\x1b[2J", "a\x00b", "a\u2028b", "a\u202eb"])
def test_value_cannot_forge_a_line_or_steer_a_terminal(style: str, value: str) -> None:
    line = written(style, name=value)
    assert len(line.splitlines()) == 1
    assert line.removesuffix("\n").isprintable()


def test_what_a_client_sent_is_masked_while_it_is_held_and_a_while_after_that() -> None:
    redact = logs.Redactor()
    redact.add(["lasting-secret"])
    redact.hold(["tenant-1", "abc"])
    redact.hold(["tenant-1"])
    redact.let_go(["tenant-1", "abc"])
    many = [f"other-{number}-x" for number in range(logs.MOST_PAST)]
    for value in many:
        redact.hold([value])
        redact.let_go([value])
    assert redact("tenant-1 abc lasting-secret other-0-x") == "*** abc *** ***"
    redact.let_go(["tenant-1"])
    assert redact("tenant-1 other-0-x other-1-x lasting-secret") == "*** other-0-x *** ***"
    for value in many:
        redact.hold([value])
        redact.let_go([value])
    redact.hold(["one-more-x"])
    redact.let_go(["one-more-x"])
    assert redact("tenant-1 one-more-x lasting-secret") == "tenant-1 *** ***"


def test_exception_and_its_secrets_stay_on_one_masked_line() -> None:
    stream = io.StringIO()
    logs.configure("INFO", "text", stream)
    logs.redact.add(["hunter2-hunter2"])
    try:
        raise ValueError("login as hunter2-hunter2 failed")
    except ValueError:
        logs.get("test").exception("it-broke")
    assert len(stream.getvalue().splitlines()) == 1
    assert "ValueError: login as *** failed" in stream.getvalue()


def test_level_below_the_configured_one_is_silent() -> None:
    stream = io.StringIO()
    logs.configure("warning", "json", stream)
    logs.get("test").info("quiet")
    logs.get("test").warning("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_value_that_json_does_not_know_is_shown_as_text() -> None:
    assert json.loads(written("json", where=Ellipsis))["where"] == "Ellipsis"
