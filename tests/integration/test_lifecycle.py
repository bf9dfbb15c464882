"""Starting, stopping, and what survives what: real gunicorn, real supervisor, plain processes as servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests
from gateway_process import (
    ROOT,
    GatewayProcess,
    eventually,
    process_server,
    processes_with,
    running_gateway,
    write_config,
)


def open_stream(gateway: GatewayProcess) -> requests.Response:
    stream = gateway.http.get(f"{gateway.url}/metamcp/default/sse", stream=True, timeout=30)
    assert stream.status_code == 200
    return stream


def message_path(lines: object) -> str:
    for line in lines:  # type: ignore[attr-defined]
        if line.startswith(b"data: "):
            return str(line[6:].decode())
    raise AssertionError("the stream ended without its endpoint event")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_signal_ends_everything_within_ten_seconds_with_streams_open(tmp_path: Path, number: signal.Signals) -> None:
    marker = f"marker-{os.urandom(6).hex()}"
    with running_gateway(tmp_path, {"stubborn": process_server("ignores-eof", marker)}, workers=2) as gateway:
        streams = [open_stream(gateway) for _ in range(5)]
        session = gateway.open_session()
        gateway.text(session, "stubborn__whoami")
        assert processes_with(marker)
        supervisor, begun = gateway.supervisor_pid, time.monotonic()
        assert gateway.stop(number) == 0
        assert time.monotonic() - begun < 10
        for stream in streams:
            stream.close()
    assert not processes_with(marker)
    assert not Path(f"/proc/{supervisor}").exists()


def test_open_stream_ends_at_once_on_shutdown(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"good": process_server("good")}) as gateway:
        stream = open_stream(gateway)
        lines = stream.iter_lines()
        message_path(lines)
        ended = threading.Event()
        reader = threading.Thread(target=lambda: (list(lines), ended.set()))
        reader.start()
        begun = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        assert ended.wait(3), "the stream was still open 3 s after SIGTERM"
        assert time.monotonic() - begun < 3
        reader.join()
        stream.close()


def test_call_in_flight_is_finished_before_the_end(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"good": process_server("good")}) as gateway:
        session = gateway.open_session()
        gateway.text(session, "good__whoami")
        answers: list[str] = []
        caller = threading.Thread(target=lambda: answers.append(gateway.text(session, "good__sleep", {"ms": 1500})))
        caller.start()
        eventually(lambda: any(child["state"] == "BUSY" for child in gateway.status()["children"]), "the call runs")
        gateway.process.send_signal(signal.SIGTERM)
        caller.join(10)
        assert answers


def test_broken_configuration_prints_all_its_mistakes_and_exits_2(tmp_path: Path) -> None:
    env = write_config(tmp_path, {"a": {"comand": "docker"}, "b": {"command": "x", "limits": {"memory": "lots"}}})
    commands = [
        [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.conf.py", "wsgi:app"],
        [sys.executable, "-m", "metamcp", "check-config"],
        [sys.executable, "-m", "metamcp", "supervisor"],
        [sys.executable, "app.py"],
    ]
    for command in commands:
        ended = subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, timeout=30)
        assert ended.returncode == 2, command
        for path in (b"mcpServers.a.comand", b"mcpServers.a", b"mcpServers.b.limits.memory"):
            assert path in ended.stderr, (command, ended.stderr)


def test_second_gateway_on_the_same_state_directory_is_refused(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"good": process_server("good")}) as gateway:
        env = write_config(tmp_path, {"good": process_server("good")})
        command = [sys.executable, "-m", "metamcp", "supervisor"]
        ended = subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, timeout=30)
        assert ended.returncode == 2
        assert b"another supervisor" in ended.stderr
        assert gateway.get("/ready").status_code == 200


def test_killed_supervisor_is_replaced_and_sessions_fail_loudly(tmp_path: Path) -> None:
    marker = f"marker-{os.urandom(6).hex()}"
    with running_gateway(tmp_path, {"good": process_server("good", marker)}) as gateway:
        session = gateway.open_session()
        gateway.text(session, "good__whoami")
        failed: list[requests.Response] = []
        call = {"name": "good__sleep", "arguments": {"ms": 20000}}
        caller = threading.Thread(target=lambda: failed.append(gateway.rpc("tools/call", call, session=session)))
        caller.start()
        eventually(lambda: any(child["state"] == "BUSY" for child in gateway.status()["children"]), "the call runs")
        old = gateway.supervisor_pid
        os.kill(old, signal.SIGKILL)
        caller.join(10)
        assert failed[0].status_code == 503
        assert "supervisor" in failed[0].json()["error"]["message"]
        assert failed[0].json()["id"] is None or failed[0].json()["id"] == 1
        gateway.wait_ready()
        assert gateway.supervisor_pid != old
        assert gateway.rpc("tools/list", session=session).status_code == 404
        assert gateway.text(gateway.open_session(), "good__echo", {"text": "again"}) == "again"
        eventually(lambda: len(processes_with(marker)) <= 1, "the old generation's process ends on end of input")


def test_while_the_supervisor_is_away_everything_says_503_and_health_is_fine(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"good": process_server("good")}) as gateway:
        session = gateway.open_session()
        os.kill(gateway.supervisor_pid, signal.SIGKILL)
        answer = gateway.rpc("tools/list", session=session)
        assert answer.status_code in (503, 404)
        assert gateway.get("/health").status_code == 200
        gateway.wait_ready()


def test_session_survives_the_death_of_every_web_worker(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"good": process_server("good")}, workers=2) as gateway:
        session = gateway.open_session()
        who = gateway.text(session, "good__whoami")
        before = gateway.worker_pids
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(set(gateway.worker_pids) - set(before)) == 2, "new workers are up")
        eventually(lambda: _answers(gateway), "the new workers answer")
        assert gateway.text(session, "good__whoami") == who


def test_session_survives_a_reload_of_the_web_tier(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"good": process_server("good")}, workers=2) as gateway:
        session = gateway.open_session()
        who = gateway.text(session, "good__whoami")
        before, supervisor = set(gateway.worker_pids), gateway.supervisor_pid
        gateway.process.send_signal(signal.SIGHUP)
        eventually(lambda: not before & set(gateway.worker_pids), "the old workers are gone", 15)
        eventually(lambda: _answers(gateway), "the new workers answer")
        assert gateway.text(session, "good__whoami") == who
        assert gateway.supervisor_pid == supervisor


def test_gateway_whose_web_tier_was_reloaded_still_ends_its_supervisor_and_servers_before_itself(
    tmp_path: Path,
) -> None:
    marker = f"marker-{os.urandom(6).hex()}"
    with running_gateway(tmp_path, {"stubborn": process_server("ignores-eof", marker)}) as gateway:
        gateway.text(gateway.open_session(), "stubborn__whoami")
        before, supervisor = set(gateway.worker_pids), gateway.supervisor_pid
        gateway.process.send_signal(signal.SIGHUP)
        eventually(lambda: not before & set(gateway.worker_pids), "the old workers are gone", 15)
        eventually(lambda: _answers(gateway), "the new workers answer")
        assert gateway.stop() == 0
        assert not Path(f"/proc/{supervisor}").exists()
        assert not processes_with(marker)


def _answers(gateway: GatewayProcess) -> bool:
    try:
        return gateway.get("/api/status").status_code == 200
    except requests.ConnectionError:
        return False


def test_killed_master_takes_supervisor_and_servers_with_it(tmp_path: Path) -> None:
    marker = f"marker-{os.urandom(6).hex()}"
    with running_gateway(tmp_path, {"shared": process_server("good", marker, isolation="shared")}) as gateway:
        supervisor = gateway.supervisor_pid
        gateway.process.kill()
        gateway.process.wait(5)
        eventually(lambda: not Path(f"/proc/{supervisor}/cmdline").exists(), "the supervisor ends", 15)
        assert not processes_with(marker)
