"""An MCP server over stdio whose every text is written to be more than text in a page; standard library only.

Its tool ``everything`` has an argument of each kind and returns them as structured content; ``fail`` reports an error.
"""

from __future__ import annotations

import json
import sys
from typing import Any

MARKUP = "<img src=x onerror=\"document.title='taken over'\"></pre><script>document.title='taken over'</script>"
HALF = "\\ud83d"  # half a surrogate pair, as it stands in JSON

EVERYTHING = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "description": f"Any text {MARKUP}"},
        "short": {"type": "string", "maxLength": 10, "title": "A short one"},
        "count": {"type": "integer", "minimum": 0},
        "share": {"type": "number", "default": 0.5},
        "loud": {"type": "boolean"},
        "color": {"enum": ["red", "green", MARKUP]},
        "list": {"type": "array", "items": {"type": "integer"}},
        "table": {"anyOf": [{"type": "object"}, {"type": "null"}]},
    },
    "required": ["text", "count"],
}
TOOLS = [
    {"name": "everything", "title": MARKUP, "description": MARKUP, "inputSchema": EVERYTHING},
    {"name": "fail", "description": "Half: @HALF@", "inputSchema": {"type": "object"}},
]


def result(method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "initialize":
        info = {"name": MARKUP, "version": MARKUP}
        capabilities: dict[str, Any] = {"tools": {}, "prompts": {}, "resources": {}}
        return {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info}
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "prompts/list":
        return {"prompts": [{"name": "ask", "title": MARKUP, "description": MARKUP}]}
    if method == "resources/list":
        return {"resources": [{"uri": "file:///%3Cscript%3E", "name": MARKUP, "description": MARKUP}]}
    if method == "resources/templates/list":
        return {"resourceTemplates": []}
    if method == "tools/call" and params["name"] == "fail":
        return {"content": [{"type": "text", "text": MARKUP}], "isError": True}
    if method == "tools/call":
        print(f"called {MARKUP}", file=sys.stderr, flush=True)
        blocks = [
            {"type": "text", "text": MARKUP}, {"type": "image", "data": "AAAA", "mimeType": MARKUP},
            {"type": "resource_link", "uri": "file:///x", "name": MARKUP},
        ]  # fmt: skip
        return {"content": blocks, "structuredContent": params.get("arguments", {})}
    return {}


def main() -> None:
    print(MARKUP, file=sys.stderr, flush=True)
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" in message:
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": result(message["method"], message["params"])}
            sys.stdout.write(json.dumps(answer).replace("@HALF@", HALF) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
