"""The web tier restarts, in each way that it can, and the supervisor: what goes on and what does not."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from containers import child_of_session, container_server, mine
from docker_engine import Engine
from event_streams import CALL_ID, begin, events, reporting, rest, steps
from gateway_process import GatewayProcess, eventually, running_gateway

WORKERS = 2
STEPS = 40
LONG = reporting("server__progress", STEPS, 200)
"""Eight seconds: longer than a worker that was told to end waits for its calls."""


@dataclass(frozen=True)
class Restarted:
    """A gateway whose workers begin anew when ``watched`` is touched."""

    gateway: GatewayProcess
    watched: Path

    def sighup(self) -> None:
        self.gateway.process.send_signal(signal.SIGHUP)

    def kill_workers(self) -> None:
        for pid in self.gateway.worker_pids:
            os.kill(pid, signal.SIGKILL)

    def touch(self) -> None:
        now = self.watched.stat().st_mtime_ns
        os.utime(self.watched, ns=(now + 10**9, now + 10**9))


WAYS: dict[str, Callable[[Restarted], None]] = {
    "sighup": Restarted.sighup,
    "sigkill": Restarted.kill_workers,
    "reload": Restarted.touch,
}


@pytest.fixture(scope="module")
def running(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarted]:
    folder = tmp_path_factory.mktemp("web-restart")
    watched = folder / "watched.py"
    watched.write_text("")
    env = {**engine.env, "GUNICORN_CMD_ARGS": f"--reload --reload-engine poll --reload-extra-file {watched}"}
    servers = {"server": container_server(engine, "good")}
    with running_gateway(folder, servers, images=[engine.image], workers=WORKERS, env=env) as gateway:
        yield Restarted(gateway, watched)


@pytest.mark.parametrize("restart", WAYS.values(), ids=WAYS)
def test_session_container_and_call_in_flight_survive_a_restart_of_the_web_tier(
    engine: Engine, running: Restarted, restart: Callable[[Restarted], None]
) -> None:
    gateway = running.gateway
    session = gateway.open_session()
    who, supervisor = gateway.text(session, "server__whoami"), gateway.supervisor_pid
    container, old = child_of_session(gateway)["containerId"], set(gateway.worker_pids)
    with closing(begin(gateway, session, LONG)) as response:
        stream = events(response)
        next(stream), (seen := [next(stream)])
        restart(running)
        seen += until_it_breaks(stream)
    messages = [json.loads(data) for _, _, data in seen if data]
    assert not any("result" in message for message in messages), "the restart did not break the stream"
    serve_again(gateway, old)
    messages += [message for _, message in rest(gateway, session, last_id(seen))]
    assert steps(messages) == list(range(1, STEPS + 1))
    assert [message["id"] for message in messages if "result" in message] == [CALL_ID]
    assert gateway.text(session, "server__whoami") == who
    assert child_of_session(gateway)["containerId"] == container
    assert gateway.supervisor_pid == supervisor
    eventually(lambda: len(mine(engine, gateway)) == 1, "the container of the session is the only one")
    gateway.end_session(session)


def test_after_the_death_of_the_supervisor_clients_begin_anew_and_nothing_of_the_old_one_is_left(
    engine: Engine, running: Restarted
) -> None:
    gateway = running.gateway
    sessions = [gateway.open_session() for _ in range(3)]
    before = {gateway.text(session, "server__whoami") for session in sessions}
    old, workers = set(mine(engine, gateway)), set(gateway.worker_pids)
    assert len(before) == 3 and len(old) >= 3
    gateway.kill_supervisor()
    gateway.wait_ready()
    for session in sessions:
        assert gateway.rpc("tools/list", session=session).status_code == 404
    sessions = [gateway.open_session() for _ in sessions]
    assert not before & {gateway.text(session, "server__whoami") for session in sessions}
    assert set(gateway.worker_pids) == workers
    eventually(lambda: not old & set(mine(engine, gateway)), "the dead generation is swept away", 20)
    eventually(lambda: len(mine(engine, gateway)) == len(sessions), "a container for each new session, no other")
    for session in sessions:
        gateway.end_session(session)


def until_it_breaks(stream: Iterator[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The events that still come. A killed worker cannot end its streams properly."""
    seen = []
    with suppress(requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        seen.extend(stream)
    return seen


def last_id(seen: list[tuple[str, str, str]]) -> str:
    return [identifier for identifier, _, _ in seen if identifier][-1]


def serve_again(gateway: GatewayProcess, old: set[int]) -> None:
    """All old workers are gone and as many new ones are there, one of which answers."""
    eventually(lambda: not old & set(workers_of(gateway)) and len(workers_of(gateway)) == WORKERS, "new workers", 20)
    gateway.wait_up()


def workers_of(gateway: GatewayProcess) -> list[int]:
    """One that ends while they are read is no worker any more."""
    try:
        return gateway.worker_pids
    except FileNotFoundError:
        return []
