"""``${NAME}``, defaults and secret files: what is put in, what is masked, and what an error may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config.model import ServerSpec
from metamcp.config.secrets import MAX_SECRET_BYTES, read_secret_file, resolve, resolve_server, template_problem
from metamcp.errors import SecretMissing


def no_file(path: str) -> str:
    raise FileNotFoundError(2, "No such file or directory", path)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("${A}", "one"),
        ("x${A}y${A}z", "xoneyonez"),
        ("${A:-two}", "one"),
        ("${B:-two}", "two"),
        ("${B:-}", ""),
        ("${EMPTY}", ""),
        ("${EMPTY:-two}", "two"),
        ("${B:-a:-b}", "a:-b"),
        ("$A $ $$ $(x) {A}", "$A $ $$ $(x) {A}"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("${A}$${A}${A}", "one${A}one"),
        ("${NESTED}", "${A}"),
        ("${file:/run/secrets/x}", "from file"),
    ],
)
def test_text_becomes_what_its_variables_say(text: str, result: str) -> None:
    environ = {"A": "one", "EMPTY": "", "NESTED": "${A}"}
    assert resolve(text, environ, lambda path: "from file\n") == result


@pytest.mark.parametrize(("content", "value"), [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("", "")])
def test_one_trailing_newline_of_a_secret_file_is_dropped(content: str, value: str) -> None:
    assert resolve("${file:/x}", {}, lambda path: content) == value


def test_unset_variable_fails_with_its_name() -> None:
    with pytest.raises(SecretMissing) as caught:
        resolve("${GIT_TOKEN}", {}, no_file)
    assert caught.value.data == {"name": "GIT_TOKEN"}
    assert "GIT_TOKEN is not set" in caught.value.text


def test_unreadable_secret_file_fails_with_its_path_and_reason() -> None:
    with pytest.raises(SecretMissing) as caught:
        resolve("${file:/run/secrets/x}", {}, no_file)
    assert caught.value.data == {"name": "file:/run/secrets/x"}
    assert "No such file" in caught.value.text


def test_secret_with_a_nul_byte_fails_without_being_shown() -> None:
    with pytest.raises(SecretMissing) as caught:
        resolve("${file:/x}", {}, lambda path: "hunter2\0")
    assert "hunter2" not in str(caught.value.as_jsonrpc())


@pytest.mark.parametrize("text", ["${", "${A", "${}", "${1A}", "${A-B}", "${A:x}", "${A }", "${file:}", "${file:x}"])
def test_malformed_variable_is_a_problem_and_never_passed_on(text: str) -> None:
    assert template_problem(text)
    with pytest.raises(SecretMissing):
        resolve(text, {"A": "x"}, lambda path: "x")


@pytest.mark.parametrize("text", ["", "$", "$$", "$${", "$${A", "${A}", "${A:-}", "${A:-x y}", "${file:/a b}", "}{"])
def test_well_formed_text_is_no_problem(text: str) -> None:
    assert template_problem(text) is None


def test_default_with_another_variable_is_a_problem() -> None:
    assert "default" in (template_problem("${A:-${B}}") or "")


def test_server_is_resolved_everywhere_and_its_secrets_are_known_longest_first() -> None:
    spec = ServerSpec(
        "git",
        args=("--key=${KEY}", "plain"),
        env={"TOKEN": "${file:/t}", "LEVEL": "${LEVEL:-info}"},
        url="https://${HOST}/",
        headers={"Authorization": "Bearer ${KEY}"},
    )
    made = resolve_server(spec, {"KEY": "k1", "HOST": "h"}, lambda path: "token\n")
    assert made.args == ("--key=k1", "plain")
    assert made.env == {"TOKEN": "token", "LEVEL": "info"}
    assert made.url == "https://h/"
    assert made.headers == {"Authorization": "Bearer k1"}
    assert made.secrets == ("Bearer k1", "token", "k1", "h")


def test_what_the_configuration_itself_calls_a_secret_is_known_as_one() -> None:
    spec = ServerSpec(
        "git",
        args=("--db=postgres://me:in-args@db/x",),
        env={"API_KEY": "literal-key", "MODE": "production", "DB": "amqp://me:pw1@h", "TOKEN": "${T:-by-default}"},
        url="https://h/",
        headers={"Authorization": "Bearer in-clear", "X-Trace": "everything"},
    )
    made = resolve_server(spec, {}, lambda path: "")
    known = {"literal-key", "pw1", "in-args", "by-default", "Bearer in-clear", "in-clear"}
    assert set(made.secrets) == known


def test_missing_secret_of_a_server_carries_the_name_of_the_server() -> None:
    with pytest.raises(SecretMissing) as caught:
        resolve_server(ServerSpec("git", env={"A": "${B}"}), {}, no_file)
    assert caught.value.data == {"name": "B", "server": "git"}


def test_line_break_in_a_secret_cannot_begin_another_header() -> None:
    spec = ServerSpec("far", headers={"Authorization": "Bearer ${KEY}"})
    with pytest.raises(SecretMissing) as caught:
        resolve_server(spec, {"KEY": "hunter2\r\nX-Admin: 1"}, no_file)
    assert "Authorization" in caught.value.text
    assert "hunter2" not in str(caught.value.as_jsonrpc())


def test_secret_file_is_read_up_to_its_limit_as_utf8(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes("ä\n".encode())
    (tmp_path / "large").write_bytes(b"x" * (MAX_SECRET_BYTES + 1))
    (tmp_path / "binary").write_bytes(b"\xff")
    assert read_secret_file(str(tmp_path / "good")) == "ä\n"
    for name in ("large", "binary"):
        with pytest.raises(SecretMissing):
            resolve(f"${{file:{tmp_path / name}}}", {}, read_secret_file)


@given(st.text().filter(lambda text: "${" not in text))
def test_text_without_variables_is_never_changed(text: str) -> None:
    assert resolve(text, {}, no_file) == text


@given(st.text())
def test_any_text_can_be_written_by_escaping_its_openings(text: str) -> None:
    assert resolve(text.replace("${", "$${"), {}, no_file) == text


VALUES = st.text().filter(lambda value: "\0" not in value)


@given(VALUES, VALUES)
def test_value_is_put_in_once_and_never_read_again(before: str, value: str) -> None:
    text = before.replace("${", "$${").rstrip("$") + "|${X}"
    assert resolve(text, {"X": value}, no_file) == before.rstrip("$") + "|" + value


@given(st.text(alphabet="${}A:-/file \n") | st.text())
def test_any_text_resolves_or_is_refused_and_the_check_agrees(text: str) -> None:
    environ: dict[str, Any] = {}
    try:
        resolve(text, environ, lambda path: "x")
    except SecretMissing as missing:
        assert template_problem(text) or missing.data["name"]
