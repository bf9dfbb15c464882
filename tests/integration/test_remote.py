"""Servers that run elsewhere: one of the official SDK, and another gateway, over both transports."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from gateway_process import ROOT, GatewayProcess, eventually, free_port, process_server, running_gateway

TRANSPORTS = ("streamable-http", "sse")
PATHS = {"streamable-http": "mcp", "sse": "sse"}
TOKEN = "open-sesame"
START_SECONDS = 100.0
"""The SDK alone takes several seconds to be loaded, and many of them on a busy machine."""


class RemoteServer:
    """``tests/servers/remote_server.py`` on a port of its own, which it keeps over a restart."""

    def __init__(self, transport: str, folder: Path) -> None:
        self.port = free_port()
        self.transport = transport
        self.url = f"http://127.0.0.1:{self.port}/{PATHS[transport]}"
        self._log = folder / f"remote-{transport}.log"
        self.start()

    def start(self) -> None:
        argv = [sys.executable, str(ROOT / "tests/servers/remote_server.py"), self.transport, str(self.port), TOKEN]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            eventually(self._answers, "the remote server answers", START_SECONDS)
        except BaseException:
            self.kill()
            print(self.log)
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        try:
            return requests.get(self.url, timeout=5).status_code == 401
        except requests.ConnectionError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    @property
    def log(self) -> str:
        return self._log.read_text()


def configured(url: str, transport: str, **more: Any) -> dict[str, Any]:
    return {"url": url, "transport": transport, "headers": {"Authorization": "Bearer ${REMOTE_TOKEN}"}, **more}


@pytest.fixture(scope="module")
def remotes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RemoteServer]]:
    folder = tmp_path_factory.mktemp("remotes")
    found = {transport: RemoteServer(transport, folder) for transport in TRANSPORTS}
    yield found
    for remote in found.values():
        remote.kill()


@pytest.fixture(scope="module")
def gateway(remotes: dict[str, RemoteServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    servers = {transport: configured(remotes[transport].url, transport) for transport in TRANSPORTS}
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(folder, servers, env={"REMOTE_TOKEN": TOKEN}) as running:
        yield running


@contextmanager
def one(transport: str, folder: Path, **more: Any) -> Iterator[tuple[RemoteServer, GatewayProcess]]:
    """A remote server and a gateway of its own, for what disturbs others."""
    remote = RemoteServer(transport, folder)
    try:
        servers = {"far": configured(remote.url, transport, **more)}
        with running_gateway(folder, servers, env={"REMOTE_TOKEN": TOKEN}) as running:
            yield remote, running
    finally:
        remote.kill()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_tools_are_listed_and_called(gateway: GatewayProcess, transport: str) -> None:
    session = gateway.open_session()
    names = {tool["name"] for tool in gateway.rpc("tools/list", session=session).json()["result"]["tools"]}
    assert {f"{transport}__echo", f"{transport}__ask"} <= names
    text = "zero width \u200d no-break \u00a0 emoji 😀"
    assert [gateway.text(session, f"{transport}__echo", {"text": f"{text} {n}"}) for n in range(3)] == [
        f"{text} {n}" for n in range(3)
    ]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_many_calls_at_once_each_get_their_own_answer(gateway: GatewayProcess, transport: str) -> None:
    session = gateway.open_session()
    answers: dict[int, str] = {}

    def call(number: int) -> None:
        answers[number] = gateway.text(session, f"{transport}__echo", {"text": str(number)}, id=number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == {number: str(number) for number in range(12)}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_progress_reaches_the_client(gateway: GatewayProcess, transport: str) -> None:
    session = gateway.open_session()
    params = {"name": f"{transport}__progress", "arguments": {"n": 3}, "_meta": {"progressToken": "mine"}}
    answer = gateway.rpc("tools/call", params, session=session)
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    progress = [event["params"] for event in events if event.get("method") == "notifications/progress"]
    assert [(note["progressToken"], note["progress"]) for note in progress] == [("mine", n) for n in (1, 2, 3)]
    assert events[-1]["result"]["content"][0]["text"] == "done"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_question_of_the_server_is_answered_by_the_client(gateway: GatewayProcess, transport: str) -> None:
    session = gateway.open_session(elicitation={})
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": f"{transport}__ask"}}
    headers = {"Accept": "application/json, text/event-stream", "Mcp-Session-Id": session}
    url = f"{gateway.url}/metamcp/default/mcp"
    with requests.post(url, json=body, headers=headers, stream=True, timeout=30) as response:
        events = (json.loads(line[6:]) for line in response.iter_lines() if line.startswith(b"data: {"))
        question = next(events)
        assert question["method"] == "elicitation/create"
        result = {"action": "accept", "content": {"word": "sesame"}}
        said = {"jsonrpc": "2.0", "id": question["id"], "result": result}
        assert requests.post(url, json=said, headers=headers, timeout=10).status_code == 202
        assert next(events)["result"]["content"][0]["text"] == "accept: sesame"


def test_stream_that_the_server_closes_during_the_call_is_resumed(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    assert gateway.text(session, "streamable-http__hang_up") == "said after hanging up"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_cancelled_call_ends_at_once_and_the_session_goes_on(gateway: GatewayProcess, transport: str) -> None:
    session = gateway.open_session()
    gateway.text(session, f"{transport}__whoami")
    answers: list[Any] = []

    def wait() -> None:
        answers.append(gateway.call(session, f"{transport}__sleep", {"ms": 30_000}))

    call = threading.Thread(target=wait)
    call.start()
    eventually(lambda: any(child["state"] == "BUSY" for child in gateway.status()["children"]), "the call runs")
    note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    headers = {"Mcp-Session-Id": session, "Accept": "application/json, text/event-stream"}
    assert requests.post(f"{gateway.url}/mcp", json=note, headers=headers, timeout=10).status_code == 202
    call.join(10)
    assert answers[0]["error"]["code"] == -32800
    assert gateway.text(session, f"{transport}__echo", {"text": "on"}) == "on"


def test_change_of_the_remote_list_is_noticed_over_the_get_stream(tmp_path: Path) -> None:
    with one("streamable-http", tmp_path, isolation="shared", era="legacy") as (_, gateway):
        session = gateway.open_session()

        def names() -> set[str]:
            tools = gateway.rpc("tools/list", session=session).json()["result"]["tools"]
            return {tool["name"] for tool in tools}

        def learned() -> bool:
            # Told once before the stream was open, it would be told to nobody.
            return gateway.text(session, "far__learn") == "learned" and "far__learned" in names()

        assert "far__learned" not in names()
        eventually(learned, "the new tool is listed")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_server_that_is_killed_during_a_call_is_a_clear_error_and_works_again_after_its_restart(
    transport: str, tmp_path: Path
) -> None:
    with one(transport, tmp_path) as (remote, gateway):
        session = gateway.open_session()
        first = gateway.text(session, "far__whoami")
        answers: list[Any] = []
        call = threading.Thread(target=lambda: answers.append(gateway.call(session, "far__sleep", {"ms": 30_000})))
        call.start()
        eventually(lambda: any(child["state"] == "BUSY" for child in gateway.status()["children"]), "the call runs")
        remote.kill()
        call.join(20)
        error = answers[0]["error"]
        # A session whose stream was primed with an id tries to resume it first, and then finds nobody.
        assert error["code"] in (-31001, -31004) and error["data"]["server"] == "far"
        assert "127.0.0.1" in error["message"] or "its event stream" in error["message"]
        while_away = gateway.call(session, "far__whoami")["error"]
        assert while_away["code"] == -31001 and "Connection refused" in while_away["message"]
        remote.start()
        eventually(lambda: "result" in gateway.call(session, "far__whoami"), "it works again", 30)
        assert gateway.text(session, "far__whoami") != first


def test_wrong_key_is_the_operators_and_no_value_is_shown(tmp_path: Path) -> None:
    remote = RemoteServer("streamable-http", tmp_path)
    try:
        servers = {"far": configured(remote.url, "streamable-http"), "near": process_server("good")}
        env = {"REMOTE_TOKEN": "wrong-sesame"}
        with running_gateway(tmp_path, servers, env=env, ready=False) as gateway:
            session = gateway.open_session()
            assert gateway.text(session, "near__echo", {"text": "served"}) == "served"
            error = gateway.call(session, "far__echo", {"text": "x"})["error"]
            assert error["code"] == -31001 and "headers in servers.json" in error["message"]
            states = {server["name"]: server["state"] for server in gateway.status()["servers"]}
            assert states["far"] == "FATAL"
            assert "HTTP 401" in gateway.get("/ready").json()["reasons"]["server far"]
            assert "wrong-sesame" not in gateway.log + json.dumps(gateway.status()) + str(error)
    finally:
        remote.kill()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_gateway_ends_at_once_while_a_remote_call_hangs(transport: str, tmp_path: Path) -> None:
    with one(transport, tmp_path) as (remote, gateway):
        session = gateway.open_session()
        gateway.text(session, "far__whoami")

        def wait() -> None:
            with suppress(requests.ConnectionError):  # what becomes of a call in flight is told in test_lifecycle.py
                gateway.call(session, "far__sleep", {"ms": 60_000})

        call = threading.Thread(target=wait)
        call.start()
        eventually(lambda: any(child["state"] == "BUSY" for child in gateway.status()["children"]), "the call runs")
        assert gateway.stop() == 0
        call.join(10)
        assert "supervisor-ended" in gateway.log
        if transport == "streamable-http":
            assert "Terminating session" in remote.log


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_gateway_in_front_of_a_gateway_hands_everything_through(transport: str, tmp_path: Path) -> None:
    with running_gateway(tmp_path / "behind", {"inner": process_server("good")}) as behind:
        url = f"{behind.url}/metamcp/default/{PATHS[transport]}"
        servers = {"far": {"url": url, "transport": transport}}
        with running_gateway(tmp_path / "before", servers) as gateway:
            session = gateway.open_session()
            assert gateway.text(session, "far__inner__echo", {"text": "through"}) == "through"
            assert gateway.text(session, "far__inner__whoami") == gateway.text(session, "far__inner__whoami")
            other = gateway.open_session()
            assert gateway.text(session, "far__inner__whoami") != gateway.text(other, "far__inner__whoami")
            assert gateway.call(session, "far__inner__nonsense")["error"]["code"] == -32602
            assert {child["server"] for child in gateway.status()["children"]} == {"far"}
            assert all(child["pid"] is None for child in gateway.status()["children"])
        eventually(lambda: not behind.status()["sessions"], "its sessions behind end with it")
