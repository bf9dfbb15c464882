from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from metamcp.runtime.facts import ImageFacts
from metamcp.runtime.screening.findings import Finding, masked, of_configuration, worst_first

NOW = datetime(2026, 6, 1, tzinfo=UTC)
GOOD = ImageFacts("sha256:1", (), "2026-05-01T10:00:00.123456789Z", "65532:65532", 1, "amd64")
KEY = "ghp_" + "a1B2" * 9


def rules(facts: ImageFacts = GOOD, tag: str | None = "1.0", history: tuple[str, ...] = ()) -> dict[str, str]:
    return {finding.rule: finding.text for finding in of_configuration(facts, tag, history, NOW)}


def test_image_without_fault_has_no_finding() -> None:
    harmless = ("PATH=/bin", "TOKEN_FILE=/run/x", "GPG_KEY=ABCDEF0123456789", "PASSWORD=", "TOKEN=${TOKEN}")
    history = ("CMD [x]", "ADD file:abc in /", "RUN pip install x")
    assert rules(replace(GOOD, environment=harmless), history=history) == {}


@pytest.mark.parametrize("user", ["", "0", "root", "0:0", "root:staff"])
def test_root_is_told(user: str) -> None:
    assert '"user"' in rules(replace(GOOD, user=user))["root-user"]


@pytest.mark.parametrize(
    "item",
    ["DB_PASSWORD=hunter2hunter2", "API_KEY=abcd1234abcd", "apikey=abcd1234abcd", "GITHUB_TOKEN=x1234567890",
     f"HARMLESS={KEY}", "X=AKIAABCDEFGHIJKLMNOP",  # no-secret
     "K=-----BEGIN RSA PRIVATE KEY-----", "S=xoxb-1234567890-abcdef"],
)  # fmt: skip
def test_secret_in_the_environment_is_told_by_name_or_form_and_never_shown(item: str) -> None:
    name, _, value = item.partition("=")
    text = rules(replace(GOOD, environment=(item,)))["secret-in-environment"]
    assert name in text and value not in text


@pytest.mark.parametrize(
    ("command", "secret"),
    [
        (f"RUN git clone https://x:{KEY}@example.com/r", KEY),
        ("RUN |1 NPM_TOKEN=abcd1234efgh /bin/sh -c npm ci", "abcd1234efgh"),
        ("ENV SECRET_KEY='with space 1'", "with space 1"),
    ],
)
def test_secret_in_the_history_is_told_once_and_never_shown(command: str, secret: str) -> None:
    found = of_configuration(GOOD, "1.0", (command, command), NOW)
    assert [finding.rule for finding in found] == ["secret-in-history"]
    assert secret not in found[0].text


def test_tag_age_ports_and_remote_layers_are_told() -> None:
    old = replace(GOOD, created="2020-01-01T00:00:00Z", ports=("80/tcp", "443/tcp"))
    found = rules(old, "latest", ("ADD https://example.com/x.tar /x",))
    assert set(found) == {"unpinned-tag", "old-image", "exposed-ports", "remote-add"}
    assert "80/tcp, 443/tcp" in found["exposed-ports"]


@pytest.mark.parametrize("created", ["", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "yesterday"])
def test_age_that_nobody_knows_is_not_told(created: str) -> None:
    assert rules(replace(GOOD, created=created)) == {}


def test_digest_is_no_unpinned_tag() -> None:
    assert rules(tag=None) == {}


def test_worst_come_first() -> None:
    mixed = [Finding("low", "image", "b", ""), Finding("critical", "image", "z", ""), Finding("low", "image", "a", "")]
    assert [finding.rule for finding in worst_first(mixed)] == ["z", "a", "b"]


def test_short_secret_is_masked_as_a_whole() -> None:
    assert masked("12345678") == "***" and masked("123456789") == "1234***"
