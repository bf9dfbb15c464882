"""An export of MetaMCP, imported by the command and served by a real gateway: the same tools under the same names, at
the same addresses, for the same clients; and the file of a client that ``export`` makes leads there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from gateway_process import ROOT, GatewayProcess, process_server, running_gateway

GOOD = process_server("good")
TOOLS = ["echo", "whoami", "sleep", "crash", "big", "env", "record", "tally", "progress"]

EXPORTED = {
    "mcpServers": {
        "Hacker News": {"type": "STDIO", "description": "stories", **GOOD, "env": {"API_KEY": "${NEWS_KEY}"}},
        "files": {"type": "STDIO", **GOOD, "env": {"ROOT": "/srv"}},
        "asleep": {"type": "STDIO", **GOOD},
    }
}


def member(name: str, status: str = "ACTIVE") -> dict[str, str]:
    return {"name": name, "status": status}


def changed(server: str, tool: str, status: str = "ACTIVE", **override: Any) -> dict[str, Any]:
    return {"server": server, "name": tool, "status": status, **({"override": override} if override else {})}


NAMESPACES: dict[str, dict[str, Any]] = {
    "everything": {"servers": [member("Hacker News"), member("files"), member("asleep", "INACTIVE")], "tools": []},
    "narrow": {
        "servers": [member("Hacker News"), member("files")],
        "tools": [
            changed("Hacker News", "crash", "INACTIVE"),
            changed("files", "crash", "INACTIVE"),
            changed("Hacker News", "echo", name="say", title="Say", description="Says it again"),
            changed("files", "whoami", annotations={"readOnlyHint": True}),
        ],
    },
}
ENDPOINTS = {"all": ("everything", False), "team-a": ("narrow", True)}


def row(name: str, namespace: str, keyed: bool) -> dict[str, Any]:
    return {"uuid": name, "name": name, "enable_api_key_auth": keyed, "namespace": {"uuid": "n", "name": namespace}}


def served_by_metamcp(namespace: dict[str, Any]) -> set[str]:
    """By its rules: the server's name without what cannot stand in a tool's, ``__``, the tool's or its other name."""
    by_tool = {(tool["server"], tool["name"]): tool for tool in namespace["tools"]}
    active = [server["name"] for server in namespace["servers"] if server["status"] == "ACTIVE"]
    found = [(server, tool, by_tool.get((server, tool), changed(server, tool))) for server in active for tool in TOOLS]
    return {
        f"{re.sub('[^A-Za-z0-9_-]', '', server)}__{made.get('override', {}).get('name', tool)}"
        for server, tool, made in found
        if made["status"] == "ACTIVE"
    }


def command(folder: Path, *words: str) -> str:
    """What it printed on standard output."""
    own = {"METAMCP_CONFIG_DIR": str(folder / "config"), "METAMCP_STATE_DIR": str(folder / "var")}
    done = subprocess.run(
        [sys.executable, "-m", "metamcp", *words], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={**os.environ, **own},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("imported")
    exports: dict[str, Any] = {f"namespace-{name}.json": {"version": 1, "namespace": {"name": name, **body}}
                               for name, body in NAMESPACES.items()}  # fmt: skip
    exports["mcp-servers.json"] = EXPORTED
    rows = [row(name, namespace, keyed) for name, (namespace, keyed) in ENDPOINTS.items()]
    exports["endpoints.json"] = {"result": {"data": {"success": True, "data": rows}}}
    for name, document in exports.items():
        (folder / name).write_text(json.dumps(document))
    command(folder, "import", *(str(folder / name) for name in exports))
    document = json.loads((folder / "config/servers.json").read_text())
    with running_gateway(folder, {}, seed=document, env={"NEWS_KEY": "of-the-news"}) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: GatewayProcess) -> str:
    return command(gateway.folder, "keys", "create", "team", "--scope", "team-a").strip()


def ask(url: str, headers: dict[str, str], method: str, params: dict[str, Any]) -> Any:
    """One request in a session of its own, as a client does that knows an address and its headers."""
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    headers = {"Accept": "application/json, text/event-stream", **headers}
    begun = requests.post(url, json=message("initialize", hello), headers=headers, timeout=30)
    assert begun.status_code == 200, begun.text
    headers["Mcp-Session-Id"] = begun.headers["Mcp-Session-Id"]
    try:
        answer = requests.post(url, json=message(method, params), headers=headers, timeout=30)
        lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")] or [answer.text]
        return json.loads(lines[-1])["result"]
    finally:
        requests.delete(url, headers=headers, timeout=30)


def message(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def address(gateway: GatewayProcess, endpoint: str) -> str:
    return f"{gateway.url}/metamcp/{endpoint}/mcp"


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_tools_are_called_as_they_were_at_the_address_where_they_were(
    gateway: GatewayProcess, key: str, endpoint: str
) -> None:
    namespace, keyed = ENDPOINTS[endpoint]
    headers = {"X-API-Key": key} if keyed else {}
    tools = ask(address(gateway, endpoint), headers, "tools/list", {})["tools"]
    assert {tool["name"] for tool in tools} == served_by_metamcp(NAMESPACES[namespace])
    assert len(tools) == len(TOOLS) * 2 - (2 if endpoint == "team-a" else 0)


def test_overrides_are_what_clients_see(gateway: GatewayProcess, key: str) -> None:
    listed = ask(address(gateway, "team-a"), {"X-API-Key": key}, "tools/list", {})["tools"]
    tools = {tool["name"]: tool for tool in listed}
    assert (tools["HackerNews__say"]["title"], tools["HackerNews__say"]["description"]) == ("Say", "Says it again")
    assert tools["files__whoami"]["annotations"] == {"readOnlyHint": True}


@pytest.mark.parametrize(
    ("tool", "arguments", "text"),
    [
        ("HackerNews__say", {"text": "hello"}, "hello"),
        ("HackerNews__env", {"name": "API_KEY"}, "of-the-news"),
        ("files__env", {"name": "ROOT"}, "/srv"),
    ],
)
def test_call_reaches_the_server_with_its_own_environment(
    gateway: GatewayProcess, key: str, tool: str, arguments: dict[str, Any], text: str
) -> None:
    params = {"name": tool, "arguments": arguments}
    result = ask(address(gateway, "team-a"), {"Authorization": f"Bearer {key}"}, "tools/call", params)
    assert text in result["content"][0]["text"]


def test_who_had_to_have_a_key_has_to_have_one(gateway: GatewayProcess, key: str) -> None:
    refused = requests.post(address(gateway, "team-a"), json=message("initialize", {}), timeout=30)
    assert refused.status_code == 401


def test_exported_file_of_a_client_leads_there(gateway: GatewayProcess, key: str) -> None:
    words = ("--format", "claude", "--endpoint", "team-a", "--url", gateway.url)
    [server] = json.loads(command(gateway.folder, "export", *words))["mcpServers"].values()
    headers = {name: value.replace("${METAMCP_TEAM_A_KEY}", key) for name, value in server["headers"].items()}
    tools = ask(server["url"], headers, "tools/list", {})["tools"]
    assert {tool["name"] for tool in tools} == served_by_metamcp(NAMESPACES["narrow"])
