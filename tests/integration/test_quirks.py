"""What only a real HTTP server shows of the habits of real clients."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests
from gateway_process import GatewayProcess, process_server, running_gateway

PAGE = "https://inspector.example"
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    modes = {"one": "good", "two": "good", "early": "early-list-changed"}
    servers = {name: process_server(mode) for name, mode in modes.items()}
    namespaces = {"all": {"servers": list(servers), "prefix": False}}
    more = {"namespaces": namespaces, "endpoints": {"default": {"namespace": "all"}}}
    env = {"METAMCP_ALLOWED_ORIGINS": PAGE}
    with running_gateway(tmp_path_factory.mktemp("gateway"), servers, env=env, **more) as running:
        yield running


def raw(gateway: GatewayProcess, head: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """One request exactly as written, on a connection that ends with it: status, headers by lower-case name, body."""
    where = urlsplit(gateway.url)
    lines = [*head.strip().splitlines(), f"host: {where.netloc}", "connection: close", f"content-length: {len(body)}"]
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    top, _, rest = answer.partition(b"\r\n\r\n")
    status, *fields = top.decode().split("\r\n")
    return int(status.split()[1]), {name.lower(): value for name, value in (f.split(": ", 1) for f in fields)}, rest


def test_bare_client_with_lower_case_headers_and_no_accept_is_served(gateway: GatewayProcess) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": HELLO}).encode()
    head = "POST /mcp/ HTTP/1.1\ncontent-type: application/json\nmcp-protocol-version: 2099-01-01"
    status, headers, answer = raw(gateway, head, b"\xef\xbb\xbf" + body)
    assert status == 200
    assert json.loads(answer)["result"]["protocolVersion"] == "2025-06-18"
    head = f"DELETE /mcp HTTP/1.1\nMCP-SESSION-ID: {headers['mcp-session-id']}"
    assert raw(gateway, head)[0] == 200
    assert raw(gateway, head)[0] == 404


def test_page_of_an_allowed_origin_asks_first_and_reads_its_session(gateway: GatewayProcess) -> None:
    asked = f"origin: {PAGE}\naccess-control-request-method: POST\naccess-control-request-headers: mcp-param-x"
    status, headers, body = raw(gateway, f"OPTIONS /metamcp/default/mcp HTTP/1.1\n{asked}")
    assert (status, body, headers["access-control-allow-origin"]) == (204, b"", PAGE)
    assert "mcp-param-x" in headers["access-control-allow-headers"]
    answer = gateway.rpc("initialize", HELLO, Origin=PAGE)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert "Mcp-Session-Id" in answer.headers["Access-Control-Expose-Headers"]
    assert gateway.rpc("initialize", HELLO, Origin="https://other.example").status_code == 403


def test_new_client_at_the_url_of_the_old_transport_is_told_so_at_once(gateway: GatewayProcess) -> None:
    began = time.monotonic()
    answer = requests.post(f"{gateway.url}/sse", json={"jsonrpc": "2.0", "id": 0, "method": "initialize"}, timeout=10)
    assert answer.status_code == 405
    assert time.monotonic() - began < 1


def test_collision_of_names_hides_no_tool_and_is_told_to_the_operator(gateway: GatewayProcess) -> None:
    listed = gateway.rpc("tools/list", session=gateway.open_session()).json()["result"]["tools"]
    names = [tool["name"] for tool in listed]
    assert {"echo", "two__echo", "early__echo"} <= set(names) and len(set(names)) == len(names)
    problems = gateway.status()["namespaces"]["all"]["problems"]
    assert "tools: 'echo' of 'two' is shown as 'two__echo'" in problems
    assert gateway.log.count("two__echo") == 1 and "name-collision" in gateway.log
