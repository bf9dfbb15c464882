"""By which port containers could reach the gateway, and why not."""

from __future__ import annotations

from typing import Any

import pytest

from metamcp.runtime.diagnosis.checks.networks import gateway_problem
from metamcp.runtime.diagnosis.outcomes import NotApplicableError
from metamcp.runtime.diagnosis.reachability import Listening, port_for_containers

SOCKET, PROXY = "unix:///var/run/docker.sock", "tcp://socket-proxy:2375"


def container(*published: tuple[str, str], mode: str = "bridge") -> dict[str, Any]:
    ports = {"12009/tcp": [{"HostIp": host, "HostPort": port} for host, port in published] or None}
    return {"HostConfig": {"NetworkMode": mode}, "NetworkSettings": {"Ports": ports}}


@pytest.mark.parametrize(
    ("bind", "host", "own", "port"),
    [
        ("0.0.0.0:12009", SOCKET, None, 12009),
        ("[::]:12009", SOCKET, None, 12009),
        ("172.17.0.1:80", SOCKET, None, 80),
        ("0.0.0.0:12009", SOCKET, container(("0.0.0.0", "8080"), ("::", "8080")), 8080),
        ("0.0.0.0:12009", PROXY, container(("", "8080")), 8080),
        ("0.0.0.0:12009", SOCKET, container(("127.0.0.1", "1"), ("192.168.0.4", "8080")), 8080),
        ("0.0.0.0:12009", SOCKET, container(mode="host"), 12009),
    ],
)
def test_port_is_the_published_one_or_the_own_one(bind: str, host: str, own: Any, port: int) -> None:
    assert port_for_containers(Listening.of(bind), host, own) == port


@pytest.mark.parametrize(
    ("bind", "host", "own", "why"),
    [
        ("127.0.0.1:12009", SOCKET, None, "METAMCP_BIND=0.0.0.0:12009"),
        ("127.8.8.8:12009", SOCKET, None, "where no container reaches it"),
        ("localhost:12009", SOCKET, None, "localhost alone"),
        ("[::1]:12009", SOCKET, None, "::1 alone"),
        ("0.0.0.0:0", SOCKET, None, "leaves the port"),
        ("0.0.0.0:12009", PROXY, None, "machine of the engine at tcp://socket-proxy:2375"),
        ("0.0.0.0:12009", SOCKET, container(), "not published"),
        ("0.0.0.0:12009", SOCKET, {}, "not published"),
        ("0.0.0.0:12009", SOCKET, container(("127.0.0.1", "12009")), "published for 127.0.0.1 alone"),
    ],
)
def test_where_no_container_can_reach_it_that_is_said(bind: str, host: str, own: Any, why: str) -> None:
    with pytest.raises(NotApplicableError, match=why.replace(".", r"\.")):
        port_for_containers(Listening.of(bind), host, own)


@pytest.mark.parametrize(
    ("bind", "here"),
    [
        ("0.0.0.0:1", ("127.0.0.1", 1)), ("[::]:1", ("::1", 1)), ("10.0.0.1:1", ("10.0.0.1", 1)),
        ("localhost:1", ("localhost", 1)),
    ],
)  # fmt: skip
def test_it_is_tried_from_here_by_an_address_that_has_it(bind: str, here: tuple[str, int]) -> None:
    assert Listening.of(bind).here == here


def answer(outcome: str, said: str = "") -> dict[str, Any]:
    return {"addresses": ["172.17.0.1"], "outcome": outcome, "said": said}


def test_a_gateway_that_answers_is_no_problem() -> None:
    assert gateway_problem(answer("connected", 'HTTP/1.1 200 OK\r\n\r\n{"status":"ok"}'), 1, "0.0.0.0") is None


@pytest.mark.parametrize(
    ("found", "host", "detail", "hint"),
    [
        (answer("timed out"), "0.0.0.0", "(timed out)", "ufw allow in on docker0 to any port 7 proto tcp"),
        (answer("ECONNREFUSED"), "10.0.0.1", "(ECONNREFUSED)", "METAMCP_BIND=0.0.0.0:7"),
        (answer("connected", "HTTP/1.1 421 Misdirected Request\r\n"), "::", "421", "METAMCP_ALLOWED_HOSTS"),
        (answer("connected"), "::", "nothing", "another program"),
    ],
)
def test_each_way_not_to_reach_it_has_its_own_advice(found: Any, host: str, detail: str, hint: str) -> None:
    problem = gateway_problem(found, 7, host)
    assert problem is not None
    assert detail in problem[0] and hint in problem[1]
