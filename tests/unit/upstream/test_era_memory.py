"""The file of verdicts: survives restarts, and is never in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from metamcp.upstream import era_memory
from metamcp.upstream.era import Verdict


def test_what_was_kept_is_recalled(tmp_path: Path) -> None:
    verdicts = {"sha256:1 f": Verdict(("legacy", "modern"), 1.5), "sha256:2 f": Verdict(("modern",), 2.0)}
    era_memory.keep(tmp_path, verdicts)
    assert era_memory.recall(tmp_path) == verdicts
    assert [path.name for path in tmp_path.iterdir()] == [era_memory.FILE_NAME]


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"a":{"eras":["future"],"at":1}}', b"\xff"])
def test_a_file_that_cannot_be_used_is_as_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / era_memory.FILE_NAME).write_bytes(content)
    assert era_memory.recall(tmp_path) == {}


def test_a_state_directory_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    era_memory.keep(tmp_path / "missing", {})
    assert not (tmp_path / "missing").exists()
