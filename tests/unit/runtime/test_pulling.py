"""How far a pull is, from what the engine says line by line."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from metamcp.runtime.pulling import Pull


def pull(*said: dict[str, Any]) -> Pull:
    lines = [json.dumps(line).encode() for line in said]
    socket = SimpleNamespace(fp=SimpleNamespace(raw=SimpleNamespace(_sock=None)))
    return Pull(SimpleNamespace(raw=SimpleNamespace(_fp=socket), iter_lines=lambda: iter([*lines, b""])))


def layer(name: str, current: int, total: int, status: str = "Downloading") -> dict[str, Any]:
    return {"id": name, "status": status, "progressDetail": {"current": current, "total": total}}


def test_layers_that_come_side_by_side_are_one_download() -> None:
    told: list[tuple[int, int]] = []
    engine_says = [
        {"status": "Pulling from library/x", "id": "1"}, {"status": "Waiting", "progressDetail": {}, "id": "a"},
        layer("a", 1, 10), layer("b", 5, 100), layer("a", 10, 10), layer("a", 3, 10, "Extracting"), layer("b", 9, 0),
    ]  # fmt: skip
    assert pull(*engine_says).follow(told=lambda done, size: told.append((done, size))) == ""
    assert told == [(1, 10), (6, 110), (15, 110)]


def test_what_went_wrong_is_told_and_nobody_need_listen() -> None:
    assert pull(layer("a", 1, 10), {"error": "no space left"}).follow() == "no space left"
