"""Engines that are missing, refuse, hang or are something else: every answer is in time and says what to do."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from diagnosis import checked, failing

from metamcp.config.model import Limits
from metamcp.errors import EngineUnavailable
from metamcp.runtime.diagnosis.checks.containers import limit_problems
from metamcp.runtime.diagnosis.diagnostics import Check, accessible, report
from metamcp.runtime.engine import Engine
from metamcp.runtime.labels import Identity

ME = Identity("unit", "now")
CLI = (sys.executable,)  # has --version, too
DEADLINE = 1.0
ANSWERS = 20.0  # where an answer comes
SLACK = 3.0  # of a busy machine; what is tested would wait for ever


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(tmp_path / "docker.sock"))
        yield sock


@pytest.fixture
def host(tmp_path: Path) -> str:
    return f"unix://{tmp_path}/docker.sock"


@pytest.fixture
def never_answers(listener: socket.socket) -> Iterator[None]:
    """The kernel completes connections; nobody reads them."""
    listener.listen(16)
    yield


@contextlib.contextmanager
def answering(listener: socket.socket, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    """Serve each connection once, in one thread, until the block ends."""
    listener.listen(16)

    def run() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                serve(connection)

    thread = threading.Thread(target=run, name="fake-engine")
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        assert not thread.is_alive()


def answer(body: bytes, status: str = "200 OK") -> Callable[[socket.socket], None]:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)

    return serve


def threads_end(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(10)
            assert not thread.is_alive()


def asked(host: str, deadline: float = DEADLINE) -> tuple[dict[str, Any], float]:
    begun = time.monotonic()
    found = accessible(Engine, host, deadline)
    return found, time.monotonic() - begun


# --- accessible --------------------------------------------------------------------------------------------


def test_missing_socket_is_told_with_a_hint(host: str) -> None:
    found, _ = asked(host)
    assert found["accessible"] is False
    assert "No such file or directory" in found["error"]
    assert "mount its socket" in found["hint"]


def test_refusing_socket_is_told_with_a_hint(listener: socket.socket, host: str) -> None:
    found, _ = asked(host)  # bound, but nobody listens
    assert "Connection refused" in found["error"]
    assert "start the engine" in found["hint"]


def test_engine_that_never_answers_is_given_up_in_time(never_answers: None, host: str) -> None:
    found, seconds = asked(host)
    assert found["accessible"] is False
    assert "does not answer" in found["hint"]
    assert seconds < DEADLINE + SLACK
    threads_end("docker-check")


def test_tcp_host_that_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found, seconds = asked(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        threads_end("docker-check")
    assert found["accessible"] is False
    assert seconds < DEADLINE + SLACK


def test_tcp_host_that_refuses_is_told_with_a_hint() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    found, _ = asked(f"tcp://127.0.0.1:{port}")
    assert "Connection refused" in found["error"]


def test_engine_that_trickles_bytes_is_given_up_in_time(listener: socket.socket, host: str) -> None:
    """Each byte renews the deadline of the socket, so only the thread's own deadline holds."""
    done = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not done.wait(0.1):
            connection.sendall(b"x")

    with answering(listener, trickle):
        found, seconds = asked(host)
        done.set()
        threads_end("docker-check")
    assert "no answer within" in found["error"]
    assert seconds < DEADLINE + SLACK


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'"x"', b""])
def test_other_http_server_is_not_taken_for_an_engine(listener: socket.socket, host: str, body: bytes) -> None:
    with answering(listener, answer(body)):
        found, _ = asked(host, ANSWERS)
    assert found["accessible"] is False
    assert "not a Docker engine" in found["hint"]


def test_socket_proxy_that_forbids_is_recognised(listener: socket.socket, host: str) -> None:
    with answering(listener, answer(b"Request forbidden by administrative rules.", "403 Forbidden")):
        found, _ = asked(host, ANSWERS)
    assert "socket proxy" in found["hint"]


@pytest.mark.parametrize("host", ["ftp://x", "nonsense://", "unix://", "tcp://127.0.0.1:notaport"])
def test_unusable_docker_host_is_told_with_a_hint(host: str) -> None:
    found, _ = asked(host)
    assert found["accessible"] is False
    assert found["hint"]


def test_engine_that_answers_is_accessible_with_its_version(listener: socket.socket, host: str) -> None:
    body = {"Version": "27.0", "ApiVersion": "1.46", "Os": "linux", "Arch": "arm64"}
    with answering(listener, answer(json.dumps(body).encode())):
        found, _ = asked(host, ANSWERS)
    assert found == {
        "accessible": True,
        "engine": {"version": "27.0", "apiVersion": "1.46", "os": "linux", "arch": "arm64"},
    }


# --- run_checks --------------------------------------------------------------------------------------------


def run(host: str, **given: Any) -> dict[str, Check]:
    with Engine(host, timeout=0.5) as engine:
        return checked(engine, ME, "image", cli=given.pop("cli", CLI), **given)


def test_missing_socket_fails_first_and_skips_what_needs_it(host: str) -> None:
    found = run(host)
    assert failing(found) == {"socket"}
    assert found["round-trip"].status == "skip"
    assert found["docker-cli"].status == "pass"
    assert "mount its socket" in found["socket"].hint


def test_directory_in_place_of_the_socket_is_explained(tmp_path: Path, host: str) -> None:
    (tmp_path / "docker.sock").mkdir()
    found = run(host)
    assert failing(found) == {"socket"}
    assert "empty directory" in found["socket"].hint


def test_file_in_place_of_the_socket_is_explained(tmp_path: Path, host: str) -> None:
    (tmp_path / "docker.sock").write_text("")
    found = run(host)
    assert failing(found) == {"socket"}
    assert "is a file" in found["socket"].detail and "set DOCKER_HOST" in found["socket"].hint


def test_engine_that_is_too_old_is_told_so(listener: socket.socket, host: str) -> None:
    body = {"Version": "19.03.15", "ApiVersion": "1.40", "MinAPIVersion": "1.12", "Os": "linux", "Arch": "amd64"}
    with answering(listener, answer(json.dumps(body).encode())):
        found = run(host)
    assert found["api-version"].status == "fail"
    assert "19.03.15, API 1.40" in found["api-version"].detail and "Docker 20.10" in found["api-version"].hint


def test_denied_socket_names_group_and_fix(tmp_path: Path, listener: socket.socket, host: str) -> None:
    def deny(path: str, seconds: float) -> None:
        raise PermissionError(13, "Permission denied")

    found = run(host, connect=deny)
    assert failing(found) == {"socket-permissions"}
    gid = (tmp_path / "docker.sock").stat().st_gid
    assert f'group_add: ["{gid}"]' in found["socket-permissions"].hint
    assert f"group {gid}" in found["socket-permissions"].detail


def test_refusing_engine_has_a_usable_socket(listener: socket.socket, host: str) -> None:
    found = run(host)
    assert failing(found) == {"engine"}
    assert found["socket-permissions"].status == "pass"


def test_hanging_engine_fails_after_its_deadline(never_answers: None, host: str) -> None:
    found = run(host)
    assert failing(found) == {"engine"}
    assert found["engine"].seconds < 2


def test_missing_cli_is_told_apart_from_the_engine(host: str) -> None:
    found = run(host, cli=("/nope/docker",))
    assert "docker-cli" in found["docker-cli"].hint
    assert found["docker-cli"].status == "fail"


def test_no_time_left_is_a_failure_and_not_a_pass(host: str) -> None:
    found = run(host, seconds=0.0)
    assert "deadline passed" in found["socket"].detail
    assert not any(check.status == "pass" for check in found.values())


def test_tcp_host_has_no_socket_to_check() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    found = run(f"tcp://127.0.0.1:{port}")
    assert found["socket"].status == "skip"
    assert failing(found) == {"engine"}


def test_every_failure_has_a_hint_and_the_report_is_json(host: str) -> None:
    found = report(list(run(host).values()))
    assert found["ok"] is False
    assert all(check["hint"] for check in found["checks"] if check["status"] == "fail")
    assert json.loads(json.dumps(found)) == found


def test_report_without_failures_is_ok() -> None:
    assert report([Check("a", "pass", 0.12345, ""), Check("b", "skip", 0.0, "nothing to do")]) == {
        "ok": True,
        "checks": [
            {"name": "a", "status": "pass", "seconds": 0.123, "detail": "", "hint": ""},
            {"name": "b", "status": "skip", "seconds": 0.0, "detail": "nothing to do", "hint": ""},
        ],
    }


# --- limits ------------------------------------------------------------------------------------------------

BELIEVED = {
    "Memory": Limits().memory,
    "MemorySwap": Limits().memory,
    "NanoCpus": 1_000_000_000,
    "PidsLimit": 256,
    "CapDrop": ["ALL"],
    "ReadonlyRootfs": True,
    "SecurityOpt": ["no-new-privileges"],
}
SEEN = {
    "memory": Limits().memory, "swap": 0, "cpus": 1.0, "pids": 256, "capabilities": 0, "noNewPrivileges": 1,
    "readOnly": True,
}  # fmt: skip
WORSE = {
    "memory": -1, "swap": 4 << 30, "cpus": 2.0, "pids": -1, "capabilities": 1 << 21, "noNewPrivileges": 0,
    "readOnly": False,
}  # fmt: skip
NAMES = dict(zip(SEEN, ["memory", "swap", "cpus", "pids", "--cap-drop", "no-new-privileges", "root"], strict=True))


@pytest.mark.parametrize("seen", [SEEN, {}], ids=["seen from inside", "as the engine believes"])
def test_container_with_every_limit_has_no_problem(seen: dict[str, Any]) -> None:
    assert limit_problems({"HostConfig": BELIEVED}, Limits(), seen) == []


@pytest.mark.parametrize("key", BELIEVED)
def test_each_limit_that_the_engine_does_not_have_is_named(key: str) -> None:
    problems = limit_problems({"HostConfig": {**BELIEVED, key: None}}, Limits(), {})
    assert len(problems) == (2 if key == "Memory" else 1)  # no memory limit, no swap limit


@pytest.mark.parametrize("key", SEEN)
def test_what_the_kernel_says_counts_more_than_what_the_engine_believes(key: str) -> None:
    (problem,) = limit_problems({"HostConfig": BELIEVED}, Limits(), {**SEEN, key: WORSE[key]})
    assert NAMES[key] in problem


@pytest.mark.parametrize("key", SEEN)
def test_what_cannot_be_seen_from_inside_is_taken_from_the_engine(key: str) -> None:
    assert limit_problems({"HostConfig": BELIEVED}, Limits(), {**SEEN, key: None}) == []


def test_all_capabilities_are_dropped_also_where_podman_names_each() -> None:
    named = ["AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"]
    named += ["SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"]
    assert limit_problems({"HostConfig": {**BELIEVED, "CapDrop": named}}, Limits(), {}) == []
    kept = [name for name in named if name != "SETUID"]
    assert len(limit_problems({"HostConfig": {**BELIEVED, "CapDrop": kept}}, Limits(), {})) == 1


def test_a_limit_is_rounded_down_to_pages_and_microseconds() -> None:
    limits = Limits(memory=100_000_000, cpus=0.333)
    seen = {**SEEN, "memory": 99_999_744, "cpus": 0.333}
    assert limit_problems({}, limits, seen) == []
    assert limit_problems({}, limits, {**seen, "memory": 99_990_000}) != []


# --- the engine's client -----------------------------------------------------------------------------------


def test_closed_engine_refuses_further_calls(host: str) -> None:
    engine = Engine(host)
    engine.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        engine.ping()


def test_subscription_to_a_silent_engine_fails_in_time(never_answers: None, host: str) -> None:
    begun = time.monotonic()
    with Engine(host, timeout=0.5) as engine, pytest.raises(EngineUnavailable) as caught:
        engine.events({})
    assert caught.value.hint
    assert time.monotonic() - begun < 3


def test_engine_that_comes_back_is_used_again(tmp_path: Path, host: str) -> None:
    with Engine(host, timeout=2.0) as engine:
        with pytest.raises(EngineUnavailable):
            engine.version()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.bind(str(tmp_path / "docker.sock"))
            with answering(sock, answer(b'{"Version": "28", "ApiVersion": "1.50"}')):
                assert engine.version().version == "28"
