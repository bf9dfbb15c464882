"""An MCP server over stdio whose answers are nested 100,000 levels deep; standard library only. ``ok`` answers well."""

from __future__ import annotations

import json
import sys

LEVELS = 100_000
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("ok", "deep", "deep-error")]


def answer(message: dict[str, object]) -> str:
    head = f'{{"jsonrpc":"2.0","id":{json.dumps(message["id"])},'
    params = message.get("params")
    name = params.get("name") if isinstance(params, dict) else ""
    if message["method"] == "initialize":
        result: object = {
            "protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "d", "version": "1"},
        }  # fmt: skip
    elif message["method"] == "tools/list":
        result = {"tools": TOOLS}
    elif name == "ok":
        result = {"content": [{"type": "text", "text": "fine"}]}
    elif name == "deep":
        return head + '"result":{"content":' + "[" * LEVELS + "]" * LEVELS + "}}"
    else:
        return head + '"error":{"code":-32000,"message":"x","data":' + "[" * LEVELS + "]" * LEVELS + "}}"
    return head + f'"result":{json.dumps(result)}}}'


for line in sys.stdin:
    received = json.loads(line)
    if "id" in received:
        print(answer(received), flush=True)
