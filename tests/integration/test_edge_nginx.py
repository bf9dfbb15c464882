"""The same requests through a real nginx: both see the same requests, and nobody gets an answer to another's."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from gateway_process import GatewayProcess, eventually, process_server, running_gateway
from nginx import Nginx, running_nginx
from raw_http import AMBIGUOUS, connected, statuses

_ASKED = re.compile(r'"[A-Z]+ (\S+) HTTP/1\.[01]" \d{3} ')
_QUIET_SECONDS = 1.0


class Site:
    def __init__(self, gateway: GatewayProcess, nginx: Nginx) -> None:
        self.gateway, self.nginx = gateway, nginx
        self.url = f"http://127.0.0.1:{nginx.port}"

    @property
    def served(self) -> list[str]:
        """The requests that the gateway has answered, as it saw them; not those of the test's own."""
        return [path for path in _ASKED.findall(self.gateway.log) if path not in ("/ready", "/api/status")]


@pytest.fixture(scope="module", params=[True, False], ids=["buffered", "unbuffered"])
def site(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("nginx")
    env = {
        "GUNICORN_CMD_ARGS": """--access-logfile - --access-logformat '"%(r)s" %(s)s .'""",  # with the query
        "METAMCP_CLIENT_SECONDS": "5", "METAMCP_TRUSTED_PROXIES": "1",
        "METAMCP_RATE_LIMIT": "100000/hour",
    }  # fmt: skip
    with running_gateway(folder, {"good": process_server("good")}, env=env) as gateway:
        port = int(gateway.url.rpartition(":")[2])
        proxy = folder / "nginx"
        proxy.mkdir()
        with running_nginx(proxy, port, buffering=request.param) as nginx:
            yield Site(gateway, nginx)


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_proxy_and_the_gateway_see_the_same_requests(site: Site, name: str) -> None:
    with connected(site.nginx.port) as connection:
        connection.sendall(AMBIGUOUS[name])
        answer = _until_quiet(connection)
    for number in range(4):  # over the connections that nginx keeps: an answer too many would come to one of these
        found = requests.get(f"{site.url}/health?of={number}", headers={"Host": "localhost"}, timeout=10)
        assert (found.status_code, found.text) == (200, '{"status":"ok"}')
    eventually(lambda: site.served.count("/health?of=3") == site.nginx.passed_on.count("/health?of=3"), "all is logged")
    # It passes that path on to nobody, so the gateway can have it only from inside another request.
    assert "/smuggled" not in site.nginx.passed_on and "/smuggled" not in site.served, answer
    assert len(statuses(answer)) <= 1 + site.nginx.asked.count("/smuggled")


def _until_quiet(connection: socket.socket) -> bytes:
    """What comes until the other side closes or has nothing more to say."""
    found, until = b"", time.monotonic() + 10
    connection.settimeout(_QUIET_SECONDS)
    with suppress(TimeoutError, ConnectionResetError):
        while time.monotonic() < until and (data := connection.recv(65536)):
            found += data
    return found


def test_a_whole_session_works_through_it_with_the_clients_own_address(site: Site) -> None:
    through = GatewayProcess(site.gateway.process, site.nginx.port, site.gateway.folder)
    session = through.open_session()
    assert through.text(session, "good__echo", {"text": "hello"})
    through.end_session(session)
    log = site.gateway.folder / "var" / "audit.jsonl"
    eventually(lambda: '"address":"127.0.0.1"' in log.read_text(), "the client's address is known")


def test_events_pass_as_they_come(site: Site) -> None:
    with requests.get(f"{site.url}/sse", headers={"Host": "localhost"}, stream=True, timeout=10) as stream:
        assert next(stream.iter_lines()) == b"event: endpoint"
