"""What keywords of JSON Schema 2020-12 that hold no schemas may be, and which values a schema allows for certain."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

DEPTH = 64
"""Levels of a value, and of schemas; what is below is left out, and may be anything."""

Schema = dict[str, Any]

_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_TEXTS = frozenset({"title", "description", "$comment", "format", "contentEncoding", "contentMediaType"})
_FLAGS = frozenset({"uniqueItems", "deprecated", "readOnly", "writeOnly"})
_NUMBERS = frozenset({"maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum"})
_COUNTS = frozenset(
    {"maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties", "minContains", "maxContains"}
)
_LONGEST_PATTERN = 1000
_ANNOTATIONS = frozenset({"title", "description", "$comment", "default", "examples", "deprecated"})


def may_be(keyword: str, value: Any) -> bool:  # noqa: PLR0911  a table
    """Is ``value`` what this keyword may have? Unknown ones may have anything that is not nested too deeply."""
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
        return is_pattern(value)
    if keyword == "type":
        return _is_type(value)
    return (keyword not in ("enum", "examples") or isinstance(value, list)) and _is_shallow(value)


def is_schema(value: Any) -> bool:
    return isinstance(value, (dict, bool))


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # of an integer that no float can hold
        return False


def is_pattern(value: Any) -> bool:
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
    names = [it for it in types if isinstance(it, str) and it in _TYPES]
    return bool(names) and len(set(names)) == len(types)


def are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(it, str) for it in value)


def _is_shallow(value: Any, depth: int = DEPTH) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(_is_shallow(it, depth - 1) for it in value.values())
    return not isinstance(value, list) or (depth > 0 and all(_is_shallow(it, depth - 1) for it in value))


# --- defaults ----------------------------------------------------------------------------------------------


def fits(value: Any, schema: Schema | bool) -> bool:
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
            return any(fits(value, it) for it in rule)
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
