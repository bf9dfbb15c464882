"""The program that runs in the container of a check, here as a process of this machine."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from metamcp.runtime.diagnosis.probe import PROGRAM


def answers(*questions: Mapping[str, Any]) -> list[dict[str, Any]]:
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    argv = [sys.executable, *PROGRAM[1:]]
    done = subprocess.run(argv, input=lines, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_message_of_json_rpc_comes_back_as_it_is() -> None:
    assert answers({"jsonrpc": "2.0", "method": "ping", "id": 1}) == [{"jsonrpc": "2.0", "method": "ping", "id": 1}]


def test_what_the_kernel_says_is_told() -> None:
    (seen,) = answers({"ask": "look"})
    assert set(seen) == {
        "memory", "swap", "cpus", "pids", "capabilities", "noNewPrivileges", "readOnly", "interfaces", "wayOut",
    }  # fmt: skip
    assert "lo" in seen["interfaces"]
    assert seen["noNewPrivileges"] in (0, 1) and seen["readOnly"] in (True, False)


def test_a_port_is_reached_and_what_it_says_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        question = {"ask": "reach", "host": "localhost", "port": port, "seconds": 0.2, "say": "GET /"}
        (found,) = answers(question)
        connection, _ = server.accept()
        with connection:
            assert connection.recv(100) == b"GET /"
    assert found == {"addresses": found["addresses"], "outcome": "connected", "said": "", "address": "127.0.0.1"}


def test_each_failure_has_its_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    refused, unknown, only_resolved = answers(
        {"ask": "reach", "host": "127.0.0.1", "port": port, "seconds": 1},
        {"ask": "reach", "host": "nobody.invalid", "port": port, "seconds": 3},
        {"ask": "reach", "host": "127.0.0.1", "port": 0, "seconds": 1},
    )
    assert refused["outcome"] == "ECONNREFUSED"
    assert unknown["outcome"].startswith("not resolved") and unknown["addresses"] == []
    assert only_resolved == {"addresses": ["127.0.0.1"], "outcome": "", "said": ""}


def test_it_listens_where_others_can_connect() -> None:
    argv = [sys.executable, *PROGRAM[1:]]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(b'{"ask": "listen"}\n')
        child.stdin.flush()
        found = json.loads(child.stdout.readline())
        socket.create_connection(("127.0.0.1", found["port"]), 5).close()
        child.stdin.close()
        assert child.wait(10) == 0
