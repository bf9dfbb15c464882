"""Clients that want to hurt: they hurt themselves, memory stays bounded, and another client is served meanwhile."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from gateway_process import ROOT, GatewayProcess, eventually, process_server, running_gateway
from raw_http import HEAD, asked, connected, statuses
from requests.adapters import HTTPAdapter

MIB = 1024 * 1024
CLIENT_SECONDS = 3
LEVELS = 100_000
DEEP = {"command": sys.executable, "args": ["-I", "-S", str(ROOT / "tests" / "servers" / "deep.py")]}
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
BOTH = "application/json, text/event-stream"
LATENCY = 2.0
"""Seconds within which others are answered, on a machine that may be busy."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    env = {"METAMCP_CLIENT_SECONDS": str(CLIENT_SECONDS), "METAMCP_MAX_SESSIONS_PER_PRINCIPAL": "50"}
    servers = {"good": process_server("good", isolation="shared"), "deep": {**DEEP, "isolation": "shared"}}
    with running_gateway(tmp_path_factory.mktemp("load"), servers, workers=2, env=env) as running:
        yield running


def port_of(gateway: GatewayProcess) -> int:
    return int(gateway.url.rpartition(":")[2])


class From(HTTPAdapter):
    """Connects from another address of loopback: a stranger."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *positional: Any, **options: Any) -> None:
        super().init_poolmanager(*positional, source_address=(self._address, 0), **options)


@contextmanager
def stranger(address: str = "127.0.0.9") -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.mount("http://", From(address))
        session.headers["Accept"] = BOTH
        yield session


def resident(gateway: GatewayProcess) -> int:
    """Bytes of the workers and the supervisor together."""
    pids = [*gateway.worker_pids, gateway.supervisor_pid]
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * 4096


class Other:
    """A client that goes on calling while something happens, and knows the longest time that it waited."""

    def __init__(self, gateway: GatewayProcess, tool: str = "good__echo") -> None:
        self.gateway = gateway
        self._tool = tool
        self.slowest, self.calls, self.most_memory = 0.0, 0, 0
        self._over = threading.Event()
        self._session = gateway.open_session()

    def __enter__(self) -> Other:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.gateway.end_session(self._session)

    def _run(self) -> None:
        while not self._over.wait(0.05):
            begun = time.monotonic()
            assert self.gateway.text(self._session, self._tool, {"text": "x"})
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.calls += 1
            self.most_memory = max(self.most_memory, resident(self.gateway))


# --- depth and size ----------------------------------------------------------------------------------------


def deep(kind: str) -> bytes:
    nested = {
        "array": b"[" * LEVELS + b"]" * LEVELS,
        "object": b'{"a":' * LEVELS + b"1" + b"}" * LEVELS,
        "open": b"[" * LEVELS,
    }
    return nested[kind]


@pytest.mark.parametrize("kind", ["array", "object", "open"])
@pytest.mark.parametrize("where", ["params", "id", "member", "alone", "batch"])
@pytest.mark.parametrize("revision", ["2025-03-26", "2026-07-28"])
def test_json_of_a_hundred_thousand_levels_is_refused_with_a_text(
    gateway: GatewayProcess, kind: str, where: str, revision: str
) -> None:
    nested = deep(kind)
    body = {
        "params": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"good__echo","arguments":%s}}',
        "id": b'{"jsonrpc":"2.0","id":%s,"method":"ping"}',
        "member": b'{"jsonrpc":"2.0","id":1,"method":"ping","more":%s}',
        "alone": b"%s",
        "batch": b'[{"jsonrpc":"2.0","id":1,"method":"ping"},%s]',
    }[where] % nested
    headers = {"Accept": BOTH, "Content-Type": "application/json"}
    headers |= {"MCP-Protocol-Version": revision, "Mcp-Session-Id": "x"}
    answer = requests.post(f"{gateway.url}/mcp", data=body, headers=headers, timeout=30)
    assert answer.status_code in (400, 404), answer.text
    error = answer.json()["error"]
    assert error["code"] in (-32700, -32600, -32001, -32020) and error["message"]


@pytest.mark.parametrize("tool", ["deep", "deep-error"])
def test_an_answer_of_a_hundred_thousand_levels_fails_its_call_alone(gateway: GatewayProcess, tool: str) -> None:
    session, supervisor = gateway.open_session(), gateway.supervisor_pid
    answer = gateway.call(session, f"deep__{tool}", timeout=20)
    assert answer["error"]["message"], answer
    assert gateway.text(session, "deep__ok") == "fine"
    assert gateway.supervisor_pid == supervisor
    gateway.end_session(session)


def test_a_name_of_eight_million_control_characters_is_not_sent_back(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    headers = {"Accept": BOTH, "Content-Type": "application/json", "Mcp-Session-Id": session}
    name = b"\x7f" * (24 * MIB)
    with Other(gateway) as other:
        body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"%s"}}' % name
        answer = requests.post(f"{gateway.url}/mcp", data=body, headers=headers, timeout=60)
        eventually(lambda: other.calls > 2, "another client is served")
    assert answer.status_code == 200 and len(answer.content) < 200_000
    assert "link-failed" not in gateway.log
    gateway.end_session(session)


def test_a_batch_of_a_hundred_thousand_is_refused_at_once(gateway: GatewayProcess) -> None:
    session = gateway.open_session("2025-03-26")
    member = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"good__echo","arguments":{}}}'
    body = b"[" + b",".join(member % number for number in range(100_000)) + b"]"
    headers = {"Accept": BOTH, "Content-Type": "application/json", "Mcp-Session-Id": session}
    answer = requests.post(f"{gateway.url}/mcp", data=body, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32600)
    gateway.end_session(session)


# --- sessions ----------------------------------------------------------------------------------------------


def test_a_stranger_who_opens_sessions_without_end_throws_out_only_their_own(gateway: GatewayProcess) -> None:
    mine = gateway.open_session()
    until = time.monotonic() + 10

    def flood(number: int) -> int:
        opened = 0
        with stranger() as http:
            while time.monotonic() < until:
                body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
                answer = http.post(f"{gateway.url}/mcp", json=body, timeout=30)
                assert answer.status_code == 200
                opened += 1
        return opened

    before = resident(gateway)
    with Other(gateway) as other, ThreadPoolExecutor(4) as crowd:
        opened = sum(crowd.map(flood, range(4)))
    print(f"{opened} sessions, others waited {other.slowest:.2f} s, {(other.most_memory - before) / MIB:.1f} MiB more")
    assert opened > 200 and other.calls > 3
    assert len(gateway.status()["sessions"]) <= 50 + 50
    assert gateway.text(mine, "good__echo", {"text": "still here"})
    assert other.slowest < LATENCY
    assert other.most_memory - before < 48 * MIB
    gateway.end_session(mine)


# --- slow clients ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ",
        HEAD + b"Content-Length: 30000000\r\n\r\n" + b" " * 70_000,
        b"",
    ],
    ids=["header", "body", "nothing"],
)
def test_two_hundred_clients_that_trickle_hold_little_and_are_hung_up_on(
    gateway: GatewayProcess, beginning: bytes
) -> None:
    before = resident(gateway)
    with ExitStack() as stack, Other(gateway) as other:
        slow = [stack.enter_context(connected(port_of(gateway), 30)) for _ in range(200)]
        for connection in slow:
            connection.sendall(beginning)
        cut = threading.Event()
        while not cut.wait(0.2) and sum(map(trickle, slow)):  # all of them, each time
            assert other.slowest < LATENCY
    print(f"others waited {other.slowest:.2f} s at most, {(other.most_memory - before) / MIB:.1f} MiB more")
    assert other.calls > 3 and other.slowest < LATENCY
    assert other.most_memory - before < 64 * MIB


def trickle(connection: socket.socket) -> bool:
    """One more byte; False when the other side has hung up."""
    try:
        connection.sendall(b"a")
        connection.setblocking(False)
        return connection.recv(65536) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        connection.settimeout(30)


def test_a_body_that_is_announced_as_100_mib_and_trickled_is_refused_at_once(gateway: GatewayProcess) -> None:
    begun = time.monotonic()
    answer = asked(port_of(gateway), HEAD + b"Content-Length: 104857600\r\n\r\n" + b" " * 1000)
    assert statuses(answer) == [413]
    assert time.monotonic() - begun < 10


def test_a_client_that_never_reads_its_stream_is_cut_and_holds_a_bounded_amount(gateway: GatewayProcess) -> None:
    before = resident(gateway)
    with Other(gateway, "deep__ok") as other, socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.settimeout(30)
        lazy.connect(("127.0.0.1", port_of(gateway)))
        lazy.sendall(b"GET /sse HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        head = b""
        while b"sessionId=" not in head or not head.endswith(b"\r\n"):
            head += lazy.recv(300)
        path = head.split(b"data: ")[1].split(b"\n")[0].strip().decode()
        post(gateway, path, 0, "initialize", HELLO)
        refused = [post(gateway, path, number, "tools/call", big_call()) for number in range(1, 60)]
        eventually(lambda: session_is_gone(gateway, path), "the stream is cut", 30)
    print(f"others waited {other.slowest:.2f} s at most, {(other.most_memory - before) / MIB:.1f} MiB more")
    assert set(refused) <= {202, 404}
    assert other.slowest < LATENCY
    assert other.most_memory - before < 300 * MIB


def big_call() -> dict[str, Any]:
    return {"name": "good__big", "arguments": {"bytes": 4 * MIB}}


def post(gateway: GatewayProcess, path: str, number: int, method: str, params: dict[str, Any]) -> int:
    body = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return requests.post(gateway.url + path, json=body, timeout=30).status_code


def session_is_gone(gateway: GatewayProcess, path: str) -> bool:
    return post(gateway, path, 99, "ping", {}) == 404


# --- what is reflected -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /metamcp/a%0d%0aSet-Cookie:%20evil=1/mcp HTTP/1.1",
        b"GET /metamcp/a%0d%0aSet-Cookie:%20evil=1/sse HTTP/1.1",
        b"POST /message?sessionId=a%0d%0aSet-Cookie:%20evil=1 HTTP/1.1",
    ],
)
def test_line_ends_in_what_is_sent_back_make_no_header(gateway: GatewayProcess, request_line: bytes) -> None:
    fields = b"Accept: text/event-stream\r\nMcp-Session-Id: a%0d%0ab\r\nLast-Event-ID: x%0d%0ay:1\r\nConnection: close"
    answer = asked(port_of(gateway), request_line + b"\r\nHost: localhost\r\n" + fields + b"\r\n\r\n")
    assert statuses(answer)[0] in (400, 404)
    assert b"set-cookie" not in answer.partition(b"\r\n\r\n")[0].lower()


# --- rates and the audit log -------------------------------------------------------------------------------


def test_rates_hold_over_all_workers_and_for_each_endpoint(tmp_path: Path) -> None:
    endpoints = {"default": {"namespace": "all"}, "busy": {"namespace": "all", "rateLimit": "5/hour"}}
    more = {"namespaces": {"all": {"servers": ["good"]}}, "endpoints": endpoints}
    env = {"METAMCP_RATE_LIMIT": "40/hour"}
    with running_gateway(tmp_path, {"good": process_server("good")}, workers=2, env=env, **more) as gateway:

        def ask(endpoint: str, address: str) -> requests.Response:
            with stranger(address) as http:  # each time another connection, and perhaps another worker
                url = f"{gateway.url}/metamcp/{endpoint}/mcp"
                body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
                return http.post(url, json=body, headers={"Mcp-Session-Id": "x"}, timeout=30)

        answers = [ask("default", "127.0.0.9").status_code for _ in range(60)]
        assert (answers.count(404), answers.count(429)) == (40, 20)
        assert ask("default", "127.0.0.8").status_code == 404
        busy = [ask("busy", f"127.0.0.{10 + number}") for number in range(8)]
        assert [answer.status_code for answer in busy] == [404] * 5 + [503] * 3
        assert 0 < int(busy[-1].headers["Retry-After"]) <= 3600
        eventually(lambda: {429, 503} <= {line.get("status") for line in audited(gateway)}, "the audit log tells it")


def audited(gateway: GatewayProcess) -> list[dict[str, Any]]:
    path = gateway.folder / "var" / "audit.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_audit_log_tells_who_called_what_and_no_secret_and_survives_its_rotation(tmp_path: Path) -> None:
    secret = "canary-4711"
    with running_gateway(tmp_path, {"good": process_server("good")}, workers=2) as gateway:
        session = gateway.open_session()
        assert secret in gateway.text(session, "good__echo", {"text": secret})
        gateway.call(session, secret)
        eventually(lambda: len(calls(gateway)) == 2, "both calls are audited")
        log = tmp_path / "var" / "audit.jsonl"
        log.rename(tmp_path / "var" / "audit.jsonl.1")
        requests.get(f"{gateway.url}/mcp", headers={"Origin": "https://evil.example"}, timeout=10)
        gateway.text(session, "good__echo", {"text": secret})
        eventually(lambda: log.exists() and len(calls(gateway)) == 1, "a new file is written")
        gateway.end_session(session)
    written = log.read_text() + (tmp_path / "var" / "audit.jsonl.1").read_text()
    assert secret not in written and session not in written
    lines = [json.loads(line) for line in written.splitlines()]
    assert any(line["event"] == "edge" and line["status"] == 403 for line in lines)
    (good, bad) = [line for line in lines if line.get("method") == "tools/call" and line["seconds"] >= 0][-2:]
    assert (good["tool"], good["server"], good["decision"]) == ("echo", "good", "allowed")
    assert (bad["decision"], bad["rule"]) == ("refused", "invalid-params")


def calls(gateway: GatewayProcess) -> list[dict[str, Any]]:
    return [line for line in audited(gateway) if line.get("method") == "tools/call"]


def test_calls_go_on_while_the_audit_log_cannot_be_written(tmp_path: Path) -> None:
    env = {"METAMCP_AUDIT_LOG": "/dev/full"}
    with running_gateway(tmp_path, {"good": process_server("good")}, env=env) as gateway:
        session = gateway.open_session()
        for _ in range(5):
            assert gateway.text(session, "good__echo", {"text": "x"})
        eventually(lambda: "audit-not-written" in gateway.log, "it is told")
        assert gateway.log.count("audit-not-written") == 1
        gateway.end_session(session)
