"""What servers may send as the schema of a tool, for hypothesis: of any draft, with references of every kind, and what
is no schema at all."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

names = st.sampled_from(["a", "b", "A", "a/b", "~", "%", "é", "", "$ref", "x y"])
references = st.sampled_from(
    ["#", "#/$defs/A", "#/$defs/B", "#/definitions/A", "#/properties/a", "#/properties/a~1b", "#/properties/%C3%A9",
     "#/properties/a/items", "#/items/0", "#/allOf/0", "#anchor", "#/nowhere", "item.json", "item.json#/properties/a",
     "https://example.com/schema.json", "https://example.com/item.json", "http://[", "#/%", 7]
)  # fmt: skip
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.sampled_from([10**400])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=5
)
types = st.sampled_from(["string", "integer", "number", "object", "array", "null", "any", ["string", "null"], []])

_LEAVES: dict[str, Any] = {
    "type": types,
    "$ref": references,
    "$dynamicRef": references,
    "$recursiveRef": st.just("#"),
    "$id": st.sampled_from(["https://example.com/schema.json", "item.json", "#anchor", "http://[", ""]),
    "$schema": st.sampled_from(["http://json-schema.org/draft-07/schema#", "urn:nobody"]),
    "$anchor": st.sampled_from(["anchor", "other"]),
    "$dynamicAnchor": st.just("anchor"),
    "title": st.text(max_size=5),
    "description": st.text(max_size=5),
    "default": values,
    "const": values,
    "enum": st.lists(values, max_size=3),
    "examples": st.lists(values, max_size=3),
    "pattern": st.sampled_from(["^a+$", "[", r"\p{L}", "(?<year>x)", "[[a]"]),
    "format": st.sampled_from(["date", "uri", "nothing"]),
    "minimum": st.integers() | st.booleans(),
    "exclusiveMinimum": st.integers() | st.booleans(),
    "multipleOf": st.integers(-1, 3),
    "maxLength": st.integers(-1, 3) | st.floats(allow_nan=False),
    "required": st.lists(names, max_size=3) | st.booleans(),
    "nullable": st.booleans(),
    "deprecated": st.booleans(),
    "discriminator": st.just({"propertyName": "a", "mapping": {"x": "#/$defs/A"}}),
    "x-own": values,
}


def _keyword(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, Any]]:
    made = dict(_LEAVES)
    made |= dict.fromkeys(("not", "if", "contains", "additionalProperties", "propertyNames", "additionalItems"), inner)
    made |= dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), st.lists(inner, max_size=2))
    made |= {"items": inner | st.lists(inner, max_size=2)}
    maps = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
    made |= dict.fromkeys(maps, st.dictionaries(names, inner, max_size=3))
    made |= {"dependencies": st.dictionaries(names, inner | st.lists(names, max_size=2), max_size=2)}
    right = [value.map(lambda it, keyword=keyword: (keyword, it)) for keyword, value in made.items()]
    return st.one_of(*right, st.tuples(st.sampled_from(sorted(made)), values))


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(_keyword(inner), max_size=5).map(dict)


schemas = st.recursive(st.booleans() | st.just({}) | scalars, _objects, max_leaves=12)
"""Anything that may stand where a schema is expected."""

roots = _objects(schemas)
"""What may stand as the schema of a tool: objects."""

narrowing = roots.filter(lambda schema: not _is_more(schema))
"""Those in which less said is more allowed, and everything means the same in 2020-12 as in the drafts before it."""

_INVERTED = frozenset({"not", "if", "oneOf", "patternProperties"})
_OLDER = frozenset({"dependencies", "$recursiveRef"})  # without a meaning in 2020-12
_AMBIGUOUS = frozenset({"$id", "$anchor", "$dynamicAnchor", "$dynamicRef"})  # as often as one comes twice


def _is_more(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_is_more, schema))
    if not isinstance(schema, dict):
        return False
    return bool((_INVERTED | _OLDER | _AMBIGUOUS) & set(schema)) or any(map(_is_more, schema.values()))
