"""A tool's JSON Schema as a part of another document, where it is valid 2020-12 whatever it was.

Servers send schemas of any draft, and what is none. References of a schema count from its own root, which is no root
any more: they are turned into pointers into the document, and names and addresses within the schema, which could be
those of another tool, go. A keyword whose value is not what 2020-12 allows is left out: the schema then describes less,
and the server judges arguments all the same.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any
from urllib.parse import quote, unquote, urldefrag, urljoin

from metamcp.protocol import json_schema

DEPTH = 64
"""Levels of schemas, and of values in them; what is below is left out, and may be anything."""

Pointer = tuple[str, ...]
Schema = dict[str, Any]

TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_MAPS = json_schema.MAP | {"properties"}
_TEXTS = frozenset({"title", "description", "$comment", "format", "contentEncoding", "contentMediaType"})
_FLAGS = frozenset({"uniqueItems", "deprecated", "readOnly", "writeOnly"})
_NUMBERS = frozenset({"maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum"})
_COUNTS = frozenset(
    {"maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties", "minContains", "maxContains"}
)
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"})
"""Whose schemas are about the same value as the schema that they are in."""

_ANCHORS = ("$anchor", "$dynamicAnchor")
_GONE = frozenset({*_REFERENCES, *_ANCHORS, "$id", "$schema", "$vocabulary", "$recursiveAnchor"}) | {
    "dependencies", "additionalItems", "discriminator", "xml", "externalDocs",
}  # fmt: skip
"""Converted, or of no use elsewhere; the last three mean something of their own in OpenAPI."""

_LONGEST_PATTERN = 1000
_ANNOTATIONS = frozenset({"title", "description", "$comment", "default", "examples", "deprecated"})


def embed(schema: object, at: Pointer) -> Schema:
    """``schema`` for the place that ``at`` points to in its document. What is no object allows every object."""
    if not isinstance(schema, dict):
        return {"type": "object"}
    root = _Root(schema, at)
    made = root.converted((), schema)
    if "allOf" in made:  # some readers want each required property among the properties
        for name in made.get("required", ()):
            made.setdefault("properties", {}).setdefault(name, {})
    return made


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a schema of the original is in the result, and the address that references in it count from."""

    pointer: Pointer
    base: str
    schema: Schema


@dataclass(slots=True)
class _Root:
    """``places`` by pointer into the original, ``resources`` by address, ``anchors`` by address and name; ``targets``:
    what refers to what, ``besides``: which schemas are about the same value as another one."""

    schema: Schema
    at: Pointer
    places: dict[Pointer, _Place] = field(default_factory=dict)
    resources: dict[str, Pointer] = field(default_factory=lambda: {"": ()})
    anchors: dict[tuple[str, str], Pointer] = field(default_factory=dict)
    targets: dict[Pointer, Pointer] = field(default_factory=dict)
    besides: dict[Pointer, list[Pointer]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._look_at((), (), "", self.schema)
        self.targets = {old: target for old in self.places if (target := self._target(old)) is not None}
        endless = self._endless()
        self.targets = {old: target for old, target in self.targets.items() if not {old, target} <= endless}

    def _look_at(self, old: Pointer, new: Pointer, base: str, schema: Any, depth: int = 0) -> None:
        if depth > DEPTH:
            return
        if not isinstance(schema, dict):
            self.places[old] = _Place(new, base, {})
            return
        base = self._named(old, base, schema)
        self.places[old] = _Place(new, base, schema)
        for before, after, part in _parts(schema):
            if before[0] in _IN_PLACE:
                self.besides.setdefault(old, []).append(old + before)
            self._look_at(old + before, new + after, base, part, depth + 1)

    def _named(self, old: Pointer, base: str, schema: Schema) -> str:
        """The address of what ``schema`` is a part of. In draft 7 an ``$id`` that is a fragment is an anchor."""
        identifier = schema.get("$id")
        if isinstance(identifier, str):
            address, fragment = _defragmented(identifier)
            if address:
                base = _joined(base, address)
                self.resources.setdefault(base, old)
            if fragment:
                self.anchors.setdefault((base, fragment), old)
        for keyword in _ANCHORS:
            if isinstance(name := schema.get(keyword), str):
                self.anchors.setdefault((base, name), old)
        return base

    # --- references ------------------------------------------------------------------------------------

    def _target(self, old: Pointer) -> Pointer | None:
        """What the schema at ``old`` refers to; None for nothing that is here."""
        place = self.places[old]
        reference = next((it for key in _REFERENCES if isinstance(it := place.schema.get(key), str)), None)
        if reference is None:
            return None
        address, fragment = _defragmented(reference)
        base = _joined(place.base, address) if address else place.base
        resource = self.resources.get(base)
        if resource is None:
            return None
        if fragment and not fragment.startswith("/"):
            return self.anchors.get((base, unquote(fragment)))
        steps = unquote(fragment).split("/")[1:]
        found = resource + tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)
        return found if found in self.places else None

    def _endless(self) -> set[Pointer]:
        """Those that nobody can follow to an end: they lead back to themselves, and always about the same value."""
        after = {old: [*self.besides.get(old, ())] for old in self.places}
        for old, target in self.targets.items():
            after[old].append(target)
        sorter = TopologicalSorter(after)
        with suppress(CycleError):
            sorter.prepare()
        left = set(after)
        while sorter.is_active():
            ready = sorter.get_ready()
            left.difference_update(ready)
            sorter.done(*ready)
        return left

    # --- what is made ----------------------------------------------------------------------------------

    def converted(self, old: Pointer, schema: Schema) -> Schema:
        made = {name: value for name, value in schema.items() if _is_kept(name, value)}
        made |= _required_with(schema)
        if old in self.targets:
            made["$ref"] = reference(self.at + self.places[self.targets[old]].pointer)
        for before, after, part in _parts(schema):
            place = old + before
            if place not in self.places:
                continue
            value = part if isinstance(part, bool) else self.converted(place, part)
            _put(made, after, value)
        if "default" in made and not _fits(made["default"], made):
            del made["default"]  # some readers refuse a document whose defaults break its own schemas
        return made


def reference(pointer: Pointer) -> str:
    """A URI fragment (RFC 6901, 6)."""
    steps = (step.replace("~", "~0").replace("/", "~1") for step in pointer)
    return "#" + "".join("/" + quote(step, safe="~!$&'()*+,;=:@") for step in steps)


def _parts(schema: Schema) -> Iterator[tuple[Pointer, Pointer, Any]]:
    """The schemas directly in ``schema``: where each is, where it will be, itself."""
    for keyword, value in schema.items():
        if keyword == "items" and isinstance(value, list):  # before 2020-12
            yield from _listed(keyword, "prefixItems", value)
        elif keyword == "additionalItems" and isinstance(schema.get("items"), list) and _is_schema(value):
            yield (keyword,), ("items",), value
        elif keyword in json_schema.ONE and _is_schema(value):
            yield (keyword,), (keyword,), value
        elif keyword in json_schema.LIST and isinstance(value, list) and not _shadowed(keyword, schema):
            yield from _listed(keyword, keyword, value)
        elif isinstance(value, dict):
            yield from _mapped(keyword, value)


def _shadowed(keyword: str, schema: Schema) -> bool:
    """Both forms of ``items`` at once."""
    return keyword == "prefixItems" and isinstance(schema.get("items"), list)


def _listed(before: str, after: str, values: list[Any]) -> Iterator[tuple[Pointer, Pointer, Any]]:
    kept = [(number, value) for number, value in enumerate(values) if _is_schema(value)]
    for new, (old, value) in enumerate(kept):
        yield (before, str(old)), (after, str(new)), value


def _mapped(keyword: str, values: Schema) -> Iterator[tuple[Pointer, Pointer, Any]]:
    after = "dependentSchemas" if keyword == "dependencies" else keyword
    if after not in _MAPS:
        return
    for name, value in values.items():
        if _is_schema(value) and (keyword != "patternProperties" or _is_pattern(name)):
            yield (keyword, name), (after, name), value


def _put(made: Schema, pointer: Pointer, value: Schema | bool) -> None:
    keyword, *rest = pointer
    if not rest:
        made[keyword] = value
    elif keyword in json_schema.LIST:
        made.setdefault(keyword, []).append(value)
    else:
        made.setdefault(keyword, {})[rest[0]] = value


def _required_with(schema: Schema) -> Schema:
    """``dependentRequired``, as it is, or from ``dependencies``."""
    found: dict[str, list[str]] = {}
    for keyword in ("dependencies", "dependentRequired"):
        if isinstance(value := schema.get(keyword), dict):
            found |= {name: list(dict.fromkeys(needed)) for name, needed in value.items() if _are_names(needed)}
    required = schema.get("required")
    made: Schema = {"dependentRequired": found} if found else {}
    if _are_names(required):
        made["required"] = list(dict.fromkeys(required or ()))
    return made


# --- what a value must be ----------------------------------------------------------------------------------


def _is_kept(keyword: str, value: Any) -> bool:  # noqa: PLR0911  a table
    """Is it one that holds no schema, and may it be so?"""
    if keyword in _GONE or keyword in _MAPS or keyword in json_schema.ONE or keyword in json_schema.LIST:
        return False
    if keyword in ("required", "dependentRequired"):
        return False  # made anew
    if keyword in _TEXTS:
        return isinstance(value, str)
    if keyword in _FLAGS:
        return isinstance(value, bool)
    if keyword in _NUMBERS:
        return _is_number(value)
    if keyword in _COUNTS:
        return _is_number(value) and value >= 0 and float(value).is_integer()
    if keyword == "multipleOf":
        return _is_number(value) and value > 0
    if keyword == "pattern":
        return _is_pattern(value)
    if keyword == "type":
        return _is_type(value)
    return (keyword not in ("enum", "examples") or isinstance(value, list)) and _is_shallow(value)


def _is_schema(value: Any) -> bool:
    return isinstance(value, (dict, bool))


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # of an integer that no float can hold
        return False


def _is_pattern(value: Any) -> bool:
    if not isinstance(value, str) or len(value) > _LONGEST_PATTERN:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of what will mean something else one day
        try:
            re.compile(value)
        except (re.error, RecursionError, OverflowError, Warning):
            return False
    return True


def _is_type(value: Any) -> bool:
    types = value if isinstance(value, list) else [value]
    names = [it for it in types if isinstance(it, str) and it in TYPES]
    return bool(names) and len(set(names)) == len(types)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(it, str) for it in value)


def _is_shallow(value: Any, depth: int = DEPTH) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(_is_shallow(it, depth - 1) for it in value.values())
    return not isinstance(value, list) or (depth > 0 and all(_is_shallow(it, depth - 1) for it in value))


def _defragmented(text: str) -> tuple[str, str]:
    try:
        address, fragment = urldefrag(text)
    except ValueError:
        return text, ""
    return address, fragment


def _joined(base: str, address: str) -> str:
    try:
        return urljoin(base, address)
    except ValueError:
        return address


# --- defaults ----------------------------------------------------------------------------------------------


def _fits(value: Any, schema: Schema | bool) -> bool:
    """Is ``value`` certainly valid? What would need more than a look, is not certain."""
    if isinstance(schema, bool):
        return schema
    return all(_obeys(value, keyword, rule) for keyword, rule in schema.items() if keyword not in _ANNOTATIONS)


def _obeys(value: Any, keyword: str, rule: Any) -> bool:  # noqa: PLR0911  a table
    match keyword:
        case "type":
            return any(_is_of(value, name) for name in (rule if isinstance(rule, list) else [rule]))
        case "enum":
            return any(_same(value, it) for it in rule)
        case "const":
            return _same(value, rule)
        case "anyOf":
            return any(_fits(value, it) for it in rule)
        case "minimum":
            return not _is_number(value) or value >= rule
        case "maximum":
            return not _is_number(value) or value <= rule
        case "items" | "properties":
            return not value or not isinstance(value, (list, dict))  # an empty one
        case "additionalProperties":
            return not isinstance(value, dict) or not value
        case _:
            return False


def _is_of(value: Any, name: str) -> bool:
    match value:
        case None:
            return name == "null"
        case bool():
            return name == "boolean"
        case str():
            return name == "string"
        case list():
            return name == "array"
        case dict():
            return name == "object"
        case _:
            return name == "number" or (name == "integer" and isinstance(value, int))


def _same(one: Any, other: Any) -> bool:
    """In JSON, where 1 is not true."""
    return type(one) is type(other) and one == other
