"""config/nginx.conf as it is shipped: what it lets through, what it keeps from the gateway, and TLS."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from gateway_process import GatewayProcess, eventually, process_server, running_gateway
from nginx import COMMAND, MAIN, Nginx, running_nginx
from other_user import require_root
from raw_http import asked, connected, statuses, until_closed

from metamcp.protocol.http_head import MAX_BODY

CLOSED = [
    "/", "/ready", "/metrics", "/api/status", "/api", "/docker-test/check", "/docker-test/test", "/docker-test/info",
    "//api/status", "/metamcp/../api/status", "/metamcp/%2e%2e/api/status", "/mcp/../docker-test/info", "/mcpx",
    "/API/status", "/%61pi/status", "/sse/..%2f..%2fapi/status", "/health/../ready", "/health/", "/api/status?/mcp",
]  # fmt: skip


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    env = {"METAMCP_TRUSTED_PROXIES": "1"}
    with running_gateway(tmp_path_factory.mktemp("gateway"), {"good": process_server("good")}, env=env) as running:
        yield running


@pytest.fixture
def nginx(gateway: GatewayProcess, tmp_path: Path) -> Iterator[Nginx]:
    with running_nginx(tmp_path, port_of(gateway), limited=True) as running:
        yield running


def port_of(gateway: GatewayProcess) -> int:
    return int(gateway.url.rpartition(":")[2])


def test_nginx_takes_the_shipped_file_unchanged(tmp_path: Path) -> None:
    require_root()
    argv = [COMMAND, "-t", "-c", str(MAIN), "-g", f"pid {tmp_path}/nginx.pid;"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr and "[emerg]" not in done.stderr


def test_what_is_for_operators_reaches_nobody_from_outside(nginx: Nginx, gateway: GatewayProcess) -> None:
    for target in CLOSED:
        answer = asked(nginx.port, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert statuses(answer) in ([404], [400]), (target, answer)
    eventually(lambda: len(nginx.asked) == len(CLOSED), "all is in the log")
    let_through = [target for target in nginx.passed_on if "api" in target or "docker" in target]
    for target in let_through:  # nginx read it as a route of MCP: then the gateway has to, as well
        assert gateway.get(target).status_code == 404, target
    assert not set(nginx.passed_on) & {"/", "/ready", "/metrics", "/api/status", "/docker-test/check"}


def test_clients_and_load_balancers_are_let_through(nginx: Nginx) -> None:
    through = f"http://127.0.0.1:{nginx.port}"
    for path, status in {
        "/health": 200, "/mcp": 400, "/mcp/": 400, "/message": 405, "/metamcp/default/mcp": 400,
        "/metamcp/default/api": 200,
        "/.well-known/oauth-protected-resource/metamcp/default/mcp": 404,
    }.items():  # fmt: skip
        assert requests.get(through + path, timeout=10).status_code == status, path
        eventually(lambda path=path: path in nginx.passed_on, f"{path} is in the log")  # type: ignore[misc]


def test_body_over_the_gateways_bound_does_not_reach_it(nginx: Nginx) -> None:
    head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n"
    with connected(nginx.port) as connection:
        connection.sendall(head.encode())
        assert statuses(connection.recv(65536)) == [413]
    eventually(lambda: len(nginx.asked) == 1, "it is in the log")
    assert nginx.passed_on == []


def test_address_that_asks_too_often_gets_429_and_the_gateway_nothing_of_it(nginx: Nginx) -> None:
    """All at once: how many more than the burst pass depends on how long it takes to ask."""
    number = 250
    with ExitStack() as stack:
        connections = [stack.enter_context(connected(nginx.port, 60)) for _ in range(number)]
        for connection in connections:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        found = [status for connection in connections for status in statuses(until_closed(connection))]
    assert len(found) == number and set(found) == {200, 429}
    assert found.count(200) > 200, "a burst passes"
    eventually(lambda: len(nginx.asked) == number, "all is in the log")
    assert len(nginx.passed_on) == found.count(200)


def test_event_stream_comes_unbuffered_and_outlives_other_requests(nginx: Nginx) -> None:
    through = f"http://127.0.0.1:{nginx.port}"
    with requests.get(f"{through}/sse", stream=True, timeout=10) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert next(lines) == b"event: endpoint"
        address = next(lines).decode().removeprefix("data: ")
        body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        assert requests.post(through + address, json=body, timeout=10).status_code == 202
        assert any(b'"id":1' in line for line in lines), "the answer comes while the stream is open"


def test_session_works_with_tls_as_the_file_says_it(gateway: GatewayProcess, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with running_nginx(tmp_path, port_of(gateway), tls=(certificate, key)) as nginx:
        through = f"https://127.0.0.1:{nginx.port}"
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        answer = requests.post(
            f"{through}/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
            headers={"Accept": "application/json, text/event-stream"}, verify=str(certificate), timeout=10,
        )  # fmt: skip
        assert answer.status_code == 200 and answer.headers["Mcp-Session-Id"]
        assert "max-age" in answer.headers["Strict-Transport-Security"]
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"{through}/health", timeout=10)
        gateway.end_session(answer.headers["Mcp-Session-Id"])


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """For 127.0.0.1, signed by itself, good for an hour. Certificate and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - hour, now + hour)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
    return certificate, secret


# --- a gateway that hangs up -------------------------------------------------------------------------------


@contextmanager
def hanging_up() -> Iterator[tuple[int, list[bytes]]]:
    """A port that answers the first request of each connection, keeps the connection, and ends it with the second one,
    unanswered; and the first lines of all that came."""
    lines: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        lines.append(connection.recv(65536).split(b"\r\n")[0])
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                        lines.append(connection.recv(65536).split(b"\r\n")[0])

        server = threading.Thread(target=serve)
        server.start()
        try:
            yield listener.getsockname()[1], lines
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            server.join()


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_request_whose_answer_is_lost_is_not_sent_again(tmp_path: Path, method: str) -> None:
    with hanging_up() as (port, lines), running_nginx(tmp_path, port) as nginx:
        through = f"http://127.0.0.1:{nginx.port}/mcp"
        assert requests.post(through, data="first", timeout=10).status_code == 200
        assert requests.request(method, through, timeout=10).status_code == 502
        assert [line for line in lines if line] == [b"POST /mcp HTTP/1.1", f"{method} /mcp HTTP/1.1".encode()]
