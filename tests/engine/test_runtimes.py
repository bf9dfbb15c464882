"""What starts containers is exchangeable: the same life and the same deaths with each runtime.

The whole matrix of faults is in ``test_kill_matrix``, for ``docker-cli``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from docker_engine import Engine, NoEngine
from gateway_process import GatewayProcess, eventually, processes_with, running_gateway
from podman_engine import open_podman
from scenes import (
    GONE_SECONDS,
    MARKER,
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

GOOD, STUBBORN = MODES
RUNTIMES = (pytest.param("docker-cli", marks=pytest.mark.nightly), "docker-api", "podman")
"""What test_kill_matrix shows of docker-cli at each change is shown a second time only at night."""



@dataclass(frozen=True)
class House:
    runtime: str
    engine: Engine
    gateway: GatewayProcess

    def scene(self, mode: str) -> Scene:
        return Scene(self.engine, self.gateway, mode)


@contextmanager
def gateway_on(engine: Engine, runtime: str, folder: Path) -> Iterator[House]:
    env = {**engine.env, "METAMCP_RUNTIME": runtime}
    with running_gateway(folder, servers(engine), images=[engine.image], workers=1, env=env) as gateway:
        yield House(runtime, engine, gateway)


@contextmanager
def podman_or_none(docker: Engine) -> Iterator[Engine]:
    """A Podman, which may be missing only where an engine may."""
    with ExitStack() as stack:
        try:
            podman = stack.enter_context(open_podman(docker))
        except NoEngine as reason:
            if os.environ.get("REQUIRE_ENGINE") == "1":
                pytest.fail(f"REQUIRE_ENGINE=1, but {reason}", pytrace=False)
            pytest.skip(str(reason))
        yield podman


@pytest.fixture(scope="module", params=RUNTIMES)
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as stack:
        engine: Engine = request.getfixturevalue("engine")
        if request.param == "podman":
            engine = stack.enter_context(podman_or_none(engine))
        yield stack.enter_context(gateway_on(engine, request.param, tmp_path_factory.mktemp("gateway")))


@contextmanager
def life(house: House) -> Iterator[None]:
    """Afterwards the engine has the containers of the living children, and then none."""
    with evidence(house.engine, house.gateway):
        yield
        eventually(
            lambda: of_gateway(house.engine, house.gateway) == in_status(house.gateway),
            "the engine has the containers of the living children, and no other", GONE_SECONDS,
        )  # fmt: skip
        nothing_is_left(house.engine, house.gateway.status()["instance"])


def test_its_runtime_is_in_effect_and_the_container_is_known(house: House) -> None:
    with life(house):
        scene = house.scene(GOOD)
        eventually(lambda: scene.child()["containerId"], "the engine has told its id", SECONDS)
        child = scene.child()
        assert "not-in-effect" not in house.gateway.log
        assert len(child["containerId"]) == 64
        assert house.engine.docker("inspect", "--format", "{{.Id}}", child["containerName"]) == child["containerId"]
        ours = [line for line in processes_with(MARKER) if " run " in line]
        assert bool(ours) is (child["pid"] is not None) is (house.runtime != "docker-api")
        assert all(f" {house.engine.program} run " in f" {line.partition(': ')[2]}" for line in ours)
        scene.finish()
        assert len(scene.call.end()) <= 1


def test_a_client_that_vanishes_gets_nothing_and_the_server_is_told_once(house: House) -> None:
    def states() -> list[str]:
        return [child["state"] for child in house.gateway.status()["children"] if child["server"] == GOOD]

    def tally() -> str:
        (answer,) = Call(house.gateway, "", f"{GOOD}__tally").end()
        return str(answer["result"]["content"][0]["text"])

    with life(house):
        call = Call(house.gateway, "", f"{GOOD}__sleep", ms=120_000)
        eventually(lambda: "BUSY" in states(), "the call is in flight", SECONDS)
        call.vanish()
        assert call.end() == []
        eventually(lambda: states() == ["READY"], "the call is over", SECONDS)
        eventually(lambda: tally() == '{"cancelled": 1}', "the server was told once", SECONDS)


def test_a_server_that_ignores_its_end_is_removed(house: House) -> None:
    with life(house):
        scene = house.scene(STUBBORN)
        scene.finish()
        assert len(scene.call.end()) <= 1


def test_after_the_death_of_the_process_that_stands_for_it_the_server_works(house: House) -> None:
    with life(house):
        scene = house.scene(STUBBORN)
        pid = scene.child()["pid"]
        if pid is None:  # there is none
            scene.finish()
            assert len(scene.call.end()) <= 1
            return
        os.kill(pid, signal.SIGKILL)
        error = scene.error()
        assert (error["code"], error["data"]["signal"]) == (-31004, "SIGKILL")
        assert scene.works() != scene.before
        scene.finish()


def test_after_the_death_of_its_container_the_server_works(house: House) -> None:
    with life(house):
        scene = house.scene(GOOD)
        house.engine.docker("kill", scene.child()["containerName"])
        error = scene.error()
        assert (error["code"], error["data"]["exitCode"], error["data"].get("oomKilled")) == (-31004, 137, None)
        assert "somebody had the engine send it SIGKILL" in error["message"]
        assert scene.works() != scene.before
        scene.finish()


def test_a_crash_is_told_with_exit_code_and_last_words(house: House) -> None:
    with life(house):
        scene = house.scene(GOOD)
        crash = Call(house.gateway, scene.session, f"{GOOD}__crash", code=9)
        for (answer,) in (crash.end(), [{"error": scene.error()}]):
            assert (answer["error"]["code"], answer["error"]["data"]["exitCode"]) == (-31004, 9)
        scene.finish()


def test_memory_that_runs_out_is_told_as_the_cause(house: House) -> None:
    with life(house):
        scene = house.scene(GOOD)
        (answer,) = Call(house.gateway, scene.session, f"{GOOD}__big", bytes=1_000_000_000).end()
        for error in (answer["error"], scene.error()):
            assert (error["code"], error["data"]["exitCode"]) == (-31004, 137)
            assert "it ran out of memory (limit 64 MiB); limits.memory" in error["message"]
        assert scene.works() != scene.before
        scene.finish()


def test_a_long_line_comes_whole(house: House) -> None:
    with life(house):
        session = house.gateway.open_session()
        text = house.gateway.text(session, f"{GOOD}__big", {"bytes": 4_000_000}, timeout=SECONDS)
        assert len(text) >= 4_000_000
        house.gateway.end_session(session)


def test_after_the_death_of_the_supervisor_the_next_one_clears_away_and_works(house: House) -> None:
    with life(house):
        scene = house.scene(STUBBORN)
        killed = house.gateway.kill_supervisor()
        assert scene.error()["code"] == -31001
        house.gateway.wait_ready(SECONDS)
        assert house.gateway.supervisor_pid != killed
        scene.session = house.gateway.open_session()
        assert scene.works() != scene.before
        scene.finish()


def test_a_start_that_the_engine_refuses_is_told_with_advice(house: House, tmp_path: Path) -> None:
    def server(*args: str) -> dict[str, object]:
        return {"command": "docker", "args": ["run", "-i", *args], "network": "none"}

    wrong = {
        "nowhere": server("--pull=never", "localhost/not-there:1"),
        "unlimited": server("--cpuset-cpus=4000", house.engine.image, "-c", "0"),
    }
    env = {**house.engine.env, "METAMCP_RUNTIME": house.runtime}
    with running_gateway(
        tmp_path, wrong, images=["*"], env=env, ready=False
    ) as gateway, evidence(house.engine, gateway):  # fmt: skip
        session, told = gateway.open_session(), {}

        def told_of(name: str, *wanted: str) -> bool:
            told[name] = gateway.call(session, f"{name}__x", timeout=SECONDS)["error"]["message"]
            return all(words in told[name] for words in wanted)

        eventually(lambda: told_of("nowhere", "code 125", "build it there"), f"advice: {told}", SECONDS)
        eventually(lambda: told_of("unlimited", "did not start"), f"a reason: {told}", SECONDS)


def test_after_sigterm_to_the_master_nothing_is_left(house: House, tmp_path: Path) -> None:
    with gateway_on(house.engine, house.runtime, tmp_path) as own, evidence(own.engine, own.gateway):
        scenes = [own.scene(mode) for mode in MODES]
        instance = own.gateway.status()["instance"]
        assert own.gateway.stop() == 0
        for scene in scenes:
            assert len(scene.call.end()) <= 1
        nothing_is_left(own.engine, instance)
