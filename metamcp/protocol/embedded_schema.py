"""A tool's JSON Schema as a part of another document, where it is valid 2020-12 whatever it was.

Servers send schemas of any draft, and what is none. References of a schema count from its own root, which is no root
any more: they are turned into pointers into the document, and names and addresses within the schema, which could be
those of another tool, go. A keyword whose value is not what 2020-12 allows is left out: the schema then describes less,
and the server judges arguments all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any
from urllib.parse import quote, unquote, urldefrag, urljoin

from metamcp.protocol import json_schema
from metamcp.protocol.schema_values import DEPTH, Schema, are_names, fits, is_pattern, is_schema, may_be

Pointer = tuple[str, ...]

_MAPS = json_schema.MAP | {"properties"}
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"})
"""Whose schemas are about the same value as the schema that they are in."""

_ANCHORS = ("$anchor", "$dynamicAnchor")
_GONE = frozenset({*_REFERENCES, *_ANCHORS, "$id", "$schema", "$vocabulary", "$recursiveAnchor"}) | {
    "dependencies", "additionalItems", "discriminator", "xml", "externalDocs",
}  # fmt: skip
"""Converted, or of no use elsewhere; the last three mean something of their own in OpenAPI."""

_ELSEWHERE = _GONE | _MAPS | json_schema.ONE | json_schema.LIST | {"required", "dependentRequired"}
"""Not copied, but made anew."""


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
        made = {name: value for name, value in schema.items() if _is_copied(name, value)}
        made |= _required_with(schema)
        if old in self.targets:
            made["$ref"] = reference(self.at + self.places[self.targets[old]].pointer)
        for before, after, part in _parts(schema):
            place = old + before
            if place not in self.places:
                continue
            value = part if isinstance(part, bool) else self.converted(place, part)
            _put(made, after, value)
        if "default" in made and not fits(made["default"], made):
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
        elif keyword == "additionalItems" and isinstance(schema.get("items"), list) and is_schema(value):
            yield (keyword,), ("items",), value
        elif keyword in json_schema.ONE and is_schema(value):
            yield (keyword,), (keyword,), value
        elif keyword in json_schema.LIST and isinstance(value, list) and not _shadowed(keyword, schema):
            yield from _listed(keyword, keyword, value)
        elif isinstance(value, dict):
            yield from _mapped(keyword, value)


def _shadowed(keyword: str, schema: Schema) -> bool:
    """Both forms of ``items`` at once."""
    return keyword == "prefixItems" and isinstance(schema.get("items"), list)


def _listed(before: str, after: str, values: list[Any]) -> Iterator[tuple[Pointer, Pointer, Any]]:
    kept = [(number, value) for number, value in enumerate(values) if is_schema(value)]
    for new, (old, value) in enumerate(kept):
        yield (before, str(old)), (after, str(new)), value


def _mapped(keyword: str, values: Schema) -> Iterator[tuple[Pointer, Pointer, Any]]:
    after = "dependentSchemas" if keyword == "dependencies" else keyword
    if after not in _MAPS:
        return
    for name, value in values.items():
        if is_schema(value) and (keyword != "patternProperties" or is_pattern(name)):
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
            found |= {name: list(dict.fromkeys(needed)) for name, needed in value.items() if are_names(needed)}
    required = schema.get("required")
    made: Schema = {"dependentRequired": found} if found else {}
    if are_names(required):
        made["required"] = list(dict.fromkeys(required or ()))
    return made


def _is_copied(keyword: str, value: Any) -> bool:
    return keyword not in _ELSEWHERE and may_be(keyword, value)


# --- addresses ---------------------------------------------------------------------------------------------


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
