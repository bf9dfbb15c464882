"""How requests are read at the edge, byte by byte: nothing that could be read in two ways, and nothing without end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from gateway_process import GatewayProcess, process_server, running_gateway
from raw_http import AMBIGUOUS, HEAD, PING, PING_CHUNK, asked, connected, statuses, until_closed

ACCESS_LOG = {"GUNICORN_CMD_ARGS": "--access-logfile -", "METAMCP_CLIENT_SECONDS": "2"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("edge")
    with running_gateway(folder, {"echo": process_server("good")}, env=ACCESS_LOG) as running:
        yield running


def port_of(gateway: GatewayProcess) -> int:
    return int(gateway.url.rpartition(":")[2])


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_request_that_can_be_read_in_two_ways_is_400_once_and_ends_its_connection(
    gateway: GatewayProcess, name: str
) -> None:
    answer = asked(port_of(gateway), AMBIGUOUS[name])
    assert statuses(answer) == [400], answer
    assert b"connection: close" in answer.lower()
    assert "/smuggled" not in gateway.log


def test_chunks_and_pipelined_requests_are_read_to_their_ends(gateway: GatewayProcess) -> None:
    chunked = HEAD + b"Transfer-Encoding: Chunked\r\n\r\n" + PING_CHUNK + b"0\r\n\r\n"
    health = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = asked(port_of(gateway), chunked + health + last)
    assert statuses(answer) == [400, 200, 200], answer  # ping without a session: read, understood and refused
    assert b"Mcp-Session-Id is missing" in answer


def test_a_client_that_asks_whether_it_may_send_its_body_is_told_to_go_on(gateway: GatewayProcess) -> None:
    with connected(port_of(gateway)) as connection:
        fields = b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        connection.sendall(HEAD + fields % len(PING))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(PING)
        assert statuses(until_closed(connection)) == [400]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: b\r\n" * 101 + b"\r\n", 431),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + (b"X-A: " + b"a" * 7000 + b"\r\n") * 10 + b"\r\n", 431),
        (HEAD + b"Content-Length: 104857600\r\n\r\n", 413),
    ],
    ids=["target", "count", "one field", "all fields", "body"],
)
def test_what_is_too_large_is_refused_as_soon_as_it_shows(gateway: GatewayProcess, head: bytes, status: int) -> None:
    answer = asked(port_of(gateway), head)
    assert statuses(answer) == [status], answer
    assert b'"jsonrpc":"2.0"' in answer


def test_the_largest_head_is_served(gateway: GatewayProcess) -> None:
    fields = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 600) for number in range(94))
    head = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = asked(port_of(gateway), head + fields + b"\r\n")
    assert statuses(answer) == [200]


def test_a_chunked_body_without_end_is_413(gateway: GatewayProcess) -> None:
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    with connected(port_of(gateway), 30) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        with suppress(OSError):  # hung up already
            for _ in range(40):
                connection.sendall(piece)
        assert statuses(until_closed(connection)) == [413]


def test_an_unread_body_ends_its_connection_and_is_no_request(gateway: GatewayProcess) -> None:
    body = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    request = b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = asked(port_of(gateway), request + body)
    assert statuses(answer) == [404]
    assert "/smuggled" not in gateway.log


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: loc", HEAD + b"Content-Length: 40\r\n\r\n{"],
    ids=["nothing", "request line", "headers", "body"],
)
def test_a_client_that_stops_in_the_middle_is_hung_up_on(gateway: GatewayProcess, sent: bytes) -> None:
    answer = asked(port_of(gateway), sent, timeout=20)
    assert statuses(answer) == ([408] if sent else [])
