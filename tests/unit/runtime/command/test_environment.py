"""What of the gateway's environment a docker command, a plain server and ssh get."""

from __future__ import annotations

import pytest

from metamcp.config.engine_address import EngineAddress, TlsFiles
from metamcp.runtime.command import environment

OURS = {
    "PATH": "/bin", "HOME": "/root", "LANG": "C", "DOCKER_CONFIG": "/cfg", "DOCKER_API_VERSION": "1.41",
    "SSH_AUTH_SOCK": "/agent", "SSH_ASKPASS": "/ask", "GIT_TOKEN": "canary", "DOCKER_CONTEXT": "other",
    "DOCKER_HOST": "unix:///other", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/other", "DOCKER_AUTH_CONFIG": "x",
}  # fmt: skip
BASICS = {"PATH": "/bin", "HOME": "/root", "LANG": "C", "DOCKER_CONFIG": "/cfg"}
PLAIN = BASICS | {"DOCKER_API_VERSION": "1.41"}


def test_plain_server_gets_nothing_that_leads_to_the_engine() -> None:
    assert environment.basics(OURS) == BASICS


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (EngineAddress("unix:///d.sock", ""), PLAIN | {"DOCKER_HOST": "unix:///d.sock"}),
        (EngineAddress("tcp://far:1", ""), PLAIN | {"DOCKER_HOST": "tcp://far:1"}),
        (
            EngineAddress("tcp://far:1", "", TlsFiles("/certs", client=True, verify=True)),
            PLAIN | {"DOCKER_HOST": "tcp://far:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"},
        ),
        (EngineAddress("ssh://far", ""), PLAIN | {"DOCKER_HOST": "ssh://far", "SSH_AUTH_SOCK": "/agent"}),
    ],
)
def test_docker_command_gets_the_engine_that_was_chosen_and_no_other(
    address: EngineAddress, expected: dict[str, str]
) -> None:
    assert environment.for_docker(OURS, address) == expected


def test_our_own_ssh_sees_what_the_one_of_the_docker_command_sees() -> None:
    assert environment.for_ssh(OURS) == BASICS | {"SSH_AUTH_SOCK": "/agent"}
