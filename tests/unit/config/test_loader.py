"""The configuration directory: both files at once, their problems together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metamcp.config.allowlist_schema import allowlist_from
from metamcp.config.images import decide
from metamcp.config.loader import MAX_FILE_BYTES, load
from metamcp.config.model import Allowlist
from metamcp.config.schema import servers_from
from metamcp.errors import ConfigInvalid

ROOT = Path(__file__).resolve().parents[3]
GOOD = '{"mcpServers": {"a": {"command": "x"}}}'


def problems(directory: Path) -> tuple[tuple[str, str], ...]:
    with pytest.raises(ConfigInvalid) as caught:
        load(directory)
    return caught.value.problems


def test_both_files_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_text(GOOD)
    (tmp_path / "allowlist.json").write_text('{"images": ["alpine"]}')
    made = load(tmp_path)
    assert list(made.config.servers) == ["a"]
    assert made.allowlist.rules[0].pattern == "alpine"


def test_missing_allowlist_allows_nothing(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_text(GOOD)
    assert load(tmp_path).allowlist == Allowlist()


def test_allowlist_that_was_there_before_is_missed(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_text(GOOD)
    with pytest.raises(ConfigInvalid) as caught:
        load(tmp_path, expects_allowlist=True)
    ((path, text),) = caught.value.problems
    assert path == "allowlist.json"
    assert "is gone" in text


def test_missing_servers_file_is_a_problem_with_advice(tmp_path: Path) -> None:
    ((path, text),) = problems(tmp_path)
    assert path == "servers.json"
    assert "METAMCP_CONFIG_DIR" in text


def test_problems_of_both_files_come_together_with_the_name_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_text('{"mcpServers": {"a": {"command": 4}}}')
    (tmp_path / "allowlist.json").write_text('{"images": [4], \n "binds": []}')
    paths = [path for path, _ in problems(tmp_path)]
    assert paths == ["servers.json: mcpServers.a.command", "allowlist.json: images[0]", "allowlist.json: binds"]


def test_syntax_error_is_told_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_text(GOOD)
    (tmp_path / "allowlist.json").write_text('{\n"images": [}')
    ((path, text),) = problems(tmp_path)
    assert path == "allowlist.json"
    assert text.startswith("line 2 column 12")


def test_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_bytes(b" " * (MAX_FILE_BYTES + 1))
    assert problems(tmp_path) == (("servers.json", "is larger than 4 MiB"),)


def test_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_bytes(b'{\n"\xff": 1}')
    assert problems(tmp_path) == (("servers.json", "line 2: not UTF-8"),)


def test_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert list(load(tmp_path).config.servers) == ["a"]


def test_directory_in_place_of_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_text(GOOD)
    (tmp_path / "allowlist.json").mkdir()
    ((path, text),) = problems(tmp_path)
    assert path == "allowlist.json"
    assert "cannot be read" in text


def test_shipped_configuration_loads_and_allows_its_own_images() -> None:
    made = load(ROOT / "config")
    assert list(made.config.servers) == ["hello", "clock", "notes"]
    assert made.config.servers["hello"].command == "python3"
    assert made.config.servers["clock"].isolation == "shared"
    assert list(made.config.endpoints) == ["default"]
    started = [spec.args for spec in made.config.servers.values() if spec.command == "docker"]
    assert len(started) == 2
    assert all(decide(made.allowlist, args[2]).allowed for args in started)


def test_examples_of_the_documentation_load() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    examples = [json.loads(part.partition("```")[0]) for part in text.split("```json\n")[1:]]
    assert len(examples) >= 3
    for example in examples:
        _load_example(example)


def _load_example(example: object) -> None:
    is_allowlist = isinstance(example, dict) and ("images" in example or "bindRoots" in example)
    assert allowlist_from(example) if is_allowlist else servers_from(example)
