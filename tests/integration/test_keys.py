"""API keys over real gunicorn: made, presented in each way, revoked and refused, while the gateway runs."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from gateway_process import ROOT, GatewayProcess, eventually, process_server, running_gateway, write_config
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
SERVERS = {"good": process_server("good")}
ENDPOINTS = {
    "open": {"namespace": "default"},
    "closed": {"namespace": "default", "auth": "api-key"},
    "other": {"namespace": "default", "auth": "api-key"},
}
WORKERS = 3
OPERATOR_ROUTES = ["/api/status", "/metrics", "/docker-test/check", "/docker-test/test", "/docker-test/info"]
ACCESS_LOG = '%(r)s "%(q)s" "%(f)s" %({authorization}i)s %({x-api-key}i)s %({raw_uri}e)s %({http_authorization}e)s'


def keys(gateway: GatewayProcess, *arguments: str, status: int = 0) -> str:
    """The command; what it printed on standard output."""
    own = {"METAMCP_CONFIG_DIR": gateway.folder / "config", "METAMCP_STATE_DIR": gateway.folder / "var"}
    done = subprocess.run(
        [sys.executable, "-m", "metamcp", "keys", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30,
        env={**os.environ, **{name: str(path) for name, path in own.items()}},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout.strip()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def status_of(gateway: GatewayProcess, endpoint: str, **headers: str) -> int:
    return gateway.rpc("initialize", HELLO, endpoint=endpoint, **headers).status_code


def every_worker(gateway: GatewayProcess, ask: Callable[[], int]) -> set[int]:
    """What ``ask`` got in so many connections that no worker was spared: they take turns as the kernel likes, so one
    worker after the other is the only one that accepts."""
    found = set()
    workers = gateway.worker_pids
    assert len(workers) == WORKERS
    for chosen in workers:
        others = [pid for pid in workers if pid != chosen]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            found.add(ask())
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)
    return found


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """With one key of an operator, ``admin``; every access is logged in every way that could show a key."""
    folder = tmp_path_factory.mktemp("keys")
    log = f"--access-logfile - --access-logformat '{ACCESS_LOG}'"
    hosts = "localhost,127.0.0.1,mcp.example.com"
    env = {"GUNICORN_CMD_ARGS": log, "METAMCP_ALLOWED_HOSTS": hosts, "METAMCP_LOG_LEVEL": "DEBUG"}
    with running_gateway(folder, SERVERS, workers=WORKERS, endpoints=ENDPOINTS, env=env) as running:
        yield running


@pytest.fixture(scope="module")
def admin(gateway: GatewayProcess) -> str:
    assert gateway.get("/api/status").status_code == 200, "without keys loopback is served"
    assert gateway.get("/health", headers={"Host": "mcp.example.com"}).status_code == 421
    return keys(gateway, "create", "operator", "--scope", "admin")


@pytest.fixture
def key(gateway: GatewayProcess, admin: str) -> Iterator[str]:
    """Of ``laptop``, for the endpoint ``closed``."""
    yield keys(gateway, "create", "laptop", "--scope", "closed")
    if "laptop" in keys(gateway, "list"):
        keys(gateway, "revoke", "laptop")


# --- without keys, and with the first one ------------------------------------------------------------------


def test_other_hosts_are_served_once_there_is_a_key(gateway: GatewayProcess, admin: str) -> None:
    for host, expected in (("mcp.example.com", 200), ("localhost:1", 200), ("evil.example", 421)):
        assert gateway.get("/health", headers={"Host": host}).status_code == expected


@pytest.mark.parametrize("path", OPERATOR_ROUTES)
def test_operators_routes_need_the_scope_admin(gateway: GatewayProcess, admin: str, key: str, path: str) -> None:
    nobody, known, operator = (gateway.get(path, headers=it) for it in ({}, bearer(key), bearer(admin)))
    assert (nobody.status_code, known.status_code) == (401, 403)
    assert nobody.headers["WWW-Authenticate"] == 'Bearer realm="metamcp"'
    assert 'error="insufficient_scope"' in known.headers["WWW-Authenticate"]
    assert 'scope="admin"' in known.headers["WWW-Authenticate"]
    assert operator.status_code in (200, 503), "an engine need not be there"


def test_health_and_ready_are_open_but_tell_strangers_no_name(gateway: GatewayProcess, admin: str, key: str) -> None:
    assert gateway.get("/health").status_code == 200
    for headers in ({}, bearer(key), bearer("mmcp_unknown")):
        assert gateway.get("/ready", headers=headers).json() == {"ready": True}
    assert gateway.get("/ready", headers=bearer(admin)).json() == {"ready": True, "reasons": {}}


# --- the three ways ----------------------------------------------------------------------------------------


def test_a_key_is_taken_in_each_of_its_three_places(gateway: GatewayProcess, key: str) -> None:
    assert status_of(gateway, "closed", **bearer(key)) == 200
    assert status_of(gateway, "closed", Authorization=f"bearer  {key} ") == 200
    assert status_of(gateway, "closed", **{"X-API-Key": key}) == 200
    url = f"{gateway.url}/metamcp/closed/mcp"
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
    assert gateway.http.post(url, json=hello, params={"api_key": key}, timeout=10).status_code == 200


def test_a_key_beside_somebody_elses_authorization_is_found(gateway: GatewayProcess, key: str) -> None:
    for foreign in ("Basic dXNlcjpwYXNz", "Bearer eyJhbGciOiJub25lIn0.e30."):
        assert status_of(gateway, "closed", Authorization=foreign, **{"X-API-Key": key}) == 200


def test_without_a_key_it_is_401_with_another_ones_scope_403(gateway: GatewayProcess, key: str) -> None:
    for headers, expected, challenge in (
        ({}, 401, 'Bearer realm="metamcp"'),
        (bearer(key[:-1] + ("A" if key[-1] != "A" else "B")), 401, 'error="invalid_token"'),
        (bearer("x" * 5000), 401, 'error="invalid_token"'),
        ({"X-API-Key": "\u00e9"}, 401, 'error="invalid_token"'),
    ):
        answer = gateway.rpc("initialize", HELLO, endpoint="closed", **headers)
        assert answer.status_code == expected
        assert challenge in answer.headers["WWW-Authenticate"]
    answer = gateway.rpc("initialize", HELLO, endpoint="other", **bearer(key))
    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    assert 'scope="other"' in answer.headers["WWW-Authenticate"]


def test_an_endpoint_without_authentication_asks_for_nothing(gateway: GatewayProcess, key: str) -> None:
    assert status_of(gateway, "open") == 200
    assert status_of(gateway, "open", **bearer("not-a-key")) == 200


def test_what_is_not_there_looks_like_what_one_may_not_see(gateway: GatewayProcess, admin: str, key: str) -> None:
    def seen(endpoint: str, headers: Mapping[str, str]) -> list[Any]:
        base, found = f"{gateway.url}/metamcp/{endpoint}", []
        for method, path in (("GET", "sse"), ("POST", "mcp"), ("GET", "mcp"), ("DELETE", "mcp"), ("POST", "message")):
            answer = gateway.http.request(method, f"{base}/{path}", headers=headers, json={}, timeout=10)
            shown = {k: v for k, v in answer.headers.items() if k not in ("Date", "X-Request-ID")}
            found.append((answer.status_code, shown, answer.content))
        return found

    for headers in ({}, bearer(key), bearer("mmcp_wrong")):
        there, nowhere = seen("other", headers), seen("nosuc", headers)
        assert [(s, {k: v.replace("nosuc", "other") for k, v in h.items()}, b.replace(b"nosuc", b"other"))
                for s, h, b in nowhere] == there  # fmt: skip
        assert {status for status, _, _ in there} <= {401, 403}
    assert status_of(gateway, "nosuc", **bearer(admin)) == 404, "whoever sees all may know"


def test_a_preflight_needs_no_key(gateway: GatewayProcess, admin: str) -> None:
    headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    answer = gateway.http.options(f"{gateway.url}/metamcp/closed/mcp", headers=headers, timeout=10)
    assert answer.status_code == 204
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"]
    refused = gateway.http.post(f"{gateway.url}/metamcp/closed/mcp", headers=headers, json={}, timeout=10)
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == "http://localhost:3000", "the page may read why"


# --- sessions ----------------------------------------------------------------------------------------------


def test_the_session_of_one_key_is_unknown_to_another(gateway: GatewayProcess, key: str) -> None:
    second = keys(gateway, "create", "tablet", "--scope", "closed")
    opened = gateway.rpc("initialize", HELLO, endpoint="closed", **bearer(key))
    session = opened.headers["Mcp-Session-Id"]

    def listed(**headers: str) -> int:
        return gateway.rpc("tools/list", endpoint="closed", session=session, **headers).status_code

    assert (listed(**bearer(key)), listed(**bearer(second)), listed()) == (200, 404, 401)
    keys(gateway, "revoke", "tablet")


def test_keys_of_one_name_share_its_sessions_so_that_one_can_replace_the_other(
    gateway: GatewayProcess, key: str, admin: str
) -> None:
    session = gateway.rpc("initialize", HELLO, endpoint="closed", **bearer(key)).headers["Mcp-Session-Id"]
    successor = keys(gateway, "create", "laptop", "--scope", "closed")
    first, second = re.findall(r"(?m)^laptop +(\w{8}) ", keys(gateway, "list"))
    keys(gateway, "revoke", "laptop", "--id", first)
    assert first != second
    assert gateway.rpc("tools/list", endpoint="closed", session=session, **bearer(key)).status_code == 401
    assert gateway.rpc("tools/list", endpoint="closed", session=session, **bearer(successor)).status_code == 200
    shown = gateway.get("/api/status", headers=bearer(admin)).json()["sessions"]
    assert "laptop" in {it["principal"] for it in shown}


def test_sdk_client_that_knows_only_a_url_works_with_the_key_in_it(gateway: GatewayProcess, key: str) -> None:
    async def use() -> list[str]:
        url = f"{gateway.url}/metamcp/closed/sse?api_key={key}"
        async with sse_client(url) as streams, ClientSession(*streams) as client:
            await client.initialize()
            return [tool.name for tool in (await client.list_tools()).tools]

    assert "good__echo" in asyncio.run(use())


# --- while it runs -----------------------------------------------------------------------------------------


def test_a_key_works_and_works_no_more_at_once_over_all_workers(gateway: GatewayProcess, admin: str) -> None:
    made = keys(gateway, "create", "brief", "--scope", "closed")
    assert every_worker(gateway, lambda: status_of(gateway, "closed", **bearer(made))) == {200}
    keys(gateway, "revoke", "brief")
    assert every_worker(gateway, lambda: status_of(gateway, "closed", **bearer(made))) == {401}


def test_a_key_ends_by_itself(gateway: GatewayProcess, admin: str) -> None:
    made = keys(gateway, "create", "hour", "--scope", "closed", "--expires", "2s")
    eventually(lambda: status_of(gateway, "closed", **bearer(made)) == 401, "the key expires")
    assert "(past)" in keys(gateway, "list")
    keys(gateway, "revoke", "hour")


def test_the_stream_of_a_revoked_key_delivers_nothing_more_and_ends(gateway: GatewayProcess, admin: str) -> None:
    made = keys(gateway, "create", "stream", "--scope", "closed")
    with gateway.http.get(
        f"{gateway.url}/metamcp/closed/sse", headers=bearer(made), stream=True, timeout=40
    ) as stream:
        lines = stream.iter_lines()
        assert next(lines) == b"event: endpoint"
        where = next(lines).removeprefix(b"data: ").decode()
        keys(gateway, "revoke", "stream")
        assert gateway.http.post(gateway.url + where, json={}, headers=bearer(made), timeout=10).status_code == 401
        assert [line for line in lines if line.startswith(b"data")] == []


def test_an_endpoint_that_asks_for_keys_from_now_on_does_so_at_once(gateway: GatewayProcess, key: str) -> None:
    changed = ENDPOINTS | {"open": {"namespace": "default", "auth": "api-key"}}
    session = gateway.rpc("initialize", HELLO, endpoint="open").headers["Mcp-Session-Id"]
    try:
        write_config(gateway.folder, SERVERS, endpoints=changed)
        reload(gateway)
        assert every_worker(gateway, lambda: status_of(gateway, "open")) == {401}
        assert gateway.rpc("tools/list", endpoint="open", session=session).status_code == 401
    finally:
        write_config(gateway.folder, SERVERS, endpoints=ENDPOINTS)
        reload(gateway)
    assert status_of(gateway, "open") == 200
    assert gateway.rpc("tools/list", endpoint="open", session=session).status_code == 404


def test_a_broken_file_admits_nobody_and_says_so_once(gateway: GatewayProcess, key: str, admin: str) -> None:
    file = gateway.folder / "var" / "access" / "keys.json"
    good = file.read_bytes()
    for broken in (b"", b'{"version": 1, "keys": [', good.replace(b'"closed"', b'"no such"'), b"x" * 2**21):
        file.write_bytes(broken)
        for path, headers in (("/api/status", bearer(admin)), ("/api/status", {}), ("/ready", {}), ("/mcp", {})):
            assert gateway.get(path, headers=headers).status_code == 503
        assert status_of(gateway, "closed", **bearer(key)) == 503
        assert status_of(gateway, "open") == 503
        assert gateway.get("/health").status_code == 200
    file.unlink()
    assert every_worker(gateway, lambda: gateway.get("/api/status").status_code) == {503}
    keys(gateway, "list")
    file.write_bytes(good)
    assert every_worker(gateway, lambda: status_of(gateway, "closed", **bearer(key))) == {200}
    assert "keys-unusable" in gateway.log


def reload(gateway: GatewayProcess) -> None:
    own = {"METAMCP_CONFIG_DIR": gateway.folder / "config", "METAMCP_STATE_DIR": gateway.folder / "var"}
    env = {**os.environ, **{name: str(path) for name, path in own.items()}}
    command = [sys.executable, "-m", "metamcp", "reload"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr


# --- nobody learns a key -----------------------------------------------------------------------------------


def test_no_key_is_in_any_log_answer_or_file(gateway: GatewayProcess, key: str) -> None:
    encoded = "".join(f"%{byte:02x}" for byte in key.encode())
    for query in (f"api_key={key}", f"api%5Fkey={key}", f"a=b&api_key={encoded}&c=d"):
        for path in ("/metamcp/closed/mcp", "/metamcp/other/mcp", "/metamcp/none/mcp", "/nowhere", "/api/status"):
            answer = gateway.get(f"{path}?{query}", headers={"Referer": f"http://localhost/?{query}"} | bearer(key))
            assert key not in answer.text and key not in str(answer.headers)
    for line in (f"GET /mcp?api_key={key} HTTP/9.9", f"G\u00ebT /mcp?api_key={key} HTTP/1.1", f"GET /?api_key={key} x"):
        with socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2])), 10) as raw:
            raw.sendall(f"{line}\r\nHost: localhost\r\nX-API-Key: {key}\r\n\r\n".encode("latin-1"))
            assert key.encode() not in raw.recv(65536)
    assert "/metamcp/closed/mcp?api_key=***" in gateway.log
    secret = key.removeprefix("mmcp_")
    for file in (it for it in gateway.folder.rglob("*") if it.is_file()):
        assert secret.encode() not in file.read_bytes(), file
        assert encoded.encode() not in file.read_bytes(), file


def test_the_command_line_shows_no_key_and_says_what_is_wrong(tmp_path: Path) -> None:
    write_config(tmp_path, SERVERS)
    nowhere: Any = type("Nowhere", (), {"folder": tmp_path})
    made = keys(nowhere, "create", "laptop", "--scope", "default", "admin", "--expires", "90d")
    assert re.fullmatch(r"mmcp_[A-Za-z0-9_-]{43}", made)
    listing = keys(nowhere, "list")
    assert re.search(r"laptop +\w{8} +default,admin +\d{4}-\d\d-\d\d", listing)
    assert made not in listing
    for wrong in (
        ["create", "laptop"], ["create", "a b", "--scope", "x"], ["create", "anonymous", "--scope", "x"],
        ["create", "a", "--scope", "x/y"], ["create", "a", "--scope", "x", "--expires", "soon"],
    ):  # fmt: skip
        keys(nowhere, *wrong, status=2)
    keys(nowhere, "revoke", "nobody", status=1)
    (tmp_path / "var" / "access" / "keys.json").write_text("{}")
    keys(nowhere, "create", "other", "--scope", "admin", status=1)
    assert (tmp_path / "var" / "access" / "keys.json").read_text() == "{}", "what cannot be read is not written over"
