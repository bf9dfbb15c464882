"""The two tools of the gateway's own that an endpoint with ``"discovery": "search"`` lists in place of its servers'."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from metamcp.errors import InvalidParams
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import JsonObject, Raw

SEARCH, CALL = "search_tools", "call_tool"
NAMES = frozenset({SEARCH, CALL})

USUAL, MOST = 5, 20
"""How many tools a search finds: where nothing is said, and at most."""

LONGEST_QUERY = 1000  # characters

_NAMED = 400  # characters of servers' names in the description
_SHOWN = ("name", "title", "description", "inputSchema")
_WHOLE = re.compile(rb'"?(\d{1,3})(?:\.0)?"?')  # models write numbers in all these ways


class Query(NamedTuple):
    """The arguments of ``search_tools``."""

    text: str
    limit: int


def bodies(servers: Sequence[str]) -> list[JsonObject]:
    """Both as they are listed. They depend on the configuration alone, so that what servers do changes no list."""
    search = {
        "name": SEARCH,
        "title": "Search tools",
        "description": (
            "Find tools by what they do. Say in a few words what is to be done; the result has names, descriptions "
            f"and input schemas of the tools that fit best. Use {CALL} with one of the names. Tools are of these "
            f"servers: {_named(servers)}."
        ),
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "What is to be done", "maxLength": LONGEST_QUERY},
                "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL},
            },
            "required": ["query"],
        },
        "outputSchema": {
            "type": "object",
            "properties": {"tools": {"type": "array", "items": {"type": "object"}}},
            "required": ["tools"],
        },
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    }
    call = {
        "name": CALL,
        "title": "Call a tool",
        "description": f"Call a tool that {SEARCH} found, by its name, with arguments as its input schema wants them.",
        "inputSchema": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "arguments": {"type": "object"}},
            "required": ["name"],
        },
    }
    return [{key: Raw(jsonrpc.encode(value)) for key, value in tool.items()} for tool in (search, call)]


def meant(params: JsonObject) -> JsonObject:
    """The params of the call that those of a call of ``call_tool`` stand for; what is beside ``arguments``, such as
    ``_meta``, stays. Raises InvalidParams."""
    asked = jsonrpc.decode_object(params.get("arguments", b""), "arguments")
    jsonrpc.decode_string(asked.get("name"), "arguments.name")
    found = params | {"name": asked["name"]}
    found.pop("arguments", None)
    if "arguments" in asked:
        jsonrpc.decode_object(asked["arguments"], "arguments.arguments")
        found["arguments"] = asked["arguments"]
    return found


def query(params: JsonObject) -> Query:
    """Raises InvalidParams."""
    asked = jsonrpc.decode_object(params.get("arguments", b""), "arguments")
    text = jsonrpc.decode_string(asked.get("query"), "arguments.query")
    if not 0 < len(text) <= LONGEST_QUERY:
        raise InvalidParams(f"arguments.query must say what is to be done, in 1 to {LONGEST_QUERY} characters")
    written = _WHOLE.fullmatch(bytes(asked.get("limit", b"%d" % USUAL)))
    if written is None or not 1 <= int(written[1]) <= MOST:
        raise InvalidParams(f"arguments.limit must be a whole number from 1 to {MOST}")
    return Query(text, int(written[1]))


def found(tools: Sequence[JsonObject]) -> bytes:
    """The CallToolResult of a search."""
    shown = jsonrpc.encode({"tools": [{key: tool[key] for key in _SHOWN if key in tool} for tool in tools]})
    content = [{"type": "text", "text": shown.decode("utf-8", "replace")}]
    return jsonrpc.encode({"content": content, "structuredContent": Raw(shown)})


def _named(servers: Sequence[str]) -> str:
    """As many names as there is room for; a client should not pay for hundreds with each conversation."""
    text = ", ".join(servers) or "none"
    if len(text) <= _NAMED:
        return text
    fitting = text[:_NAMED].rpartition(", ")[0]
    return f"{fitting} and {len(servers) - fitting.count(', ') - 1} others"
