"""What the files may hold, as JSON Schema for a form: of each kind of thing its keys, their types, and their meaning.

Only what helps to fill it in; the schemas themselves judge what was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from metamcp.config.allowlist_schema import ImageSchema
from metamcp.config.fields import Choice, Flag, Items, NamedMap, Number, Record, Strict, Text
from metamcp.config.schema import EndpointSchema, NamespaceSchema
from metamcp.config.server_schema import ListedServerSchema

Described = dict[str, Any]

NAMES: Mapping[str, str] = {"servers": "name", "namespaces": "name", "endpoints": "name", "images": "image"}
"""By kind, the key that has the name of one."""

_SCHEMAS: Mapping[str, type[Strict]] = {
    "servers": ListedServerSchema, "namespaces": NamespaceSchema, "endpoints": EndpointSchema, "images": ImageSchema,
}  # fmt: skip
_SHAPES: tuple[tuple[type[Any] | tuple[type[Any], ...], Described], ...] = (
    (Flag, {"type": "boolean"}),
    (Text, {"type": "string", "maxLength": 100}),
    (Items, {"type": "array"}),
    ((Record, NamedMap), {"type": "object"}),
)
_ELSEWHERE = "see there"
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_LONGEST = 1000


def described(kind: str) -> Described:
    """One of ``NAMES``; its name is the first key."""
    name = NAMES[kind]
    properties = {name: {"type": "string", "maxLength": 100, "description": "It cannot be changed later."}}
    required = [name]
    for key, field in _SCHEMAS[kind]().fields.items():
        written = field.data_key or key
        if written != name:
            properties[written] = {**_shape(field), "description": _said(field)}
            required += [written] if field.required else []
    return {"type": "object", "properties": properties, "required": required}


def _shape(field: Any) -> Described:
    """What is none of these may be of several types."""
    if isinstance(field, Number):
        return {"type": "integer" if field.whole else "number"}
    if isinstance(field, Choice):
        return {"enum": list(field.values)}
    return next((dict(shape) for kind, shape in _SHAPES if isinstance(field, kind)), {})


def _said(field: Any) -> str:
    """As in the reference (docs/configuration.md), without its links."""
    meant = field.metadata
    parts = [meant["doc"]]
    if meant["shape"]:
        parts.append(f"{meant['shape']}.")
    if isinstance(field, Record):
        parts.append(f"Keys: {', '.join(_keys(field))}.")
    if meant["unset"] not in ("", _ELSEWHERE):
        parts.append(f"Without it: {meant['unset']}.")
    return _LINK.sub(r"\1", " ".join(parts)).replace("`", "")[:_LONGEST]


def _keys(field: Any) -> list[str]:
    return [inner.data_key or key for key, inner in field.schema().fields.items()]
