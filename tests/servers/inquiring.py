"""An MCP server over stdio that asks its client: for information, for a model's words; standard library only.

Tools: ``ask_person``, ``ask_address`` and ``ask_model`` return what they were answered, ``echo`` what it was given;
``steps`` tells of progress, writes a log message and goes on until it is cancelled; ``grow`` makes one more tool;
``heard`` returns the methods of the notifications, and the levels, that came.
"""

from __future__ import annotations

import json
import sys
from typing import Any

Json = dict[str, Any]

MARKUP = "<img src=x onerror=\"document.title='taken over'\">"
WANTED = {
    "type": "object", "required": ["name", "size"],
    "properties": {
        "name": {"type": "string", "title": MARKUP, "description": MARKUP},
        "size": {"type": "string", "enum": ["s", "l"], "enumNames": ["small", "large"]},
        "age": {"type": "integer"},
    },
}  # fmt: skip
ASKED: dict[str, tuple[str, Json]] = {
    "ask_person": ("elicitation/create", {"mode": "form", "message": f"Who? {MARKUP}", "requestedSchema": WANTED}),
    "ask_address": (
        "elicitation/create",
        {"mode": "url", "message": "Look", "url": "https://example.com/<b>", "elicitationId": "1"},
    ),
    "ask_model": (
        "sampling/createMessage",
        {"messages": [{"role": "user", "content": {"type": "text", "text": f"Say {MARKUP}"}}], "maxTokens": 9},
    ),
}  # fmt: skip
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}, "count": {"type": "integer"}}}
PROMPT = {"name": "greet", "arguments": [{"name": "whom", "required": True}]}

tools = [*ASKED, "echo", "steps", "grow", "heard"]
heard: list[str] = []
open_calls: dict[str, Any] = {}  # by the id of our question


def send(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def text(value: object) -> Json:
    return {"content": [{"type": "text", "text": value if isinstance(value, str) else json.dumps(value)}]}


def call(identifier: Any, params: Json) -> Json | None:
    """The result; None when it comes later, or never."""
    name, given = params["name"], params.get("arguments", {})
    if name in ASKED:
        method, asked = ASKED[name]
        question = f"question-{identifier}"
        open_calls[question] = identifier
        send(id=question, method=method, params=asked)
        return None
    if name == "steps":
        told = {"progressToken": params["_meta"]["progressToken"], "progress": 3, "total": 4, "message": MARKUP}
        send(method="notifications/progress", params=told)
        send(method="notifications/message", params={"level": "warning", "logger": "steps", "data": f"at 3 {MARKUP}"})
        return None
    if name == "grow":
        tools.append("grown")
        send(method="notifications/tools/list_changed")
    return text(heard) if name == "heard" else {**text("done"), "structuredContent": given}


def result(identifier: Any, method: str, params: Json) -> Json | None:
    match method:
        case "initialize":
            capabilities = {"tools": {"listChanged": True}, "prompts": {}, "resources": {}, "logging": {}}
            info = {"name": MARKUP, "version": "1"}
            return {"protocolVersion": params["protocolVersion"], "capabilities": capabilities, "serverInfo": info}
        case "tools/list":
            return {"tools": [{"name": name, "description": MARKUP, "inputSchema": SCHEMA} for name in tools]}
        case "tools/call":
            return call(identifier, params)
        case "prompts/list":
            return {"prompts": [PROMPT]}
        case "prompts/get":
            content = {"type": "text", "text": f"Greet {params['arguments']['whom']} {MARKUP}"}
            return {"messages": [{"role": "user", "content": content}]}
        case "resources/list":
            return {"resources": [{"uri": "note:///one", "name": MARKUP}]}
        case "resources/templates/list":
            return {"resourceTemplates": [{"uriTemplate": "note:///{name}", "name": "any note"}]}
        case "resources/read":
            return {"contents": [{"uri": params["uri"], "text": f"note {params['uri']} {MARKUP}"}]}
        case "logging/setLevel":
            heard.append(params["level"])
    return {}


def main() -> None:
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "method" not in message:
            answer = message.get("result", message.get("error"))
            send(id=open_calls.pop(message["id"]), result=text(answer))
        elif "id" not in message:
            heard.append(message["method"])
        elif (found := result(message["id"], message["method"], message.get("params", {}))) is not None:
            send(id=message["id"], result=found)


if __name__ == "__main__":
    main()
