"""What belongs to one client: headers and credentials on their way to servers, and that nobody else sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from gateway_process import (
    MISBEHAVING,
    ROOT,
    GatewayProcess,
    eventually,
    process_server,
    processes_with,
    running_gateway,
)

META = "io.modelcontextprotocol/"
CANARIES = {name: f"canary-{name}-5f0c9a17" for name in ("tenant", "other", "alice", "far", "stateless")}
SHOUTS = f'echo "tenant $TENANT" >&2; exec "$0" -I -S {MISBEHAVING} good'
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


class Far(BaseHTTPRequestHandler):
    """A remote server that tells with which headers it was called."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        told = {"content": [{"type": "text", "text": self.headers.get("Authorization", "")}]}
        results = {
            "initialize": {**HELLO, "capabilities": {"tools": {}}, "serverInfo": HELLO["clientInfo"]},
            "tools/list": {"tools": [{"name": "told", "inputSchema": {"type": "object"}}]},
            "tools/call": told,
        }
        body = {"jsonrpc": "2.0", "id": message.get("id"), "result": results.get(message["method"], {})}
        data = json.dumps(body).encode() if "id" in message else b""
        self.send_response(200 if data else 202)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.send_response(405)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def far() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Far) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/mcp"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, far: str) -> Iterator[GatewayProcess]:
    servers = {
        "mine": {
            "command": "sh", "args": ["-c", SHOUTS, sys.executable], "isolation": "session", "era": "legacy", "warm": 1,
            "env": {"TENANT": "nobody"},
            "passHeaders": {"X-Tenant": "TENANT", "Authorization": "AUTH", "Cookie": "COOKIES"},
            "credentials": {"alice": {"TOKEN": "${ALICE_TOKEN}"}},
        },
        "far": {
            "url": far, "isolation": "session", "era": "legacy", "headers": {"Authorization": "everybody"},
            "passHeaders": {"X-User-Token": "Authorization"},
        },
        "plain": process_server("good", era="legacy"),
    }  # fmt: skip
    endpoints = {
        "default": {"namespace": "default"}, "closed": {"namespace": "default", "auth": "api-key"},
        "without": {"namespace": "without"},
    }  # fmt: skip
    namespaces = {"default": {"servers": [*servers]}, "without": {"servers": ["plain"]}}
    with running_gateway(
        tmp_path_factory.mktemp("passing"), servers, namespaces=namespaces, endpoints=endpoints,
        env={"ALICE_TOKEN": CANARIES["alice"], "METAMCP_LOG_LEVEL": "debug"},
    ) as running:  # fmt: skip
        yield running


def opened(gateway: GatewayProcess, endpoint: str = "default", **headers: str) -> str:
    answer = gateway.rpc("initialize", HELLO, endpoint=endpoint, **headers)
    assert answer.status_code == 200, answer.text
    return answer.headers["Mcp-Session-Id"]


def variable(gateway: GatewayProcess, session: str, name: str, **headers: str) -> str:
    """What the session's own instance has; "" for none."""
    result = gateway.call(session, "mine__env", {"name": name}, **headers)["result"]
    return "" if result.get("isError") else str(result["content"][0]["text"])


def stateless(gateway: GatewayProcess, tool: str, arguments: Any, **headers: str) -> Any:
    meta = {f"{META}protocolVersion": "2026-07-28", f"{META}clientCapabilities": {}}
    headers |= {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": tool}
    answer = gateway.rpc("tools/call", {"name": tool, "arguments": arguments, "_meta": meta}, **headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]["content"][0]["text"]


def key_of(gateway: GatewayProcess, name: str) -> str:
    own = {"METAMCP_CONFIG_DIR": gateway.folder / "config", "METAMCP_STATE_DIR": gateway.folder / "var"}
    done = subprocess.run(
        [sys.executable, "-m", "metamcp", "keys", "create", name, "--scope", "closed", "--scope", "admin"],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=True,
        env={**os.environ, **{name: str(path) for name, path in own.items()}},
    )  # fmt: skip
    return done.stdout.split()[-1]


def test_a_session_has_its_headers_for_as_long_as_it_lives_and_no_other_has_them(gateway: GatewayProcess) -> None:
    one = opened(gateway, **{"X-Tenant": CANARIES["tenant"], "Authorization": "Bearer theirs", "Cookie": "a=b"})
    two = opened(gateway)
    assert variable(gateway, one, "TENANT", **{"X-Tenant": CANARIES["other"]}) == CANARIES["tenant"]
    assert (variable(gateway, one, "AUTH"), variable(gateway, one, "COOKIES")) == ("Bearer theirs", "a=b")
    assert (variable(gateway, two, "TENANT"), variable(gateway, two, "AUTH")) == ("nobody", "")
    for session in (one, two):
        gateway.end_session(session)


def test_requests_without_a_session_get_what_they_send(gateway: GatewayProcess) -> None:
    for tenant in (CANARIES["stateless"], CANARIES["other"], CANARIES["stateless"]):
        assert stateless(gateway, "mine__env", {"name": "TENANT"}, **{"X-Tenant": tenant}) == tenant
    assert stateless(gateway, "mine__env", {"name": "TENANT"}) == "nobody"


def test_a_remote_server_gets_the_header_of_its_client_alone(gateway: GatewayProcess) -> None:
    one, two = opened(gateway, **{"X-User-Token": CANARIES["far"]}), opened(gateway)
    assert gateway.text(one, "far__told") == CANARIES["far"]
    assert gateway.text(two, "far__told") == "everybody"
    for session in (one, two):
        gateway.end_session(session)


def test_a_value_that_cannot_be_passed_on_is_refused_and_asked_of_nobody_who_does_not_want_it(
    gateway: GatewayProcess,
) -> None:
    long = "x" * 5000
    refused = gateway.rpc("initialize", HELLO, **{"X-Tenant": long})
    assert refused.status_code == 400 and "x-tenant" in refused.text and long not in refused.text
    assert gateway.rpc("initialize", HELLO, endpoint="without", **{"X-Tenant": long}).status_code == 200


def test_a_principal_has_its_credentials_but_never_the_key_of_the_gateway_and_nothing_is_shown(
    gateway: GatewayProcess,
) -> None:
    key = key_of(gateway, "alice")
    alice = {"Authorization": f"Bearer {key}"}
    eventually(lambda: gateway.rpc("initialize", HELLO, endpoint="closed", **alice).status_code == 200, "the key opens")
    session = opened(gateway, "closed", **alice, **{"X-Tenant": CANARIES["tenant"]})
    more = {"endpoint": "closed", **alice}
    assert variable(gateway, session, "TOKEN", **more) == CANARIES["alice"]
    assert variable(gateway, session, "TENANT", **more) == CANARIES["tenant"]
    assert variable(gateway, session, "AUTH", **more) == ""
    said = "/api/servers/mine/stderr?follow=false"
    eventually(lambda: "tenant ***" in gateway.get(said, headers=alice).text, "it says whose it is")
    _nothing_is_shown(gateway, alice)


def _nothing_is_shown(gateway: GatewayProcess, operator: dict[str, str]) -> None:
    routes = ("/api/status", "/api/calls", "/api/history", "/api/endpoints", "/metrics", "/ready",
              "/api/endpoints/default/catalog", "/api/servers/mine/stderr?follow=false")  # fmt: skip
    shown = {route: gateway.get(route, headers=operator).text for route in routes}
    own = {"METAMCP_CONFIG_DIR": gateway.folder / "config", "METAMCP_STATE_DIR": gateway.folder / "var"}
    for command in (["explain", "mine"], ["check-config"]):
        done = subprocess.run(
            [sys.executable, "-m", "metamcp", *command], cwd=ROOT, capture_output=True, text=True, timeout=60,
            env={**os.environ, "ALICE_TOKEN": CANARIES["alice"], **{name: str(path) for name, path in own.items()}},
        )  # fmt: skip
        shown[command[0]] = done.stdout + done.stderr
    shown |= {str(path): read(path) for path in (gateway.folder / "var").rglob("*") if path.is_file()}
    shown["log"] = gateway.log
    for value in CANARIES.values():
        assert [where for where, text in shown.items() if value in text] == []
        assert processes_with(value) == []


def read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")
