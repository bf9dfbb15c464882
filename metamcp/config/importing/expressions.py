"""``{{server.key|filter}}`` in catalogs of Docker's MCP toolkit: texts and lists out of what a user has configured."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

MOST_EXPRESSIONS = 100
"""In one text; what stands behind them is taken literally."""

_EXPRESSION = re.compile(r"\{\{(.*?)\}\}")


def evaluated(text: str, config: Mapping[str, Any]) -> list[str]:
    """What a text comes to: one text, none where nothing is left, or several where the whole of it is a list."""
    whole = _EXPRESSION.fullmatch(text)
    if whole and isinstance(found := _value(whole[1], config), list):
        return [item for item in map(_text, found) if item]
    made = _EXPRESSION.sub(lambda found: _joined(_value(found[1], config)), text, count=MOST_EXPRESSIONS)
    return [made] if made else []


def missing(text: str, config: Mapping[str, Any]) -> list[str]:
    """Names of what a text needs and nobody has configured."""
    found = (inner.partition("|") for inner in _EXPRESSION.findall(text)[:MOST_EXPRESSIONS])
    return [name.strip() for name, _, filters in found if "or:" not in filters and _looked_up(name, config) == ""]


def _value(inner: str, config: Mapping[str, Any]) -> Any:
    name, *filters = inner.split("|")
    value = _looked_up(name, config)
    for written in filters:
        word, _, argument = written.strip().partition(":")
        if word in _FILTERS:
            value = _FILTERS[word](value, argument)
    return value


def _looked_up(name: str, config: Mapping[str, Any]) -> Any:
    value: Any = config
    for part in name.strip().split("."):
        value = value.get(part.strip(), "") if isinstance(value, Mapping) else ""
    return "" if value is None else value


def _volume(value: Any, _: str) -> Any:
    if isinstance(value, list):
        return [f"{_text(item)}:{_text(item)}" for item in value]
    return f"{_text(value)}:{_text(value)}" if value != "" else ""


def _or(value: Any, usual: str) -> Any:
    if value not in ("", []):
        return value
    listed = re.fullmatch(r"\[(.*)\]", usual)
    return [item for item in listed[1].split(",") if item] if listed else usual


def _mount_as(value: Any, target: str) -> Any:
    source = value[0] if isinstance(value, list) and value else value
    return f"{_text(source)}:{target.strip()}" if source not in ("", []) else ""


_FILTERS: Mapping[str, Callable[[Any, str], Any]] = {
    "volume": _volume,
    "into": lambda value, _: value if isinstance(value, list) else [value],
    "first": lambda value, _: (value[0] if value else "") if isinstance(value, list) else value,
    "last": lambda value, _: (value[-1] if value else "") if isinstance(value, list) else value,
    "or": _or,
    "mount_as": _mount_as,
}
"""``volume-target`` changes paths of Windows alone."""


def _joined(value: Any) -> str:
    return " ".join(map(_text, value)) if isinstance(value, list) else _text(value)


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
