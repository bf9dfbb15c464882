"""docs/operations.md explains every check, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn

from metamcp.config.settings import Settings
from metamcp.factory.diagnosing import Occasion, themes
from metamcp.runtime.cuts import Cuts
from metamcp.runtime.diagnosis.probe import Means
from metamcp.runtime.engine import Engine
from metamcp.runtime.labels import Identity

TEXT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")


def names() -> list[str]:
    def nothing() -> NoReturn:
        raise AssertionError("not to list the checks")

    with Engine("unix:///nowhere") as engine:
        occasion = Occasion(Settings(), engine, Means(), Identity("a", "b"), nothing, nothing, nothing, Cuts())
        return [step.name for step in themes(occasion).steps()]


def test_every_check_has_its_entry_and_every_entry_its_check() -> None:
    section = re.search(r"(?ms)^## Troubleshooting by symptom$(.*?)^## ", TEXT)
    assert section is not None
    entries = re.findall(r"(?m)^\* \*\*`([a-z-]+)`: ", section[1])
    assert sorted(entries) == sorted(names())


def test_every_heading_that_it_links_to_is_there() -> None:
    anchors = {title.lower().replace(" ", "-") for title in re.findall(r"(?m)^#+ (.+)$", TEXT)}
    assert set(re.findall(r"\(#([\w-]+)\)", TEXT)) <= anchors
