"""The tables of keys in docs/configuration.md, from the schemas: ``python checks/config_reference.py`` writes them.

Between ``<!-- keys: NAME -->`` and ``<!-- end -->`` everything is made here; whatever else the document says is written
by hand. The sentence of a key, and what its default means where that is no value, stand in the schema beside the key.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from marshmallow import fields as marshmallow

from metamcp.config import allowlist_schema, hints, middleware_schema, model, schema, server_schema
from metamcp.config.fields import Choice, Flag, Items, NamedMap, Number, Record, Size, Strict, Text, Texts
from metamcp.config.model import MIB
from metamcp.config.server_schema import WEEK

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"

SECTIONS: Mapping[str, tuple[type[Strict], Any]] = {
    "servers.json": (schema.ServersSchema, None),
    "server": (server_schema.ListedServerSchema, model.ServerSpec),
    "limits": (server_schema.LimitsSchema, model.Limits),
    "timeouts": (server_schema.TimeoutsSchema, model.Timeouts),
    "namespace": (schema.NamespaceSchema, model.NamespaceSpec),
    "tool": (schema.ToolSchema, model.ToolOverride),
    "filter": (middleware_schema.FilterSchema, None),
    "overrides": (middleware_schema.OverridesSchema, None),
    "result-size": (middleware_schema.ResultSizeSchema, None),
    "redact": (middleware_schema.RedactSchema, None),
    "time-budget": (middleware_schema.TimeBudgetSchema, None),
    "hints": (hints.AnnotationsSchema, None),
    "endpoint": (schema.EndpointSchema, model.EndpointSpec),
    "oauth": (schema.OAuthSchema, model.OAuthSpec),
    "allowlist.json": (allowlist_schema.AllowlistSchema, model.Allowlist),
    "rule": (allowlist_schema.ImageSchema, model.ImageRule),
    "cosign": (allowlist_schema.CosignSchema, model.Cosign),
    "scan": (allowlist_schema.ScanSchema, model.Scan),
    "allow": (allowlist_schema.AllowanceSchema, model.Allowance),
}
"""Marker → the schema, and the record that has the defaults."""

_MARKED = re.compile(r"(<!-- keys: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_NOTHING = "\N{EN DASH}"
_TINY = 0.001  # what stands for "above 0" in a schema


def main() -> int:
    text = DOCUMENT.read_text(encoding="utf-8")
    made = filled(text)
    if made != text:
        DOCUMENT.write_text(made, encoding="utf-8")
        print(f"{DOCUMENT.name}: written anew")
    return 0


def filled(text: str) -> str:
    """The document with every table as it should be. Raises KeyError for a marker of no section."""
    return _MARKED.sub(lambda found: f"{found[1]}{table(found[2])}{found[3]}", text)


def markers(text: str) -> list[str]:
    return [found[2] for found in _MARKED.finditer(text)]


def table(section: str) -> str:
    """The rows of one schema, in the order of the schema."""
    made, record = SECTIONS[section]
    defaults = {item.name: item for item in dataclasses.fields(record)} if record else {}
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    rows += [_row(name, field, defaults) for name, field in _in_order(made)]
    return "\n".join(rows) + "\n"


def _in_order(made: type[Strict]) -> Iterator[tuple[str, marshmallow.Field[Any]]]:
    """What a schema adds to the one that it extends comes first: that is ``name``."""
    inherited = {name for base in made.__bases__ if issubclass(base, Strict) for name in base().fields}
    yield from sorted(made().fields.items(), key=lambda pair: pair[0] in inherited)


def _row(name: str, field: marshmallow.Field[Any], defaults: Mapping[str, Any]) -> str:
    key, said = field.data_key or name, field.metadata["doc"]
    return f"| `{key}` | {type_of(field)} | {_default(name, field, defaults)} | {_escaped(said)} |"


def type_of(field: Any) -> str:
    """In the words of the document, with the bounds."""
    shape = field.metadata.get("shape", "")
    match field:
        case Flag():
            return "true or false"
        case Text():
            return f"text, {shape}" if shape else "text"
        case Texts():
            return "text, or list of texts"
        case Number():
            return _number(field)
        case Size():
            return f"size, at least {_code(field.least.strip(chr(34)), quoted=field.least.startswith(chr(34)))}"
        case Choice():
            return ", ".join(f"`{value}`" for value in field.values)
        case Record():
            return "object"
        case Items():
            return f"list of {shape or _several(field.inner)}"
        case NamedMap():
            return f"object of {shape or _several(field.inner)}"
    raise TypeError(f"no words for {type(field).__name__}")


def _number(field: Number) -> str:
    name = "whole number" if field.whole else "number"
    if field.low == _TINY:
        return f"{name} above 0" + (" (a week at most)" if field.high == WEEK else "")
    return f"{name}, {field.low:g} to {field.high:.15g}"


def _several(inner: Any) -> str:
    match inner:
        case Text():
            return "texts"
        case allowlist_schema.ImageEntry():
            return "texts or objects"
    return "objects"


def _default(name: str, field: marshmallow.Field[Any], defaults: Mapping[str, Any]) -> str:
    if field.required:
        return "needed"
    if unset := field.metadata["unset"]:
        return str(unset)
    item = defaults.get(name)
    if item is None or (item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING):
        return _NOTHING
    value = item.default_factory() if item.default is dataclasses.MISSING else item.default
    return _shown(value, isinstance(field, Size))


def _shown(value: Any, size: bool) -> str:
    if value is None or value == "":
        return _NOTHING
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if size:
        return f'`"{value // MIB}m"`'
    if isinstance(value, (int, float)):
        return f"`{value:g}`"
    return "`[]`" if value == () else "`{}`" if value == {} else f"`{value}`"


def _code(text: str, *, quoted: bool) -> str:
    return f'`"{text}"`' if quoted else text


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
