"""Every key of both files is in docs/configuration.md, in tables that are made from the schemas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import config_reference
import pytest

from metamcp.config.allowlist_schema import AllowlistSchema, ImageEntry, ImageSchema
from metamcp.config.fields import Choice, Flag, Items, NamedMap, Number, Record, Size, Strict, Text, Texts, key_names
from metamcp.config.middleware_schema import BUILT_IN, CallLogSchema
from metamcp.config.schema import ServersSchema
from metamcp.config.server_schema import WEEK, LimitsSchema

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


def schemas(of: type[Strict]) -> Iterator[type[Strict]]:
    """It and everything below it."""
    yield of
    for field in of().fields.values():
        inner = field.inner if isinstance(field, (Items, NamedMap)) else field
        below = ImageSchema if isinstance(inner, ImageEntry) else inner.schema if isinstance(inner, Record) else None
        if below is not None:
            yield from schemas(below)


MIDDLEWARE = {found for made in BUILT_IN.values() if made is not CallLogSchema for found in schemas(made)}
BOTH = {*schemas(ServersSchema), *schemas(AllowlistSchema), *MIDDLEWARE}


def test_the_committed_document_is_what_is_made_from_the_schemas() -> None:
    assert config_reference.filled(DOCUMENT) == DOCUMENT, "python checks/config_reference.py writes it anew"
    assert sorted(config_reference.markers(DOCUMENT)) == sorted(config_reference.SECTIONS)


def test_every_key_of_both_files_has_a_table_and_a_sentence() -> None:
    shown = {made: set(key_names(made)) for made, _ in config_reference.SECTIONS.values()}
    assert len(BOTH) > 12
    for made in BOTH:
        assert any(set(key_names(made)) <= keys for table, keys in shown.items() if issubclass(table, made)), made
        assert [name for name, field in made().fields.items() if not field.metadata["doc"].endswith(".")] == [], made


def test_every_key_that_a_table_of_the_document_has_exists() -> None:
    known = {key for made in BOTH for key in key_names(made)}
    rows = re.findall(r"(?m)^\| `([a-z][A-Za-z]*)` \| .* \| .* \| .* \|$", DOCUMENT)
    assert len(rows) > 60
    assert [key for key in rows if key not in known] == []


def test_a_table_follows_its_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    class Made(Strict):
        size = Size(1024, '"1k"', required=True, doc="How | much.")
        off = Flag(data_key="isOff", doc="Whether.", unset="never")

    monkeypatch.setitem(config_reference.SECTIONS, "limits", (Made, None))  # type: ignore[arg-type]
    assert config_reference.filled("x\n<!-- keys: limits -->\nold\n<!-- end -->\ny") == (
        "x\n<!-- keys: limits -->\n| key | type | default | meaning |\n|---|---|---|---|\n"
        '| `size` | size, at least `"1k"` | needed | How \\| much. |\n'
        "| `isOff` | true or false | never | Whether. |\n<!-- end -->\ny"
    )


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (Text(), "text"),
        (Text(shape="a URL"), "text, a URL"),
        (Texts(), "text, or list of texts"),
        (Number(0, 10, whole=True), "whole number, 0 to 10"),
        (Number(0.001, WEEK), "number above 0 (a week at most)"),
        (Choice(("a", "b")), "`a`, `b`"),
        (Record(LimitsSchema), "object"),
        (Items(Text()), "list of texts"),
        (Items(Text(), shape="paths"), "list of paths"),
        (NamedMap(Text()), "object of texts"),
        (NamedMap(Record(LimitsSchema)), "object of objects"),
    ],
)
def test_types_are_told_with_their_bounds(field: Any, words: str) -> None:
    assert config_reference.type_of(field) == words


def test_marker_of_no_section_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        config_reference.filled("<!-- keys: nothing -->\n<!-- end -->")
