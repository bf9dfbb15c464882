"""An endpoint with ``"discovery": "search"`` over HTTP, for clients of both eras: real gunicorn, real supervisor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from gateway_process import GatewayProcess, process_server, running_gateway

META = "io.modelcontextprotocol/"
ENDPOINTS = {
    "default": {"namespace": "default", "discovery": "search"}, "long": {"namespace": "default"},
}  # fmt: skip


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    servers = {"good": process_server("good", era="legacy")}
    with running_gateway(tmp_path_factory.mktemp("discovery"), servers, endpoints=ENDPOINTS) as running:
        yield running


def stateless(gateway: GatewayProcess, method: str, name: str = "", **params: Any) -> Any:
    """The result of one request of 2026-07-28."""
    meta = {f"{META}protocolVersion": "2026-07-28", f"{META}clientCapabilities": {}}
    more = {"name": name} if name else {}
    headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method} | ({"Mcp-Name": name} if name else {})
    answer = gateway.rpc(method, {**params, **more, "_meta": meta}, **headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def listed(result: Any) -> list[str]:
    return [tool["name"] for tool in result["tools"]]


def test_a_session_searches_and_calls_what_it_found(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    assert listed(gateway.rpc("tools/list", session=session).json()["result"]) == ["search_tools", "call_tool"]
    found = gateway.call(session, "search_tools", {"query": "echo"})["result"]
    name = found["structuredContent"]["tools"][0]["name"]
    assert name == "good__echo" and json.loads(found["content"][0]["text"]) == found["structuredContent"]
    assert gateway.text(session, "call_tool", {"name": name, "arguments": {"text": "hi"}}) == "hi"
    assert gateway.text(session, name, {"text": "directly"}) == "directly"
    gateway.end_session(session)


def test_a_client_without_a_session_searches_and_calls_what_it_found(gateway: GatewayProcess) -> None:
    assert listed(stateless(gateway, "tools/list")) == ["search_tools", "call_tool"]
    (best,) = stateless(gateway, "tools/call", "search_tools", arguments={"query": "echo", "limit": 1})[
        "structuredContent"
    ]["tools"]
    result = stateless(gateway, "tools/call", "call_tool", arguments={"name": best["name"], "arguments": {"text": "x"}})
    assert result["content"][0]["text"] == "x"


def test_another_endpoint_lists_the_same_tools_and_the_audit_log_names_them(gateway: GatewayProcess) -> None:
    session = gateway.open_session(endpoint="long")
    assert "good__echo" in listed(gateway.rpc("tools/list", session=session, endpoint="long").json()["result"])
    calls = gateway.get("/api/calls").json()["recent"]
    assert {"echo", "search_tools"} <= {call["name"] for call in calls} and "call_tool" not in str(calls)
