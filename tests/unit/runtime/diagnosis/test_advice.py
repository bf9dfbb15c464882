"""Messages as the CLI (versions 20.10 to 28) and the SDK write them, and what an operator reads beside them."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.runtime.diagnosis.advice import advice, plain_text, socket_group, socket_path

HOST = "unix:///var/run/docker.sock"

OBSERVED = {
    "permission": (
        "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get "
        '"http://%2Fvar%2Frun%2Fdocker.sock/_ping": dial unix /var/run/docker.sock: connect: permission denied',
        "group_add",
    ),
    "refused": (
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        "start the engine",
    ),
    "missing": (
        "failed to connect to the docker API at unix:///nope.sock; check if the path is correct and if the daemon is "
        "running: dial unix /nope.sock: connect: no such file or directory",
        "mount its socket",
    ),
    "no image": ("Error response from daemon: No such image: nope:latest", "docker load"),
    "malformed": ("no such image: A:b: invalid reference format: repository name must be lowercase", "malformed"),
    "not pulled": (
        "docker: Error response from daemon: manifest for alpine:nope not found: manifest unknown",
        "pull",
    ),
    "pull denied": (
        "Unable to find image 'nope:latest' locally\ndocker: Error response from daemon: pull access denied for nope,"
        " repository does not exist or may require 'docker login': denied: requested access denied",
        "docker login",
    ),
    "registry away": (
        "Unable to find image 'nope:local' locally\ndocker: Error response from daemon: Get "
        '"https://registry.example/v2/": dial tcp: lookup registry.example on 10.0.0.1:53: no such host.',
        "registry cannot be reached",
    ),
    "rate": ("toomanyrequests: You have reached your pull rate limit.", "limits pulls"),
    "name": (
        'docker: Error response from daemon: Conflict. The container name "/metamcp-git-0a1b2c3d" is already in use '
        'by container "3f5e". You have to remove (or rename) that container to be able to reuse that name.',
        "docker rm -f",
    ),
    "disk": (
        "docker: Error response from daemon: mkdir /var/lib/docker/overlay2/x: no space left on device.",
        "disk is full",
    ),
    "kernel": (
        "WARNING: Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
        "Memory limited without swap.",
        "swapaccount=1",
    ),
    "cpus": (
        "docker: Error response from daemon: range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available.",
        "change the server's limits",
    ),
    "too new": (
        "Error response from daemon: client version 1.50 is too new. Maximum supported API version is 1.41",
        "DOCKER_API_VERSION",
    ),
    "too old": (
        "Error response from daemon: client version 1.24 is too old. Minimum supported API version is 1.44, please "
        "upgrade your client to a newer version",
        "upgrade the older one",
    ),
    "oom at start": (
        "OCI runtime create failed: runc create failed: unable to start container process: container init was "
        "OOM-killed (memory limit too low?): unknown",
        "limits.memory",
    ),
    "killed": ("the line did not come back, exit code 137.", "limits.memory"),
    "dns": (
        'Error response from daemon: Get "https://registry.example/v2/": dial tcp: lookup registry.example on '
        "10.0.0.2:53: no such host",
        "DNS",
    ),
    "no command": (
        'OCI runtime create failed: exec: "cta": executable file not found in $PATH: unknown.',
        "--entrypoint",
    ),
    "no path": (
        "OCI runtime create failed: container_linux.go:380: starting container process caused: exec: "
        '"/bin/cta": stat /bin/cta: no such file or directory: unknown',
        "--entrypoint",
    ),
    "rlimit": (
        "runc: runc create failed: error during container init: error setting rlimits for ready process: error setting "
        "rlimit type 7: operation not permitted: OCI permission denied",
        "default_ulimits",
    ),
    "not executable": ('OCI runtime create failed: exec: "/data": permission denied: unknown.', "not executable"),
    "platform": ("exec /usr/bin/python3: exec format error", "platform"),
    "bind": (
        'docker: Error response from daemon: invalid mount config for type "bind": bind source path does not exist: '
        "/data",
        "on the machine that runs the engine",
    ),
    "no init": (
        "docker: Error response from daemon: OCI runtime create failed: container_linux.go:380: starting container "
        'process caused: exec: "/sbin/docker-init": stat /sbin/docker-init: no such file or directory: unknown.',
        "docker-init",
    ),
    "no host-gateway": (
        'docker: Error response from daemon: invalid IP address in add-host: "host-gateway".',
        "too old",
    ),
    "cut": ("error waiting for container: unexpected EOF", "was cut"),
    "no cli": ("[Errno 2] No such file or directory: '/usr/bin/docker'", "docker-cli"),
    "proxy": ("<html><body><h1>403 Forbidden</h1>Request forbidden by administrative rules.", "socket proxy"),
    "timeout": (
        "UnixHTTPConnectionPool(host='localhost', port=None): Read timed out. (read timeout=5.0)",
        "overloaded",
    ),
    "not docker": ("404 Client Error for http://127.0.0.1:80/version: Not Found", "not a Docker engine"),
    "scheme": ("Invalid bind address format: ftp://x", "write unix://"),
    "pipe": ("The npipe:// protocol is only supported on Windows", "write unix://"),
}


@pytest.mark.parametrize(("text", "expected"), OBSERVED.values(), ids=OBSERVED)
def test_observed_message_gets_its_own_advice(text: str, expected: str) -> None:
    assert expected in advice(text, HOST, lambda _: 998)


def test_denied_socket_names_its_group_and_the_fix() -> None:
    said = advice(PermissionError(13, "Permission denied"), HOST, {"/var/run/docker.sock": 998}.get)
    assert "/var/run/docker.sock" in said
    assert 'group_add: ["998"]' in said


def test_unreadable_group_names_the_command_that_prints_it() -> None:
    assert "stat -c %g /var/run/docker.sock" in advice(PermissionError(13, "Permission denied"), HOST, lambda _: None)


def test_exception_is_read_through_to_its_cause() -> None:
    outer = ConnectionError("Connection aborted.")
    outer.__cause__ = FileNotFoundError(2, "No such file or directory")
    assert "mount its socket" in advice(outer, HOST)
    assert plain_text(outer) == "No such file or directory"


def test_failed_look_up_keeps_the_words_of_the_resolver() -> None:
    error = socket.gaierror(-2, "Name or service not known")
    assert plain_text(error) == "Name or service not known"
    assert "DNS" in advice(error, "tcp://nope:2375")


def test_cause_that_points_at_itself_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert plain_text(first) == "a"


def test_missing_cli_is_not_mistaken_for_a_missing_socket() -> None:
    assert "docker-cli" in advice(FileNotFoundError(2, "No such file or directory", "docker"), HOST)
    assert "mount its socket" in advice(FileNotFoundError(2, "No such file or directory", "/run/docker.sock"), HOST)


@given(st.text(), st.text(max_size=40))
def test_any_text_gets_an_advice_that_does_not_depend_on_chance(text: str, host: str) -> None:
    first = advice(text, host, lambda _: 1)
    assert first
    assert first == advice(text, host, lambda _: 1)


def test_advice_never_repeats_the_message() -> None:
    assert "s3cret" not in advice("permission denied for token=s3cret", HOST, lambda _: 1)


def test_only_a_unix_host_has_a_socket_path() -> None:
    assert socket_path(HOST) == "/var/run/docker.sock"
    assert socket_path("tcp://127.0.0.1:2375") is None


def test_group_of_a_missing_socket_is_unknown(tmp_path: object) -> None:
    assert socket_group(f"{tmp_path}/nope") is None
    assert socket_group(str(tmp_path)) is not None
