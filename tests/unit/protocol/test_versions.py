from __future__ import annotations

import pytest

from metamcp.protocol import versions


@pytest.mark.parametrize("requested", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_revision_that_we_speak_is_answered_with_itself(requested: str) -> None:
    assert versions.negotiate(requested) == requested


@pytest.mark.parametrize("requested", ["", "1999-01-01", "2099-01-01", "latest"])
def test_any_other_revision_is_answered_with_our_latest(requested: str) -> None:
    assert versions.negotiate(requested) == versions.LATEST == max(versions.HANDSHAKE)


def test_assumed_revision_is_one_that_we_speak() -> None:
    assert versions.ASSUMED in versions.HANDSHAKE


def test_each_peculiarity_belongs_to_one_revision() -> None:
    assert [name for name, revision in versions.HANDSHAKE.items() if revision.batches] == ["2025-03-26"]
    assert [name for name, revision in versions.HANDSHAKE.items() if revision.priming] == ["2025-11-25"]
