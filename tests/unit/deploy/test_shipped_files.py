"""What can be said of the files of Docker and Compose without an engine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FILES = ("docker-compose.yml", "docker-compose.dev.yml", "docker-compose.split.yml")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FILES)
def test_every_variable_of_an_operator_is_documented(name: str) -> None:
    read = set(re.findall(r"\$\{(\w+)", (ROOT / name).read_text(encoding="utf-8")))
    _, _, part = CONFIGURATION.partition("## The image and Compose")
    assert read and [variable for variable in sorted(read) if f"`{variable}`" not in part] == []


@pytest.mark.parametrize("name", FILES[::2])
def test_defaults_of_variables_are_those_that_are_documented(name: str) -> None:
    for variable, default in re.findall(r"\$\{(\w+):-([^}]+)\}", (ROOT / name).read_text(encoding="utf-8")):
        if variable.startswith(("METAMCP_LOG", "METAMCP_TRUSTED")):
            continue  # documented in words
        assert f"| `{variable}` | `{default}` |" in CONFIGURATION, variable


def test_nothing_but_the_image_is_sent_to_the_engine() -> None:
    first, *others = [
        line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] not in ("#", "")
    ]
    assert first == "*", "all is left out, and then taken in by name"
    copied = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    taken = {line.removeprefix("!") for line in others if line.startswith("!")}
    assert taken == {word for words in copied for word in words.split()}
    assert not [name for name in taken if "servers.json" in name or name in ("config", "var", ".")]


def test_image_can_be_built_by_old_and_new_builders_from_any_mirror() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert set(re.findall(r"(?m)^FROM (\S+)", text)) == {"${BASE}"}
    for newer in ("# syntax", "--mount", "<<", "--link", "--chmod"):
        assert newer not in text, "the builder of an engine of 20.10 does not know it"
