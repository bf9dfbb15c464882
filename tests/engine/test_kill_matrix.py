"""Whatever is killed, nothing is left, each call in flight is answered once, and what goes on works.

The faults hit one gateway with a server of each kind, on an engine of its own that may be killed as well.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from docker_engine import Daemon, Engine, NoEngine, make_image, private_daemon
from engine_fixtures import without_engine
from gateway_process import GatewayProcess, eventually, running_gateway
from scenes import (
    GONE_SECONDS,
    MODES,
    SECONDS,
    Call,
    Scene,
    evidence,
    in_status,
    nothing_is_left,
    of_gateway,
    servers,
)


@pytest.fixture(scope="module")
def daemon(pytestconfig: pytest.Config) -> Iterator[Daemon]:
    """Beside the engine of the other tests. Its containers have no network, so it needs no bridge."""
    with ExitStack() as stack:
        try:
            _engine, daemon = stack.enter_context(private_daemon("--bridge=none", "--shutdown-timeout=2", apart=True))
        except NoEngine as reason:
            without_engine(pytestconfig, str(reason))
        make_image(daemon.engine)
        yield daemon


@pytest.fixture(scope="module")
def engine(daemon: Daemon) -> Engine:
    return daemon.engine


@contextmanager
def gateway_on(engine: Engine, folder: Path, runtime: str = "docker-cli") -> Iterator[GatewayProcess]:
    env = {**engine.env, "METAMCP_RUNTIME": runtime}
    with running_gateway(folder, servers(engine), images=[engine.image], workers=2, env=env) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def gateway(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway_on(engine, tmp_path_factory.mktemp("gateway")) as running:
        yield running


# --- the faults --------------------------------------------------------------------------------------------
# Each strikes while the call is in flight, and looks at how that was answered.


def every_web_worker_is_killed(scene: Scene) -> None:
    killed = set(scene.gateway.worker_pids)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert scene.call.end() == []  # its connection died with its worker
    eventually(lambda: len(set(scene.gateway.worker_pids) - killed) == 2, "the workers are replaced", SECONDS)
    scene.gateway.wait_up()
    assert scene.works() == scene.before


def supervisor_is_killed(scene: Scene) -> None:
    killed = scene.gateway.kill_supervisor()
    assert scene.error()["code"] == -31001
    scene.gateway.wait_ready(SECONDS)
    assert scene.gateway.supervisor_pid != killed
    scene.session = scene.gateway.open_session()
    assert scene.works() != scene.before


def docker_cli_is_killed(scene: Scene) -> None:
    os.kill(scene.child()["pid"], signal.SIGKILL)
    error = scene.error()
    assert (error["code"], error["data"]["signal"]) == (-31004, "SIGKILL")
    assert scene.works() != scene.before


def container_is_killed(scene: Scene) -> None:
    scene.engine.docker("kill", scene.child()["containerName"])
    error = scene.error()
    assert (error["code"], error["data"]["exitCode"], error["data"].get("oomKilled")) == (-31004, 137, None)
    assert "somebody had the engine send it SIGKILL" in error["message"]
    assert scene.works() != scene.before


def memory_runs_out(scene: Scene) -> None:
    hungry = Call(scene.gateway, scene.session, f"{scene.mode}__big", bytes=1_000_000_000)
    (answer,) = hungry.end()
    for error in (answer["error"], scene.error()):
        assert (error["code"], error["data"]["oomKilled"], error["data"]["exitCode"]) == (-31004, True, 137)
        assert "it ran out of memory (limit 64 MiB); limits.memory" in error["message"]
    (server,) = [item for item in scene.gateway.status()["servers"] if item["name"] == scene.mode]
    assert "it ran out of memory" in server["lastExit"]["reason"]
    assert "oom_killed=True" in scene.gateway.log
    assert scene.works() != scene.before


FAULTS: tuple[Callable[[Scene], None], ...] = (
    every_web_worker_is_killed, docker_cli_is_killed, container_is_killed, memory_runs_out,
    supervisor_is_killed,
)  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_after_a_fault_the_gateway_works_and_nothing_is_left(
    engine: Engine, gateway: GatewayProcess, fault: Callable[[Scene], None], mode: str
) -> None:
    with evidence(engine, gateway):
        scene = Scene(engine, gateway, mode)
        fault(scene)
        eventually(
            lambda: of_gateway(engine, gateway) == in_status(gateway),
            "the engine has the containers of the living children, and no other", GONE_SECONDS,
        )  # fmt: skip
        scene.finish()
        nothing_is_left(engine, gateway.status()["instance"])


@pytest.mark.parametrize("mode", MODES)
def test_a_client_that_vanishes_gets_nothing_and_the_server_is_told_once(
    engine: Engine, gateway: GatewayProcess, mode: str
) -> None:
    def states() -> list[str]:
        return [child["state"] for child in gateway.status()["children"] if child["server"] == mode]

    def tally() -> str:
        (answer,) = Call(gateway, "", f"{mode}__tally").end()
        return str(answer["result"]["content"][0]["text"])

    with evidence(engine, gateway):
        call = Call(gateway, "", f"{mode}__sleep", ms=120_000)
        eventually(lambda: "BUSY" in states(), "the call is in flight", SECONDS)
        call.vanish()
        assert call.end() == []
        eventually(lambda: states() == ["READY"], "the call is over", SECONDS)
        eventually(lambda: tally() == '{"cancelled": 1}', "the server was told once", SECONDS)
        nothing_is_left(engine, gateway.status()["instance"])


ENDS = pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGTERM, marks=pytest.mark.nightly), signal.SIGKILL], ids=lambda number: number.name
)


@ENDS
def test_after_a_restart_of_the_engine_sessions_go_on_and_nothing_is_left(
    engine: Engine, daemon: Daemon, gateway: GatewayProcess, number: signal.Signals
) -> None:
    engine_is_restarted(engine, daemon, gateway, number)


@pytest.fixture(scope="module")
def gateway_without_cli(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway_on(engine, tmp_path_factory.mktemp("gateway"), "docker-api") as running:
        yield running


@ENDS
def test_after_a_restart_of_the_engine_all_goes_on_without_a_docker_process_too(
    engine: Engine, daemon: Daemon, gateway_without_cli: GatewayProcess, number: signal.Signals
) -> None:
    engine_is_restarted(engine, daemon, gateway_without_cli, number)


def engine_is_restarted(
    engine: Engine, daemon: Daemon, gateway: GatewayProcess, number: signal.Signals
) -> None:
    with evidence(engine, gateway):
        scenes = [Scene(engine, gateway, mode) for mode in MODES]
        daemon.stop(number)
        for scene in scenes:
            error = scene.error()
            assert error["code"] == -31004
            assert "the Docker engine went away" in error["message"], error
        daemon.start(attempts=3)
        for scene in scenes:
            assert scene.works() != scene.before
        eventually(
            lambda: of_gateway(engine, gateway) == in_status(gateway),
            "the engine has the containers of the living children, and no other", GONE_SECONDS,
        )  # fmt: skip
        assert gateway.log.count("engine-away") == gateway.log.count("engine-back")
        for scene in scenes:
            scene.finish()
        nothing_is_left(engine, gateway.status()["instance"])


def test_after_sigterm_to_the_master_nothing_is_left(engine: Engine, tmp_path: Path) -> None:
    with gateway_on(engine, tmp_path) as gateway, evidence(engine, gateway):
        scenes = [Scene(engine, gateway, mode) for mode in MODES]
        instance = gateway.status()["instance"]
        assert gateway.stop() == 0
        for scene in scenes:
            assert len(scene.call.end()) <= 1
        nothing_is_left(engine, instance)


def test_memory_is_the_cause_where_the_server_itself_lacked_it_and_nowhere_else(engine: Engine, tmp_path: Path) -> None:
    """A helper that was killed for want of memory is not what its server dies of later; a start that fails is told."""
    starved = ["run", "-i", engine.image, "/misbehaving.py", "starved-helper", "600"]
    hungry = ["run", "-i", "--memory", "32m", engine.image, "-c", "taken = bytearray(600 << 20)"]
    both = {
        name: {"command": "docker", "args": args, "network": "none", "limits": {"memory": "64m"}}
        for name, args in {"starved": starved, "hungry": hungry}.items()
    }
    with running_gateway(tmp_path, both, images=[engine.image], env=engine.env, ready=False) as gateway:
        session, told = gateway.open_session(), []
        assert gateway.text(session, "starved__echo", {"text": "it lives on"}, timeout=SECONDS) == "it lives on"
        error = gateway.call(session, "starved__crash", {"code": 9})["error"]
        assert (error["code"], error["data"]["exitCode"], error["data"].get("oomKilled")) == (-31004, 9, None)

        def names_the_limit() -> bool:
            told.append(gateway.call(session, "hungry__anything", timeout=SECONDS)["error"]["message"])
            return "it ran out of memory (limit 32 MiB); --memory in the args" in told[-1]

        eventually(names_the_limit, f"the error of the start names the limit: {told}", SECONDS)
