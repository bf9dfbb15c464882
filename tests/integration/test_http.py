"""Status codes and headers of the MCP routes, over real gunicorn."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest
from gateway_process import GatewayProcess, eventually, process_server, running_gateway

BOTH = {"Accept": "application/json, text/event-stream"}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    more = {
        "namespaces": {"all": {"servers": ["good"]}, "plain": {"servers": ["good"], "prefix": False}},
        "endpoints": {
            "default": {"namespace": "all"}, "plain": {"namespace": "plain"},
            "closed": {"namespace": "all", "auth": "api-key"},
        },
    }  # fmt: skip
    servers = {"good": process_server("good")}
    with running_gateway(tmp_path_factory.mktemp("gateway"), servers, workers=2, **more) as running:
        yield running


class Stream:
    """A client of server-sent events that reads them on a thread and can hang up at any time."""

    def __init__(self, url: str, **headers: str) -> None:
        parts = urlsplit(url)
        self.events: queue.Queue[tuple[str, str]] = queue.Queue()
        self.headers: dict[str, str] = {}
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30)
        lines = [f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *(f"{k}: {v}" for k, v in headers.items())]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._file = self._socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        while line := self._file.readline().decode().strip():
            name, _, value = line.partition(": ")
            self.headers[name.lower()] = value
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        name = ""
        with suppress(OSError):  # hanging up resets the connection below a read
            for raw in self._file:
                line = raw.decode().rstrip()
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    self.events.put((name, line[6:]))

    def next(self) -> tuple[str, str]:
        return self.events.get(timeout=10)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._file.close()
        self._socket.close()


@contextmanager
def sse(gateway: GatewayProcess, path: str = "/metamcp/default/sse") -> Iterator[tuple[Stream, str]]:
    stream = Stream(gateway.url + path)
    try:
        name, where = stream.next()
        assert name == "endpoint"
        yield stream, where
    finally:
        stream.close()


def test_endpoint_event_is_a_path_beside_the_streams_own(gateway: GatewayProcess) -> None:
    with sse(gateway) as (_, where):
        assert where.startswith("/metamcp/default/message?sessionId=")
    with sse(gateway, "/sse") as (_, where):
        assert where.startswith("/message?sessionId=")


def test_messages_are_accepted_with_202_and_answered_on_the_stream(gateway: GatewayProcess) -> None:
    with sse(gateway) as (stream, where):
        hello = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        posted = gateway.http.post(
            gateway.url + where, json={"jsonrpc": "2.0", "id": "a", "method": "initialize", "params": hello}, timeout=10
        )
        assert (posted.status_code, posted.text) == (202, "Accepted")
        answer = json.loads(stream.next()[1])
        assert answer["id"] == "a"
        assert answer["result"]["protocolVersion"] == "2024-11-05"


def test_message_to_an_unknown_session_is_404_and_without_one_400(gateway: GatewayProcess) -> None:
    post = gateway.http.post
    assert post(f"{gateway.url}/metamcp/default/message?sessionId=nobody", json=LIST, timeout=10).status_code == 404
    assert post(f"{gateway.url}/metamcp/default/message", json=LIST, timeout=10).status_code == 400


def test_session_ends_with_its_stream(gateway: GatewayProcess) -> None:
    with sse(gateway) as (_, where):
        pass

    def gone() -> bool:
        return bool(gateway.http.post(gateway.url + where, json=LIST, timeout=10).status_code == 404)

    eventually(gone, "the session is closed when its client hangs up")


def test_session_of_one_endpoint_is_unknown_at_another(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    assert gateway.rpc("tools/list", session=session, endpoint="plain").status_code == 404
    with sse(gateway) as (_, where):
        other = where.replace("/metamcp/default/", "/metamcp/plain/")
        assert gateway.http.post(gateway.url + other, json=LIST, timeout=10).status_code == 404


def test_unprefixed_namespace_shows_the_servers_own_names(gateway: GatewayProcess) -> None:
    session = gateway.open_session(endpoint="plain")
    assert gateway.text(session, "echo", {"text": "x"}, endpoint="plain") == "x"


def test_missing_session_is_400_and_unknown_404_and_deleted_404(gateway: GatewayProcess) -> None:
    assert gateway.rpc("tools/list").status_code == 400
    assert gateway.rpc("tools/list", session="nobody").status_code == 404
    session = gateway.open_session()
    url = f"{gateway.url}/mcp"
    assert gateway.http.delete(url, headers={"Mcp-Session-Id": session}, timeout=10).status_code == 200
    assert gateway.rpc("tools/list", session=session).status_code == 404


def test_unknown_endpoint_is_404_and_closed_one_401(gateway: GatewayProcess) -> None:
    assert gateway.rpc("tools/list", session="x", endpoint="nowhere").status_code == 404
    assert gateway.get("/metamcp/nowhere/sse").status_code == 404
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    assert gateway.rpc("initialize", hello, endpoint="closed").status_code == 401
    assert gateway.get("/metamcp/closed/sse").status_code == 401


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/metamcp/default/mcp", "/metamcp/default/mcp/"])
def test_no_path_redirects(gateway: GatewayProcess, path: str) -> None:
    session = gateway.open_session()
    headers = BOTH | {"Mcp-Session-Id": session}
    answer = gateway.http.post(gateway.url + path, json=LIST, headers=headers, timeout=10, allow_redirects=False)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/json, text/event-stream", "application/json"),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("", "application/json"),
        ("text/event-stream", "text/event-stream"),
    ],
)
def test_answer_comes_in_a_kind_that_the_client_takes(gateway: GatewayProcess, accept: str, content_type: str) -> None:
    answer = gateway.rpc("tools/list", session=gateway.open_session(), **{"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].split(";")[0] == content_type


def test_protocol_version_header_is_checked(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    assert gateway.rpc("ping", session=session, **{"MCP-Protocol-Version": "1999-01-01"}).status_code == 400
    assert gateway.rpc("ping", session=session, **{"MCP-Protocol-Version": "2025-06-18"}).status_code == 200


def test_bodies_that_are_no_messages_are_400(gateway: GatewayProcess) -> None:
    headers = BOTH | {"Mcp-Session-Id": gateway.open_session(), "Content-Type": "application/json"}
    for body in (b"{", b"[]", b"1", b'{"jsonrpc":"1.0","id":1,"method":"ping"}', b"[" * 100_000, b""):
        answer = gateway.http.post(f"{gateway.url}/mcp", data=body, headers=headers, timeout=10)
        assert answer.status_code == 400, body[:20]
        assert answer.json()["error"]["code"] in (-32700, -32600)


def test_foreign_host_and_origin_are_refused(gateway: GatewayProcess) -> None:
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    assert gateway.rpc("initialize", hello, Host="evil.example.com").status_code == 421
    assert gateway.rpc("initialize", hello, Origin="http://evil.example.com").status_code == 403
    assert gateway.rpc("initialize", hello, Origin=gateway.url).status_code == 200


def test_wrong_method_is_405_and_says_what_is_allowed(gateway: GatewayProcess) -> None:
    answer = gateway.http.put(f"{gateway.url}/mcp", timeout=10)
    assert answer.status_code == 405
    assert {"GET", "POST", "DELETE"} <= set(answer.headers["Allow"].replace(" ", "").split(","))
    assert gateway.http.post(f"{gateway.url}/sse", json=LIST, timeout=10).status_code == 405


def test_large_payload_passes_both_ways_unchanged(gateway: GatewayProcess) -> None:
    text = "ü\u200d😀x" * 200_000
    assert gateway.text(gateway.open_session(), "good__echo", {"text": text}) == text


def test_listening_stream_may_not_be_buffered_or_kept(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    stream = Stream(f"{gateway.url}/mcp", **{"Mcp-Session-Id": session, "Accept": "text/event-stream"})
    stream.close()
    assert stream.status == 200
    assert stream.headers["x-accel-buffering"] == "no"
    assert stream.headers["cache-control"].startswith("no-cache")
    assert gateway.rpc("ping", session=session).json()["result"] == {}


def test_indented_message_reaches_its_server_as_one_line(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    params = {"name": "good__echo", "arguments": {"text": "one\nline", "more": {"nested": [1, 2]}}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    body = json.dumps(message, indent=2).replace("\n", "\r\n")
    headers = BOTH | {"Mcp-Session-Id": session, "Content-Type": "application/json"}
    answer = gateway.http.post(f"{gateway.url}/mcp", data=body, headers=headers, timeout=10)
    assert answer.json()["result"]["content"][0]["text"] == "one\nline"


def test_streams_that_end_as_soon_as_they_begin_do_no_harm_to_the_worker(gateway: GatewayProcess) -> None:
    workers = gateway.worker_pids
    for _ in range(40):
        session = gateway.open_session()
        with raw_request(gateway, "GET", session), raw_request(gateway, "DELETE", session):
            gateway.open_session()
    assert gateway.worker_pids == workers


def raw_request(gateway: GatewayProcess, method: str, session: str) -> socket.socket:
    """A connection on which the request was sent; nobody has waited for its answer."""
    parts = urlsplit(gateway.url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30)
    lines = [f"{method} /mcp HTTP/1.1", f"Host: {parts.netloc}", f"Mcp-Session-Id: {session}"]
    lines += ["Accept: application/json, text/event-stream", "Content-Length: 0", "", ""]
    connection.sendall("\r\n".join(lines).encode())
    return connection
