from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from metamcp.telemetry import logs


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger("metamcp")
    before = (root.handlers[:], root.level, root.propagate)
    yield
    root.handlers[:], root.level, root.propagate = before


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
