"""Schemas of tools as parts of another document: valid there whatever they were, and meaning what they meant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from examples import share
from hypothesis import assume, given
from json_schemas import narrowing, roots, values
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing.exceptions import Unresolvable

from metamcp.protocol.embedded_schema import DEPTH, embed, reference

AT = ("components", "schemas", "t_input")
PREFIX = "#/components/schemas/t_input"


def document(schema: Any) -> dict[str, Any]:
    return {"components": {"schemas": {"t_input": embed(schema, AT)}}, "$ref": PREFIX}


def accepts(schema: Any, value: Any) -> bool:
    return bool(Draft202012Validator(schema).is_valid(value))


def found(schema: Any, keyword: str) -> Iterator[Any]:
    """Every value of ``keyword``, wherever it is."""
    if isinstance(schema, dict):
        for name, value in schema.items():
            if name == keyword:
                yield value
            yield from found(value, keyword)
    elif isinstance(schema, list):
        for item in schema:
            yield from found(item, keyword)


# --- whatever it is ----------------------------------------------------------------------------------------


@share(2)
@given(roots)
def test_it_is_valid_2020_12(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(embed(schema, AT), format_checker=Draft202012Validator.FORMAT_CHECKER)


@share(2)
@given(narrowing, values)
def test_nothing_is_forbidden_that_the_schema_allows(schema: dict[str, Any], value: Any) -> None:
    try:
        Draft202012Validator.check_schema(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        allowed = accepts(schema, value)
        still = accepts(document(schema), value)
    except (SchemaError, Unresolvable, ValidationError, RecursionError, ValueError, OverflowError, Warning):
        assume(False)
    assert still or not allowed


@pytest.mark.parametrize("schema", [None, True, False, [], "object", 7])
def test_what_is_no_object_allows_every_object(schema: Any) -> None:
    assert embed(schema, AT) == {"type": "object"}


def test_one_that_is_valid_stays_as_it_is() -> None:
    schema = {
        "type": "object", "title": "T", "description": "d", "additionalProperties": False, "required": ["name"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "pattern": "^a", "description": "n", "examples": ["a"]},
            "count": {"type": "integer", "default": 3, "minimum": 0, "maximum": 9},
            "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None, "title": "Maybe"},
            "kind": {"enum": ["a", "b"], "default": "a"},
            "list": {"type": "array", "items": {"type": "number"}, "default": []},
            "own": {"x-own": {"deep": [1]}, "oneOf": [True, {"const": 1}]},
        },
    }  # fmt: skip
    assert embed(schema, AT) == schema


# --- references --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "pointer"),
    [
        ("#", ""), ("#/$defs/A", "/$defs/A"), ("#/$defs/a~1b", "/$defs/a~1b"), ("#/$defs/%C3%A9", "/$defs/%C3%A9"),
        ("#/$defs/x%25", "/$defs/x%25"), ("#named", "/$defs/A"), ("#old", "/$defs/B"),
        ("https://example.com/root.json", ""), ("root.json#/$defs/A", "/$defs/A"),
        ("other.json", "/$defs/B"), ("https://example.com/other.json#/properties/p", "/$defs/B/properties/p"),
    ],
)  # fmt: skip
def test_reference_leads_to_the_same_place_of_the_document(written: str, pointer: str) -> None:
    schema = {
        "$id": "https://example.com/root.json",
        "properties": {"a": {"$ref": written}},
        "$defs": {
            "A": {"$anchor": "named", "type": "string"},
            "B": {"$id": "other.json", "properties": {"p": {"$id": "#old"}, "q": {"$ref": "#/properties/p"}}},
            "a/b": {}, "é": {}, "x%": {},
        },
    }  # fmt: skip
    if written == "#old":
        schema["$defs"] = {"B": {"$id": "#old"}}  # draft 7
    made = embed(schema, AT)
    assert made["properties"]["a"] == {"$ref": PREFIX + pointer}
    assert "$id" not in json.dumps(made) and "$anchor" not in json.dumps(made)
    if written != "#old":
        assert made["$defs"]["B"]["properties"]["q"] == {"$ref": f"{PREFIX}/$defs/B/properties/p"}


def test_recursive_one_stays_recursive() -> None:
    schema = {"type": "object", "properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}}}
    made = document(schema)
    assert accepts(made, {"next": {"next": {"n": 1}}}) and not accepts(made, {"next": {"next": {"n": "one"}}})


def test_dynamic_and_recursive_references_are_plain_ones() -> None:
    schema = {
        "properties": {"d": {"$dynamicRef": "#node"}, "r": {"$recursiveRef": "#"}},
        "$dynamicAnchor": "node", "$recursiveAnchor": True,
    }  # fmt: skip
    assert embed(schema, AT) == {"properties": {"d": {"$ref": PREFIX}, "r": {"$ref": PREFIX}}}


@pytest.mark.parametrize("written", ["#/nowhere", "https://example.com/other.json", "file:///etc/passwd", "#gone", 7])
def test_reference_that_leads_nowhere_is_left_out(written: Any) -> None:
    made = embed({"properties": {"a": {"$ref": written, "description": "kept"}}}, AT)
    assert made == {"properties": {"a": {"description": "kept"}}}


def test_references_that_only_lead_back_to_themselves_are_left_out() -> None:
    schema = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}, "c": {"$ref": "#/$defs/a"}}}
    assert list(found(embed(schema, AT), "$ref")) == []


@pytest.mark.parametrize(
    "endless",
    [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}, {"anyOf": [{"type": "string"}, {"not": {"$ref": "#/$defs/A"}}],
                                                 "$defs": {"A": {"if": {"$ref": "#/anyOf/1"}}}}],
    ids=str,
)  # fmt: skip
def test_reference_that_no_reader_could_follow_to_an_end_is_left_out(endless: dict[str, Any]) -> None:
    made = embed(endless | {"properties": {"again": {"$ref": "#"}}}, AT)
    assert list(found({**made, "properties": {}}, "$ref")) == []


def test_data_is_no_schema() -> None:
    schema = {"const": {"$ref": "#/$defs/A"}, "$defs": {"A": {}}, "enum": [{"$id": "x"}]}
    assert embed(schema, AT) == schema


def test_pointer_is_written_as_a_fragment() -> None:
    assert reference(("a/b", "~", "é%")) == "#/a~1b/~0/%C3%A9%25"


# --- older drafts, and none --------------------------------------------------------------------------------


def test_tuples_of_older_drafts() -> None:
    schema = {
        "items": [{"type": "string"}, 7, {"$ref": "#/items/0"}], "additionalItems": False,
        "$schema": "http://json-schema.org/draft-07/schema#",
    }  # fmt: skip
    made = embed(schema, AT)
    assert made == {"prefixItems": [{"type": "string"}, {"$ref": f"{PREFIX}/prefixItems/0"}], "items": False}


def test_dependencies_of_older_drafts() -> None:
    schema = {"dependencies": {"a": ["b", "b"], "c": {"required": ["d"]}, "e": 7}}
    made = embed(schema, AT)
    assert made == {"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"c": {"required": ["d"]}}}


def test_definitions_of_older_drafts_are_found() -> None:
    schema = {"definitions": {"A": {"type": "string"}}, "properties": {"a": {"$ref": "#/definitions/A"}}}
    assert embed(schema, AT)["properties"]["a"] == {"$ref": f"{PREFIX}/definitions/A"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "any"}, {"type": []}, {"type": ["string", "string"]}, {"exclusiveMinimum": True}, {"minLength": -1},
        {"multipleOf": 0}, {"pattern": "["}, {"properties": []}, {"properties": {"a": 7}}, {"allOf": []},
        {"required": True}, {"title": 7}, {"enum": 7}, {"uniqueItems": "yes"}, {"maximum": 10**400},
        {"patternProperties": {"[": {}}}, {"not": 7}, {"xml": 7}, {"discriminator": {"propertyName": "a"}},
    ],
    ids=str,
)  # fmt: skip
def test_keyword_that_cannot_be_is_left_out(wrong: dict[str, Any]) -> None:
    assert embed({**wrong, "description": "kept"}, AT) == {"description": "kept"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "default": 1}, {"type": "integer", "default": True}, {"enum": [1], "default": True},
        {"type": "string", "default": None}, {"minimum": 2, "default": 1},
        {"type": "string", "minLength": 3, "default": ""},
        {"anyOf": [{"type": "string"}], "default": 1}, {"$ref": "#/$defs/A", "default": 1, "$defs": {"A": {}}},
    ],
    ids=str,
)  # fmt: skip
def test_default_that_may_not_fit_is_left_out(schema: dict[str, Any]) -> None:
    assert "default" not in embed(schema, AT)


def test_what_is_nested_too_deeply_may_be_anything() -> None:
    schema: dict[str, Any] = {"type": "string"}
    value: list[Any] = []
    for _ in range(700):
        schema, value = {"properties": {"a": schema}}, [value]
    made = embed({**schema, "const": value}, AT)
    assert len(list(found(made, "properties"))) == DEPTH
    assert "const" not in made and list(found(made, "type")) == []
