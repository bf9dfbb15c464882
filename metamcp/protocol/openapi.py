"""The tools of an endpoint as an OpenAPI 3.1 document: for each of them one POST with its arguments as the body."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from metamcp.errors import InvalidParams
from metamcp.protocol import jsonrpc
from metamcp.protocol.embedded_schema import embed, reference
from metamcp.protocol.jsonrpc import Raw

VERSION = "3.1.0"
PROBLEM = "application/problem+json"
TOOL_ERROR = 422
"""HTTP status of a call whose tool reports an error (``isError``)."""

_JSON = "application/json"
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME = 64  # what models may call a function
_UNREACHABLE = frozenset({"", ".", ".."})  # as the last part of a path
_NOTHING = frozenset({"type", "title", "description", "additionalProperties"})

_PROBLEM_SCHEMA = {
    "type": "object",
    "description": "What went wrong, and what to do (RFC 9457)",
    "required": ["status", "title", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "For people and models"},
        "code": {"type": "integer", "description": "Of the error in JSON-RPC, where there is one"},
        "data": {"description": "What else is known of the error: its server, rule, retryAfterMs, ..."},
        "content": {"description": "What a tool said that reports an error"},
        "structuredContent": {"description": "Likewise"},
    },
}


@dataclass(frozen=True, slots=True)
class Tool:
    """As it is listed (MCP, Tools). ``title`` and ``description`` are "" and ``output`` None where it has none."""

    name: str
    title: str = ""
    description: str = ""
    input: Any = None
    output: Any = None


def tools_of(result: Raw | bytes) -> list[Tool]:
    """Of a raw ListToolsResult. Of what cannot be read, as little as possible is missing. Raises InvalidParams when
    that is the list itself."""
    listed = jsonrpc.decode_array(jsonrpc.decode_object(result, "the result").get("tools", b"[]"), "tools")
    return [tool for raw in listed if (tool := _tool(raw)) is not None]


def document(
    tools: Iterable[Tool], title: str, version: str, url: str, schemes: Mapping[str, Any] | None = None
) -> bytes:
    """JSON. ``url``: the tools are below it. ``schemes``: Security Scheme Objects by name, of which one is needed;
    none for an endpoint that asks for nothing."""
    schemas: dict[str, Any] = {"Problem": _PROBLEM_SCHEMA}
    paths: dict[str, Any] = {}
    for identifier, tool in _identified(tools):
        paths[path_of(tool.name)] = {"post": _operation(identifier, tool, schemas)}
    made: dict[str, Any] = {
        "openapi": VERSION,
        "info": {"title": title, "version": version},
        "servers": [{"url": url}],
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if schemes:
        made["components"]["securitySchemes"] = dict(schemes)
        made["security"] = [{name: []} for name in schemes]
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def path_of(name: str) -> str:
    """Where a tool is called, below the URL of the document."""
    return "/" + quote(name, safe="")


# --- operations --------------------------------------------------------------------------------------------


def _identified(tools: Iterable[Tool]) -> Iterator[tuple[str, Tool]]:
    """Each tool with an ``operationId``: its name, where that is one for everybody. No name and no id comes twice."""
    known, kept = set[str](), list[Tool]()
    for tool in tools:
        if tool.name not in known | _UNREACHABLE:
            known.add(tool.name)
            kept.append(tool)
    taken = {tool.name for tool in kept if tool.name == _plain(tool.name)}
    for tool in kept:
        plain = _plain(tool.name)
        yield (plain if plain == tool.name else _free(plain, taken)), tool


def _plain(name: str) -> str:
    return _NO_NAME.sub("_", name)[:_LONGEST_NAME]


def _free(plain: str, taken: set[str]) -> str:
    found, number = plain, 1
    while found in taken:
        number += 1
        found = f"{plain[: _LONGEST_NAME - 8]}_{number}"
    taken.add(found)
    return found


def _operation(identifier: str, tool: Tool, schemas: dict[str, Any]) -> dict[str, Any]:
    """Its schemas go into ``schemas``."""
    made: dict[str, Any] = {"operationId": identifier, "summary": tool.title or tool.name}
    if tool.description:
        made["description"] = tool.description
    arguments = _component(f"{identifier}_input", tool.input, schemas)
    takes = schemas[f"{identifier}_input"]
    if set(takes) <= _NOTHING and takes.get("additionalProperties") in (None, False):
        del schemas[f"{identifier}_input"]  # some clients refuse to send an empty object where a body is described
    else:
        body = {"required": bool(takes.get("required")), "content": {_JSON: {"schema": arguments}}}
        made["requestBody"] = body
    result: dict[str, Any] = {}
    if isinstance(tool.output, dict):
        result = _component(f"{identifier}_output", tool.output, schemas)
    problem = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    made["responses"] = {
        "200": {"description": "What the tool answers", "content": {_JSON: {"schema": result}}},
        str(TOOL_ERROR): {"description": "The tool reports an error", "content": problem},
        "default": {"description": "The call did not succeed", "content": problem},
    }
    return made


def _component(name: str, schema: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    place = ("components", "schemas", name)
    schemas[name] = embed(schema, place)
    return {"$ref": reference(place)}


# --- reading -----------------------------------------------------------------------------------------------


def _tool(raw: Raw) -> Tool | None:
    try:
        members = jsonrpc.decode_object(raw, "a tool")
    except InvalidParams:
        return None
    name = _json(members, "name")
    if not isinstance(name, str):
        return None
    title, description = _text(members, "title"), _text(members, "description")
    return Tool(name, title, description, _json(members, "inputSchema"), _json(members, "outputSchema"))


def _text(members: Mapping[str, Raw], name: str) -> str:
    found = _json(members, name)
    return found if isinstance(found, str) else ""


def _json(members: Mapping[str, Raw], name: str) -> Any:
    """None for what is absent, and for what is nested too deeply to be read. Numbers that no float can hold become the
    largest one; halves of surrogate pairs, which are no text, become "?"."""
    raw = bytes(members.get(name, b"null"))
    try:
        if b"\\u" in raw:
            raw = json.dumps(_loaded(raw), ensure_ascii=False).encode("utf-8", "replace")
        return _loaded(raw)
    except (ValueError, RecursionError):
        return None


def _loaded(raw: bytes) -> Any:
    return json.loads(raw, parse_float=_float, parse_int=_integer)


def _float(text: str) -> float:
    return max(-sys.float_info.max, min(sys.float_info.max, float(text)))


def _integer(text: str) -> int | float:
    return int(text) if len(text) < 300 else _float(text)
