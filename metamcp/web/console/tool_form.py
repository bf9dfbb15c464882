"""A tool's input schema as the fields of a form, and what was written into them as its arguments: decided on paper.

Of JSON Schema what a person can fill in gets a field of its own kind; everything else is JSON, and so may be the whole.
What the arguments mean is for the server to judge.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NoReturn

import msgspec

Kind = Literal["text", "line", "number", "integer", "choice", "json"]

PREFIX = "argument:"
"""Before the name of an argument in the names of the form."""

WHOLE = "arguments"
"""The field that has all arguments as one JSON object, instead of the others."""

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_ONE_LINE = 120  # characters; what may be longer gets more lines


@dataclass(frozen=True, slots=True)
class Field:
    """``name`` in the form, ``label`` and ``description`` for people. ``choices``: the JSON of each, and how it is
    shown. ``shape``: of JSON, the type that it must have, "" for any. ``problem`` says what is wrong with ``value``."""

    name: str
    label: str
    kind: Kind
    required: bool = False
    description: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    shape: str = ""
    value: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Filled:
    """What came of a form: its ``fields`` with their values and problems, and the raw arguments when there is no
    problem. ``whole`` is the JSON that was written instead of them."""

    fields: tuple[Field, ...]
    arguments: bytes | None = None
    whole: str = ""
    problem: str = ""  # of ``whole``


def fields_of(schema: Any) -> tuple[Field, ...]:
    """In the order of the schema. None, for a schema that is not one of an object with properties."""
    properties = _mapping(_mapping(schema).get("properties"))
    required = _mapping(schema).get("required")
    needed = set(filter(_is_text, required)) if isinstance(required, list) else set()
    return tuple(_field(name, part, name in needed) for name, part in properties.items())


def fill(fields: tuple[Field, ...], sent: Mapping[str, str]) -> Filled:
    """``sent``: the fields of the form as the browser sent them."""
    whole = sent.get(WHOLE, "")
    if whole.strip():
        problem = json_problem(whole, "object")
        kept = tuple(replace(it, value=sent.get(it.name, "")) for it in fields)
        return Filled(kept, None if problem else whole.encode(), whole, problem)
    done, raw = [], {}
    for each in fields:
        filled, value = _filled(each, sent.get(each.name, ""))
        done.append(filled)
        if value:
            raw[each.name.removeprefix(PREFIX)] = msgspec.Raw(value.encode())
    complete = not any(it.problem for it in done)
    return Filled(tuple(done), msgspec.json.encode(raw) if complete else None)


def json_problem(text: str, shape: str) -> str:
    """What keeps ``text`` from being JSON of the type ``shape``; "" when nothing does."""
    try:
        found = json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        return f"this is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
    except (ValueError, RecursionError):
        return "this is not JSON that can be sent"
    wanted = {"object": dict, "array": list}.get(shape)
    return f"this must be a JSON {shape}" if wanted is not None and not isinstance(found, wanted) else ""


# --- from the schema ---------------------------------------------------------------------------------------


def _field(name: str, schema: Any, required: bool) -> Field:
    part = _only_variant(_mapping(schema))
    made = Field(
        PREFIX + name, _text(part, "title") or name, "json", required, _text(part, "description"),
        value=_default(part),
    )  # fmt: skip
    if choices := _choices(part):
        return replace(made, kind="choice", choices=choices, value=_json(part["default"]) if "default" in part else "")
    match _type(part):
        case "string":
            return replace(made, kind="line" if _is_short(part) else "text")
        case "number":
            return replace(made, kind="number")
        case "integer":
            return replace(made, kind="integer")
        case "object" | "array" as shape:
            return replace(made, shape=shape)
        case _:
            return made


def _only_variant(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of ``anyOf`` with ``null``, as generators write what is optional, the other one."""
    for keyword in ("anyOf", "oneOf"):
        variants = part.get(keyword)
        if isinstance(variants, list):
            real = [it for it in variants if _mapping(it).get("type") != "null"]
            if len(real) == 1:
                rest = {key: value for key, value in part.items() if key != keyword}
                return {**_mapping(real[0]), **rest}
    return part


def _type(part: Mapping[str, Any]) -> str:
    """The one type that it may have, besides null; "" for several."""
    types = part.get("type")
    real = [it for it in (types if isinstance(types, list) else [types]) if it != "null"]
    return real[0] if len(real) == 1 and isinstance(real[0], str) else ""


def _choices(part: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """With their titles, from ``enumNames`` (Elicitation, 2025-06-18) or ``oneOf`` (2025-11-25)."""
    if titled := _titled(part):
        return titled
    values = part.get("enum")
    if "const" in part:
        values = [part["const"]]
    elif _type(part) == "boolean":
        values = [True, False]
    if not isinstance(values, list):
        return ()
    names = part.get("enumNames")
    named = names if isinstance(names, list) and len(names) == len(values) else values
    return tuple((_json(value), _shown(name)) for value, name in zip(values, named, strict=True))


def _titled(part: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    variants = part.get("oneOf")
    if not isinstance(variants, list) or not all("const" in _mapping(it) for it in variants):
        return ()
    return tuple((_json(it["const"]), _text(it, "title") or _shown(it["const"])) for it in variants)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _is_short(part: Mapping[str, Any]) -> bool:
    longest = part.get("maxLength")
    return bool(_text(part, "format")) or (isinstance(longest, int) and longest <= _ONE_LINE)


def _default(part: Mapping[str, Any]) -> str:
    value = part.get("default")
    return "" if value is None else value if isinstance(value, str) and _type(part) == "string" else _json(value)


# --- from the form -----------------------------------------------------------------------------------------


def _filled(each: Field, value: str) -> tuple[Field, str]:
    """The field as it was sent, and the JSON of its value; "" for one that is not sent."""
    kept = replace(each, value=value)
    if not value.strip() and (each.kind != "text" or not value):
        return (replace(kept, problem="this argument is required"), "") if each.required else (kept, "")
    match each.kind:
        case "text" | "line":
            return kept, _json(value)
        case "choice":
            known = any(value == choice for choice, _ in each.choices)
            return (kept, value) if known else (replace(kept, problem="this is none of the choices"), "")
        case "integer" | "number" as kind:
            right = (_INTEGER if kind == "integer" else _NUMBER).fullmatch(value.strip())
            what = "a whole number" if kind == "integer" else "a number"
            return (kept, value.strip()) if right else (replace(kept, problem=f"this must be {what}"), "")
        case "json":
            problem = json_problem(value, each.shape)
            return (replace(kept, problem=problem), "") if problem else (kept, value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(part: Mapping[str, Any], name: str) -> str:
    value = part.get(name)
    return value if isinstance(value, str) else ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
