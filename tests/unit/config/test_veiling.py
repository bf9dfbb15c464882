"""What stands in clear is not shown, and what comes back veiled is what stood there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config.veiling import VEIL, unveiled, veiled

SECRET = "s3cr3t-of-mine"
SHOWN = [
    {"env": {"TOKEN": "${TOKEN}", "KEY": "Bearer ${file:/run/secrets/x}", "LEVEL": "info", "API_KEY": ""}},
    {"headers": {"Authorization": "Bearer ${TOKEN}", "X-Thing": "${A}"}},
    {"args": ["run", "-i", "-e", "TOKEN", "-e", "TOKEN=${TOKEN}", "--api-key", "${KEY}", "image:1", "-v", "/a:/b"]},
    {"args": [f"a/b@sha256:{'0a' * 32}", "a-long-name-of-a-server-with-many-words-v2", "/srv/2024/data:/data:ro"]},
    {"url": "https://user:${PASSWORD}@example.com/mcp?token=${T}&page=2"},
    {"tools": {"a": {"description": "a *** star, password: none"}}, "cosign": {"key": "/etc/cosign.pub"}},
]
VEILED = [
    ({"env": {"GITHUB_TOKEN": SECRET}}, {"env": {"GITHUB_TOKEN": VEIL}}),
    ({"env": {"PASSWORD": "x"}}, {"env": {"PASSWORD": VEIL}}),
    ({"env": {"TOKEN": f"${{TOKEN:-{SECRET}}}"}}, {"env": {"TOKEN": VEIL}}),
    ({"env": {"TOKEN": f"${{A}}{SECRET}"}}, {"env": {"TOKEN": VEIL}}),
    ({"env": {"DB": f"postgres://me:{SECRET}@db/x"}}, {"env": {"DB": f"postgres://me:{VEIL}@db/x"}}),
    ({"env": {"WHAT": f"ghp_{'A1' * 18}"}}, {"env": {"WHAT": VEIL}}),
    ({"args": ["serve", "0a1b2c3d" * 4]}, {"args": ["serve", VEIL]}),
    ({"env": {"DSN": f"https://{'0a' * 16}@example.com/1"}}, {"env": {"DSN": f"https://{VEIL}@example.com/1"}}),
    ({"headers": {"X-Thing": SECRET}}, {"headers": {"X-Thing": VEIL}}),
    ({"args": ["-e", f"TOKEN={SECRET}"]}, {"args": ["-e", f"TOKEN={VEIL}"]}),
    ({"args": [f"--env=TOKEN={SECRET}"]}, {"args": [f"--env=TOKEN={VEIL}"]}),
    ({"args": ["--token", SECRET, "next"]}, {"args": ["--token", VEIL, "next"]}),
    ({"args": [f"--api-key={SECRET}"]}, {"args": [f"--api-key={VEIL}"]}),
    ({"args": ["-H", f"Authorization: Bearer {SECRET}"]}, {"args": ["-H", f"Authorization: {VEIL}"]}),
    ({"args": [f"https://a/?q=1&api_key={SECRET}"]}, {"args": [f"https://a/?q=1&api_key={VEIL}"]}),
    ({"url": f"https://me:{SECRET}@a/?key={SECRET}"}, {"url": f"https://me:{VEIL}@a/?key={VEIL}"}),
    ({"scan": {"command": ["x", f"--token={SECRET}"]}}, {"scan": {"command": ["x", f"--token={VEIL}"]}}),
]


@pytest.mark.parametrize("body", SHOWN)
def test_references_and_what_is_no_secret_are_shown(body: dict[str, Any]) -> None:
    assert veiled(body) == body
    assert unveiled(body, {}) == (body, [])


@pytest.mark.parametrize(("body", "expected"), VEILED)
def test_secrets_are_veiled_and_kept_when_they_come_back(body: dict[str, Any], expected: dict[str, Any]) -> None:
    assert veiled(body) == expected
    assert unveiled(expected, body) == (body, [])
    _, problems = unveiled(expected, {}, ("mcpServers", "a"))
    assert problems and all(parts[:2] == ("mcpServers", "a") for parts, _ in problems)
    assert all(SECRET not in text for _, text in problems)


def test_words_of_a_list_may_move() -> None:
    former = {"args": ["-e", "A_TOKEN=one", "-e", "B_TOKEN=two", "--key", "three"]}
    sent = {"args": ["-v", "-e", f"B_TOKEN={VEIL}", "--key", VEIL, "-e", f"A_TOKEN={VEIL}", "-e", "C_TOKEN=new"]}
    made, problems = unveiled(sent, former)
    assert made["args"] == ["-v", "-e", "B_TOKEN=two", "--key", "three", "-e", "A_TOKEN=one", "-e", "C_TOKEN=new"]
    assert problems == []
    _, problems = unveiled({"args": [VEIL, VEIL]}, former)
    assert [parts for parts, _ in problems] == [("args", 1)], "each stands for one"


def test_what_schemas_refuse_is_no_trouble() -> None:
    body = {"env": 5, "headers": [VEIL], "args": {"a": 1}, "url": None, "command": [1, None]}
    assert veiled(body) == body
    unveiled(body, {"env": {"A": "b"}, "headers": 1})


WORDS = st.text(max_size=12) | st.sampled_from(["--token", "-e", f"TOKEN={SECRET}", "a=b", VEIL])


@given(st.fixed_dictionaries({
    "args": st.lists(WORDS, max_size=6), "url": WORDS, "env": st.dictionaries(WORDS, WORDS, max_size=4),
    "headers": st.dictionaries(WORDS, WORDS, max_size=4),
}))  # fmt: skip
def test_what_is_shown_can_be_sent_back(body: dict[str, Any]) -> None:
    made, problems = unveiled(veiled(body), body)
    assert (problems, veiled(made)) == ([], veiled(body))
    assert all(made[key] == body[key] for key in ("url", "env", "headers"))
    assert sorted(made["args"]) == sorted(body["args"])
