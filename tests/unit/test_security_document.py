"""docs/security.md names its proofs; a proof that is gone must not be claimed."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_file_that_it_names_is_there() -> None:
    named = set(re.findall(r"`((?:tests|checks|metamcp)/[\w./]+)`", TEXT))
    assert len(named) > 12
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_heading_that_others_link_to_is_there() -> None:
    anchors = {title.lower().replace(" ", "-") for title in re.findall(r"(?m)^#+ (.+)$", TEXT)}
    documents = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    assert set(re.findall(r"security\.md#([\w-]+)", documents)) <= anchors
