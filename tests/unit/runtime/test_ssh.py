"""Our end of ``ssh … docker system dial-stdio``, with stand-ins for ssh; tests/engine has the real one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from metamcp.errors import EngineUnavailable
from metamcp.runtime.engine import Engine
from metamcp.runtime.ssh import SshConnection, ssh_argv

HOST = "ssh://op@far:22"
Ssh = Callable[[str], dict[str, str]]

# Answers /version and /_ping as an engine does, on standard input and output.
TALKER = r"""
while read -r line; do
  if [ "$line" = "$(printf '\r')" ]; then
    body='{"Version":"27.0","ApiVersion":"1.46","MinAPIVersion":"1.24","Os":"linux","Arch":"amd64"}'
    printf 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' "${#body}" "$body"
  fi
done
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ssh:
    """Make a shell script the ``ssh`` of this process; gives the environment for it."""

    def make(script: str) -> dict[str, str]:
        path = tmp_path / "ssh"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    return make


@pytest.mark.parametrize(
    ("host", "argv"),
    [
        ("ssh://far", ["--", "far", "docker system dial-stdio"]),
        ("ssh://op@far:22", ["-l", "op", "-p", "22", "--", "far", "docker system dial-stdio"]),
        ("ssh://[::1]/run/d.sock", ["--", "::1", "docker --host=unix:///run/d.sock system dial-stdio"]),
        ("ssh://far/a;b$c", ["--", "far", "docker '--host=unix:///a;b$c' system dial-stdio"]),
    ],
)
def test_command_is_the_one_of_the_docker_command_and_asks_nobody(host: str, argv: list[str]) -> None:
    made = ssh_argv(host, 4.6)
    options = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR", "-T"]
    assert made == [*options, *argv]
    assert "ConnectTimeout=1" in ssh_argv(host, 0.2)


def test_engine_is_asked_through_it_and_nothing_is_left(ssh: Ssh) -> None:
    ssh(TALKER)
    with Engine(HOST, 5) as engine:
        assert engine.version().version == "27.0"
        engine.ping()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'Host key verification failed.' >&2; exit 255", "Host key verification failed."),
        ("exit 7", "ssh ended with 7"),
        ("read -r line; echo broken >&2; exit 1", "broken"),
    ],
)
def test_end_of_ssh_is_told_in_its_own_words(ssh: Ssh, script: str, said: str) -> None:
    ssh(script)
    with Engine(HOST, 5) as engine, pytest.raises(EngineUnavailable) as caught:
        engine.ping()
    assert caught.value.text == f"Docker engine at {HOST}: {said}"


def test_silence_of_ssh_ends_with_the_deadline(ssh: Ssh) -> None:
    ssh("exec sleep 60")
    begun = time.monotonic()
    with Engine(HOST, 0.3) as engine, pytest.raises(EngineUnavailable, match="no answer in time"):
        engine.ping()
    assert time.monotonic() - begun < 3


def test_missing_ssh_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with Engine(HOST, 5) as engine, pytest.raises(EngineUnavailable) as caught:
        engine.ping()
    assert "install openssh-client" in caught.value.hint


def test_ssh_that_does_not_end_is_killed(ssh: Ssh) -> None:
    environ = ssh("trap '' TERM; echo up; while :; do sleep 0.1; done")
    connection = SshConnection(HOST, environ, 5)
    assert connection.socket.recv(3) == b"up\n"
    assert connection.said() == ""
    begun = time.monotonic()
    connection.end()
    assert time.monotonic() - begun < 2.5
    connection.end()
