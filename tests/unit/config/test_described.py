"""The schemas of the files as they are shown in a form."""

from __future__ import annotations

import json

import pytest

from metamcp.config import described, schema, server_schema
from metamcp.config.allowlist_schema import ImageSchema
from metamcp.web.console.tool_form import fields_of

SCHEMAS = {
    "servers": server_schema.ServerSchema, "namespaces": schema.NamespaceSchema, "endpoints": schema.EndpointSchema,
    "images": ImageSchema,
}  # fmt: skip


@pytest.mark.parametrize("kind", described.NAMES)
def test_every_key_is_there_once_after_the_name_and_says_what_it_means(kind: str) -> None:
    found = described.described(kind)
    first, *others = found["properties"]
    assert first == described.NAMES[kind] and first in found["required"]
    known = [field.data_key or key for key, field in SCHEMAS[kind]().fields.items()]
    assert others == [key for key in known if key != first]
    assert all(part["description"] for part in found["properties"].values())
    assert "](" not in json.dumps(found) and "`" not in json.dumps(found)


def test_each_kind_of_value_has_its_kind_of_field() -> None:
    kinds = {field.label: field.kind for field in fields_of(described.described("servers"))}
    wanted = {"name": "line", "command": "line", "args": "json", "env": "json", "enabled": "choice", "warm": "integer"}
    wanted |= {"isolation": "choice", "idleSeconds": "number", "limits": "json"}
    assert {name: kinds[name] for name in wanted} == wanted
    assert described.described("endpoints")["required"] == ["name", "namespace"]
