"""An MCP server over stdio whose tools have schemas of every draft, and answers of every kind."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]


def text(*texts: str, **more: Any) -> Json:
    return {"content": [{"type": "text", "text": it} for it in texts], **more}


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value)


def sum_up(arguments: Json) -> Json:
    numbers = arguments.get("numbers")
    if not isinstance(numbers, list) or not all(_is_whole(it) for it in numbers):
        return text("numbers must be integers", isError=True)
    found = {"sum": int(sum(numbers))}
    return text(json.dumps(found), structuredContent=found)


TREE = {"$ref": "#/definitions/tree"}
TOOLS: dict[str, tuple[Callable[[Json], Json], Json]] = {
    "sum": (sum_up, {
        "inputSchema": {"type": "object", "required": ["numbers"], "additionalProperties": False,
                        "properties": {"numbers": {"type": "array", "items": {"$ref": "#/$defs/number"}}},
                        "$defs": {"number": {"type": "integer", "minimum": -1000, "maximum": 1000}}},
        "outputSchema": {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]},
    }),
    "tree": (lambda arguments: text(json.dumps(arguments)), {
        "inputSchema": {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
                        "properties": {"root": TREE},
                        "definitions": {"tree": {"type": "object", "properties": {
                            "name": {"type": "string"}, "children": {"type": "array", "items": TREE}}}}},
    }),
    "pair": (lambda arguments: text("a", "[1]"), {
        "inputSchema": {"type": "object", "properties": {
            "pair": {"type": "array", "items": [{"type": "string"}, {"type": "integer"}], "additionalItems": False},
            "odd": {"type": "integer", "default": "none", "exclusiveMinimum": True, "pattern": "["}}},
    }),
    "picture": (lambda arguments: {"content": [{"type": "image", "mimeType": "image/png", "data": "aGk="}]}, {
        "inputSchema": {"type": "object"},
    }),
    "fails": (lambda arguments: text("it is broken", "try later", isError=True), {"inputSchema": {"type": "object"}}),
    "asks": (lambda arguments: text("never"), {"inputSchema": {"type": "object"}}),
    "a name, with / and {braces}": (lambda arguments: text("called"), {"inputSchema": {"type": "object"}}),
}  # fmt: skip


def answer(message: Json) -> Json:
    match message["method"]:
        case "initialize":
            info = {"name": "schemas", "version": "1"}
            return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
        case "tools/list":
            return {"tools": [{"name": name, **described} for name, (_, described) in TOOLS.items()]}
        case "tools/call":
            params = message["params"]
            return TOOLS[params["name"]][0](params.get("arguments") or {})
        case _:
            return {}


def main() -> None:
    waiting: dict[str, Any] = {}  # id of a question -> id of the call that it is asked for
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("method") == "tools/call" and message["params"]["name"] == "asks":
            waiting["question"] = message["id"]
            send({"id": "question", "method": "elicitation/create", "params": {
                "message": "who?", "requestedSchema": {"type": "object", "properties": {}}}})  # fmt: skip
        elif "method" in message and "id" in message:
            send({"id": message["id"], "result": answer(message)})
        elif message.get("id") in waiting:
            refused = message.get("error", {}).get("message", "answered")
            send({"id": waiting.pop(message["id"]), "result": text(f"I was told: {refused}")})


def send(members: Json) -> None:
    print(json.dumps({"jsonrpc": "2.0", **members}), flush=True)


if __name__ == "__main__":
    main()
