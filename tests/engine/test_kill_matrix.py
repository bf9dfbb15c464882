"""Whatever is killed, nothing is left, each call in flight is answered once, and what goes on works.

The faults hit one gateway with a server of each kind, on an engine of its own that may be killed as well.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker_engine import Daemon, Engine, NoEngine, make_image, private_daemon, report
from engine_fixtures import without_engine
from gateway_process import GatewayProcess, eventually, processes_with, running_gateway

LABEL = "metamcp.instance"
MODES = ("good", "ignores-eof-and-term")
MARKER = f"marker-{os.urandom(6).hex()}"  # on the command line of every server and of its docker command
GONE_SECONDS = 20.0
SECONDS = 40.0  # for what only a loaded machine delays
STATELESS = "2026-07-28"  # the revision in which a client that hangs up has cancelled its request
ENVELOPE = {f"io.modelcontextprotocol/{key}": value for key, value in {
    "protocolVersion": STATELESS, "clientCapabilities": {}, "clientInfo": {"name": "t", "version": "1"},
}.items()}  # fmt: skip


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


def servers(engine: Engine) -> dict[str, Any]:
    def server(mode: str) -> dict[str, Any]:
        args = ["run", "-i", engine.image, "/misbehaving.py", mode, MARKER]
        return {"command": "docker", "args": args, "network": "none", "limits": {"memory": "64m"}, "idleSeconds": 5}

    return {mode: server(mode) for mode in MODES}


@contextmanager
def gateway_on(engine: Engine, folder: Path) -> Iterator[GatewayProcess]:
    with running_gateway(folder, servers(engine), images=[engine.image], workers=2, env=engine.env) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def gateway(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway_on(engine, tmp_path_factory.mktemp("gateway")) as running:
        yield running


def request(tool: str, arguments: dict[str, Any], session: str) -> tuple[bytes, dict[str, str]]:
    """Body and headers of one tools/call, in the session, or without one."""
    params = {"name": tool, "arguments": arguments} | ({} if session else {"_meta": ENVELOPE})
    body = {"jsonrpc": "2.0", "id": tool, "method": "tools/call", "params": params}
    own = {"MCP-Protocol-Version": STATELESS, "Mcp-Method": "tools/call", "Mcp-Name": tool}
    headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    return json.dumps(body).encode(), headers | ({"Mcp-Session-Id": session} if session else own)


class Call:
    """One tools/call in flight, on a thread. ``answers`` are all responses that came for it."""

    def __init__(self, gateway: GatewayProcess, session: str, tool: str, **arguments: Any) -> None:
        self.answers: list[dict[str, Any]] = []
        self._connection = http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=SECONDS)
        self._body, self._headers = request(tool, arguments, session)
        self._thread = threading.Thread(target=self._run, name=f"call-{tool}")
        self._thread.start()

    def vanish(self) -> None:
        """As a client whose process was killed."""
        self._connection.sock.shutdown(socket.SHUT_RDWR)

    def end(self) -> list[dict[str, Any]]:
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), "the call is still in flight"
        return self.answers

    def _run(self) -> None:
        try:
            self._connection.request("POST", "/metamcp/default/mcp", self._body, self._headers)
            response = self._connection.getresponse()
            lines = response.read().decode().splitlines()
        except (OSError, http.client.HTTPException):
            lines = []  # the connection is gone, and no answer came on it
        finally:
            self._connection.close()
        messages = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith(("data: {", "{"))]
        self.answers = [message for message in messages if "result" in message or "error" in message]


class Scene:
    """A session whose server has a call in flight."""

    def __init__(self, engine: Engine, daemon: Daemon, gateway: GatewayProcess, mode: str) -> None:
        self.engine, self.daemon, self.gateway, self.mode = engine, daemon, gateway, mode
        self.session = gateway.open_session()
        self.before = self.works()
        self.call = Call(gateway, self.session, f"{mode}__sleep", ms=120_000)
        eventually(lambda: self.child()["state"] == "BUSY", "the call is in flight", SECONDS)

    def child(self) -> dict[str, Any]:
        """The child that serves this session."""
        found = [child for child in self.gateway.status()["children"] if child["session"] == self.session[:8]]
        return found[0] if found else {"state": "none"}

    def works(self) -> str:
        """Who answers a new call: a container's host name and a pid. It may have to wait for the end of a backoff."""
        answers: list[Any] = []

        def answered() -> bool:
            answers.append(self.gateway.call(self.session, f"{self.mode}__whoami", timeout=SECONDS))
            return "result" in answers[-1]

        eventually(answered, f"a new call to {self.mode} succeeds", SECONDS)
        return str(answers[-1]["result"]["content"][0]["text"])

    def error(self) -> dict[str, Any]:
        """The one answer to the call in flight."""
        (answer,) = self.call.end()
        found: dict[str, Any] = answer["error"]
        return found

    def finish(self) -> None:
        """End the session: what is left then is too much."""
        headers = {"Mcp-Session-Id": self.session}
        self.gateway.http.delete(f"{self.gateway.url}/metamcp/default/mcp", headers=headers, timeout=10)


def of_gateway(engine: Engine, gateway: GatewayProcess) -> set[str]:
    return set(engine.containers(f"{LABEL}={gateway.status()['instance']}"))


def in_status(gateway: GatewayProcess) -> set[str]:
    return {child["containerId"] for child in gateway.status()["children"]}


def nothing_is_left(engine: Engine, instance: str) -> None:
    def left() -> list[str]:
        return [*engine.containers(f"{LABEL}={instance}"), *processes_with(MARKER)]

    eventually(lambda: not left(), "no container and no process is left", GONE_SECONDS)


@contextmanager
def evidence(engine: Engine, gateway: GatewayProcess) -> Iterator[None]:
    """What a failure is to be understood from: the containers, their processes, the supervisor's log."""
    try:
        yield
    except BaseException:
        print(report(engine, engine.containers(LABEL)), *processes_with(MARKER), gateway.log[-20_000:], sep="\n")
        raise


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
    killed = scene.gateway.supervisor_pid
    os.kill(killed, signal.SIGKILL)
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
    engine: Engine, daemon: Daemon, gateway: GatewayProcess, fault: Callable[[Scene], None], mode: str
) -> None:
    with evidence(engine, gateway):
        scene = Scene(engine, daemon, gateway, mode)
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_after_a_restart_of_the_engine_sessions_go_on_and_nothing_is_left(
    engine: Engine, daemon: Daemon, gateway: GatewayProcess, number: signal.Signals
) -> None:
    with evidence(engine, gateway):
        scenes = [Scene(engine, daemon, gateway, mode) for mode in MODES]
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


def test_after_sigterm_to_the_master_nothing_is_left(engine: Engine, daemon: Daemon, tmp_path: Path) -> None:
    with gateway_on(engine, tmp_path) as gateway, evidence(engine, gateway):
        scenes = [Scene(engine, daemon, gateway, mode) for mode in MODES]
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
