"""The console's colors can be told apart in both schemes (WCAG 2.2, 1.4.3 and 1.4.11)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

STYLES = Path(__file__).parents[4] / "metamcp" / "web" / "console" / "static" / "console.css"
BLOCKS = re.findall(r"(?s):root \{(.*?)\}", STYLES.read_text())
SCHEMES = [dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in BLOCKS]
TEXTS = [
    ("text", "ground"), ("text", "panel"), ("text", "code"), ("text", "warn-ground"), ("text", "bad-ground"),
    ("quiet", "ground"), ("quiet", "panel"), ("quiet", "code"), ("quiet", "idle-ground"), ("accent", "ground"),
    ("accent", "panel"), ("on-accent", "accent"), ("bad", "panel"),
    *((name, f"{name}-ground") for name in ("good", "bad", "warn", "busy")),
]  # fmt: skip
MARKS = [("edge", "ground"), ("edge", "panel"), *((f"series-{number}", "panel") for number in range(6))]


def luminance(color: str) -> float:
    digits = color[1:] if len(color) == 7 else "".join(digit * 2 for digit in color[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colors", SCHEMES, ids=["light", "dark"])
def test_text_and_marks_stand_out(colors: dict[str, str]) -> None:
    faint = [pair for pair in TEXTS if contrast(colors[pair[0]], colors[pair[1]]) < 4.5]
    assert faint + [pair for pair in MARKS if contrast(colors[pair[0]], colors[pair[1]]) < 3] == []


def test_contrast_is_that_of_the_standard() -> None:
    assert round(contrast("#000", "#fff"), 2) == 21
    assert round(contrast("#777777", "#ffffff"), 2) == 4.48
