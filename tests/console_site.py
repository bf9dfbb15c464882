"""A browser at one worker with the console, whose supervisor answers what a test says; every text of it is hostile."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fake_gateway import HEARTBEAT, FakeGateway, Open, ScriptedExchange
from werkzeug.test import TestResponse

from metamcp.access import keyfile, keys
from metamcp.access.keyfile import KeyFile
from metamcp.access.keys import Record
from metamcp.access.policy import Door, Policy, Trust
from metamcp.gateway.interface import ORDERS, Ask, Exchange, Is, Outbound, Request, Stateless
from metamcp.web.application import create_app
from metamcp.web.state import WebState

KEY, OTHER = keys.mint(b"k" * keys.KEY_BYTES), keys.mint(b"o" * keys.KEY_BYTES)
HOSTS = frozenset({"localhost", "mcp.example.com"})
HOSTILE = """"><img src=x onerror="alert(1)"></pre></textarea></title><script>alert('1')</script>"""

SERVER = {
    "name": "git", "state": "BACKOFF", "since": 1.8e9, "reason": HOSTILE, "advice": HOSTILE, "nextTryAt": 1.8e9,
    "image": HOSTILE, "digest": HOSTILE, "drift": HOSTILE, "listed": 1.8e9, "instances": 1, "command": [HOSTILE, "a b"],
    "lastExit": {"at": 1.8e9, "reason": HOSTILE, "stderr": [HOSTILE], "advice": HOSTILE, "exitCode": 3},
}  # fmt: skip
CHILD = {
    "pid": 1, "containerId": HOSTILE, "containerName": HOSTILE, "server": "git", "session": HOSTILE, "state": "READY",
    "since": 1.8e9, "memoryBytes": 5_000_000,
}  # fmt: skip
SESSION = {
    "id": HOSTILE, "endpoint": HOSTILE, "principal": HOSTILE, "revision": HOSTILE, "transport": HOSTILE, "since": 1.8e9,
    "lastUsed": 1.8e9,
}  # fmt: skip
CALL = {
    "id": 1, "endpoint": HOSTILE, "server": HOSTILE, "method": HOSTILE, "name": HOSTILE, "principal": HOSTILE,
    "session": HOSTILE, "since": 1.8e9,
}  # fmt: skip
TOOL = {
    "name": "git__log", "title": HOSTILE, "description": HOSTILE, "outputSchema": {"title": HOSTILE},
    "inputSchema": {
        "type": "object", "required": ["text"],
        "properties": {
            "text": {"type": "string", "title": HOSTILE, "description": HOSTILE, "default": HOSTILE},
            HOSTILE: {"enum": [HOSTILE]}, "count": {"type": "integer"},
        },
    },
}  # fmt: skip
DOCUMENTS: dict[str, Any] = {
    "status": {
        "supervisor": {"pid": 1, "since": 1.8e9}, "servers": [SERVER], "children": [CHILD], "sessions": [SESSION],
        "configuration": {"loadedAt": 1.8e9, "problems": [{"path": HOSTILE, "text": HOSTILE}]},
    },
    "calls": {"live": [CALL], "omitted": 1, "recent": [CALL | {"seconds": 0.1, "outcome": "result"}]},
    "endpoints": [
        {"name": name, "namespace": HOSTILE, "transports": [HOSTILE], "auth": auth}
        for name, auth in (("dev", "api-key"), ("open", "none"), ("sso", "oauth"))
    ],
    "catalog": {
        "tools": [TOOL], "prompts": [{"name": "p", "title": HOSTILE, "description": HOSTILE}],
        "resources": [{"uri": HOSTILE, "name": HOSTILE}], "resourceTemplates": [{"uriTemplate": HOSTILE, "name": "t"}],
        "problems": [HOSTILE],
    },
    "docker-test": {
        "ok": False,
        "checks": [{"name": HOSTILE, "status": "fail", "seconds": 0.1, "detail": HOSTILE, "hint": HOSTILE}],
    },
}  # fmt: skip

class Supervisor(FakeGateway):
    """Answers each question with its document, and orders and calls with ``done``."""

    done: Outbound = Outbound(Is.ANSWER, json.dumps({"done": True, "text": HOSTILE}).encode())

    def exchange(self, request: Request) -> Exchange:
        if not isinstance(request, (Ask, Stateless)):
            return super().exchange(request)
        self.requests.append(request)
        if isinstance(request, Ask) and request.subject == "stderr":
            line = json.dumps({"time": 1.8e9, "container": HOSTILE, "session": HOSTILE, "line": HOSTILE})
            return ScriptedExchange((Outbound(Is.OPENED), Outbound(Is.EVENT, line.encode(), number=1)))
        if isinstance(request, Ask) and request.subject in DOCUMENTS:
            return ScriptedExchange((Outbound(Is.ANSWER, json.dumps(DOCUMENTS[request.subject]).encode()),))
        return ScriptedExchange((self.done,))


class Doors(Open):
    def policy(self) -> Policy:
        trust = Trust("https://issuer", "https://issuer")
        return Policy({"dev": Door("api-key"), "open": Door("none"), "sso": Door("oauth", trust)})


class Site:
    """A browser at one worker: it keeps cookies, and sends forms with the token of the page."""

    def __init__(self, folder: Path, **scopes: str) -> None:
        self.path = folder / "access" / "keys.json"
        for name, scope in scopes.items():
            key = KEY if name == "operator" else OTHER
            record = Record(name, keys.hash_of(key), (scope,), 1)
            keyfile.rewrite(self.path, lambda records, record=record: records.append(record))  # type: ignore[misc]
        self.gateway = Supervisor()
        self.app = create_app(WebState(self.gateway, HOSTS, HOSTS, KeyFile(self.path), Doors(), heartbeat=HEARTBEAT))
        self.http = self.app.test_client()

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.http.get(path, headers={"Accept": "text/html"} | headers)

    def sign_in(self, key: str = KEY, onward: str = "", **headers: str) -> TestResponse:
        return self.http.post("/login", data={"key": key, "next": onward}, headers=headers)

    def token(self) -> str:
        return re.search(r'name="csrf" value="([^"]*)"', self.get("/").text)[1]  # type: ignore[index]

    def send(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> TestResponse:
        return self.http.post(path, data=fields, headers={"Accept": "text/html"} | (headers or {}))

    @property
    def orders(self) -> list[Any]:
        """And calls."""
        return [it for it in self.gateway.requests if not isinstance(it, Ask) or it.subject in ORDERS]

    def revoke(self) -> None:
        keyfile.rewrite(self.path, lambda records: records.clear())
