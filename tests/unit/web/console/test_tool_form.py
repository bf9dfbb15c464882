"""A tool's schema as a form, on paper: what a person sees, and what is sent of what they wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.web.console.tool_form import PREFIX, WHOLE, Field, fields_of, fill, json_problem

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
KEYWORDS = ("type", "enum", "const", "anyOf", "oneOf", "title", "description", "default", "maxLength", "format")


def field(part: Any, required: bool = False) -> Field:
    (found,) = fields_of({"properties": {"a": part}, "required": ["a"] if required else []})
    return found


def sent(part: Any, value: str, required: bool = False) -> Any:
    """The arguments that come of one field, or its problem."""
    filled = fill((field(part, required),), {f"{PREFIX}a": value})
    return json.loads(filled.arguments) if filled.arguments is not None else filled.fields[0].problem


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "maxLength": 20}, "line"),
        ({"type": "string", "format": "date"}, "line"),
        ({"type": "number"}, "number"),
        ({"type": "integer"}, "integer"),
        ({"type": "boolean"}, "choice"),
        ({"enum": ["a", 1, None]}, "choice"),
        ({"const": 5}, "choice"),
        ({"type": "array"}, "json"),
        ({"type": "object"}, "json"),
        ({"type": ["string", "null"]}, "text"),
        ({"type": ["string", "integer"]}, "json"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer"),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "json"),
        ({"$ref": "#/$defs/x"}, "json"),
        ({}, "json"),
        (True, "json"),
    ],
)
def test_each_schema_has_the_field_that_a_person_can_fill_in(part: Any, kind: str) -> None:
    assert field(part).kind == kind


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        ({"enum": ["a", 1], "enumNames": ["one", "two"]}, ["one", "two"]),
        ({"enum": ["a", 1], "enumNames": ["one"]}, ["a", "1"]),
        ({"oneOf": [{"const": "a", "title": "one"}, {"const": 1}]}, ["one", "1"]),
    ],
)
def test_choices_are_shown_by_their_titles_and_sent_as_they_are(part: Any, shown: list[str]) -> None:
    assert field(part).choices == (('"a"', shown[0]), ("1", shown[1]))
    assert sent(part, "1") == {"a": 1}


def test_a_field_says_what_the_schema_says() -> None:
    made = field({"type": "integer", "title": "How many", "description": "of them", "default": 3}, required=True)
    assert (made.name, made.label, made.description, made.value) == (f"{PREFIX}a", "How many", "of them", "3")
    assert made.required
    assert field({"type": "boolean", "default": False}).value == "false"
    assert field({"type": "string", "default": "x"}).value == "x"
    assert field({"type": "array", "default": [1]}).value == "[1]"


@pytest.mark.parametrize(
    ("part", "value", "expected"),
    [
        ({"type": "string"}, "two\nlines ", {"a": "two\nlines "}),
        ({"type": "string"}, "", {}),
        ({"type": "integer"}, " 12345678901234567890123 ", {"a": 12345678901234567890123}),
        ({"type": "number"}, "-1.5e3", {"a": -1500.0}),
        ({"type": "boolean"}, "true", {"a": True}),
        ({"type": "boolean"}, "", {}),
        ({"enum": ["x", 1]}, '"x"', {"a": "x"}),
        ({"enum": ["x", 1]}, "1", {"a": 1}),
        ({"type": "array"}, "[1, {}]", {"a": [1, {}]}),
        ({"type": "object"}, '{"b": null}', {"a": {"b": None}}),
        ({}, "null", {"a": None}),
    ],
)
def test_what_is_written_is_sent_with_its_type(part: Any, value: str, expected: Any) -> None:
    assert sent(part, value) == expected


@pytest.mark.parametrize(
    ("part", "value", "text"),
    [
        ({"type": "integer"}, "1.5", "a whole number"),
        ({"type": "integer"}, "0x1f", "a whole number"),
        ({"type": "number"}, "NaN", "a number"),
        ({"type": "number"}, "1,5", "a number"),
        ({"type": "boolean"}, "yes", "none of the choices"),
        ({"enum": ["x"]}, "x", "none of the choices"),
        ({"type": "array"}, "{}", "must be a JSON array"),
        ({"type": "object"}, "[]", "must be a JSON object"),
        ({"type": "object"}, '{"b": }', "line 1, column 7"),
        ({}, "NaN", "not JSON"),
        ({}, "[" * 5000, "not JSON"),
    ],
)
def test_what_cannot_be_sent_is_told_beside_its_field(part: Any, value: str, text: str) -> None:
    assert text in sent(part, value)


def test_what_is_required_must_be_written() -> None:
    for part in ({"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {"type": "object"}):
        assert sent(part, "", required=True) == "this argument is required"


def test_all_arguments_as_json_come_before_the_fields() -> None:
    fields = (field({"type": "string"}, required=True),)
    assert fill(fields, {WHOLE: ' {"b": 1e2} '}).arguments == b' {"b": 1e2} '
    broken = fill(fields, {WHOLE: "[]", f"{PREFIX}a": "kept"})
    assert broken.arguments is None and "object" in broken.problem
    assert (broken.whole, broken.fields[0].value) == ("[]", "kept")


@pytest.mark.parametrize("schema", [None, [], "x", {}, {"properties": []}, {"properties": {"a": {}}, "required": 1}])
def test_a_schema_that_is_none_gives_no_more_than_json(schema: Any) -> None:
    fields = fields_of(schema)
    assert all(each.kind == "json" for each in fields)
    assert fill(fields, {}).arguments == b"{}"


@given(st.dictionaries(st.text(), st.dictionaries(st.sampled_from(KEYWORDS), JSON)), st.data())
def test_any_schema_and_any_form_give_arguments_or_problems(properties: dict[str, Any], data: st.DataObject) -> None:
    fields = fields_of({"properties": properties, "required": list(properties)[:1]})
    filled = fill(fields, {each.name: data.draw(st.text()) for each in fields})
    if filled.arguments is None:
        assert any(each.problem for each in filled.fields)
    else:
        assert set(json.loads(filled.arguments)) <= set(properties)


@given(JSON)
def test_all_json_is_json(value: Any) -> None:
    assert json_problem(json.dumps(value), "") == ""


@given(st.dictionaries(st.text(), JSON, max_size=3))
def test_json_arguments_arrive_as_they_were_written(arguments: dict[str, Any]) -> None:
    text = json.dumps(arguments)
    filled = fill((), {WHOLE: text})
    assert json.loads(filled.arguments or b"") == arguments or not text.strip()
