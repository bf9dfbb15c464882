"""Servers that misbehave, each in its own way: the others are not touched, and the client learns what happened."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_process import GatewayProcess, eventually, process_server, running_gateway

SHORT = {"start": 2, "call": 2, "total": 5}

FAULTS: dict[str, tuple[str, ...]] = {
    "never-initialises": (),
    "exit-at-start": ("3",),
    "exits-after-init": (),
    "crash-on-call": ("9",),
    "hang-on-call": (),
    "banner": (),
    "bad-json": (),
    "huge-line": ("40000000",),
    "endless-line": ("tools/call",),
    "stderr-flood": (),
    "early-list-changed": (),
    "pages": (),
    "looping-pages": (),
    "wrong-id": (),
    "duplicate-answer": (),
    "chunked": (),
    "ignores-eof-and-term": (),
}
FINE = (
    "banner", "stderr-flood", "early-list-changed", "pages", "looping-pages", "wrong-id", "duplicate-answer",
    "chunked", "ignores-eof-and-term",
)  # fmt: skip
TEXT = "zero width \u200d no-break \u00a0 ideographic \u3000 umlaut ü emoji 😀"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    servers: dict[str, Any] = {
        mode: process_server(mode, *options, timeouts=SHORT) for mode, options in FAULTS.items()
    } | {"fine": process_server("good")}
    servers["no-command"] = {"command": "/nonexistent/server"}
    servers["no-secret"] = process_server("good", env={"TOKEN": "${NEVER_SET_ANYWHERE}"})
    with running_gateway(tmp_path_factory.mktemp("gateway"), servers, ready=False, workers=2) as running:
        session = running.open_session()
        running.rpc("tools/list", session=session)
        yield running


def test_the_list_of_the_good_ones_is_complete_and_fast_whatever_the_others_do(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    begun = time.monotonic()
    names = {tool["name"] for tool in gateway.rpc("tools/list", session=session).json()["result"]["tools"]}
    assert time.monotonic() - begun < 1
    for mode in (*FINE, "crash-on-call", "hang-on-call", "huge-line", "endless-line", "fine"):
        assert f"{mode}__echo" in names
    reasons = gateway.get("/ready").json()["reasons"]
    for mode in ("never-initialises", "exit-at-start", "no-command", "no-secret"):
        assert f"server {mode}" in reasons


@pytest.mark.parametrize("mode", FINE)
def test_oddity_that_harms_nobody_is_put_up_with(gateway: GatewayProcess, mode: str) -> None:
    session = gateway.open_session()
    assert [gateway.text(session, f"{mode}__echo", {"text": f"{TEXT} {n}"}) for n in range(3)] == [
        f"{TEXT} {n}" for n in range(3)
    ]


def test_crash_names_the_server_its_exit_code_and_its_last_words(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    error = gateway.call(session, "crash-on-call__echo", {"text": "x"})["error"]
    assert error["code"] == -31004
    assert error["data"]["server"] == "crash-on-call"
    assert error["data"]["exitCode"] == 9
    assert error["data"]["stderr"]


def test_hanging_call_ends_at_its_deadline_and_the_server_stays(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    begun = time.monotonic()
    error = gateway.call(session, "hang-on-call__echo", {"text": "x"})["error"]
    assert error["code"] == -31003
    assert 1.5 < time.monotonic() - begun < 5


@pytest.mark.parametrize("mode", ["huge-line", "endless-line"])
def test_endless_output_ends_that_server_and_only_that_one(gateway: GatewayProcess, mode: str) -> None:
    session = gateway.open_session()
    error = gateway.call(session, f"{mode}__echo", {"text": "x"})["error"]
    assert error["code"] in (-31004, -31003)
    assert gateway.text(session, "fine__echo", {"text": "fine"}) == "fine"


def test_server_that_cannot_start_is_named_with_its_reason(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    states = {server["name"]: server for server in gateway.status()["servers"]}
    for mode, text in {"exit-at-start": "code 3", "no-command": "No such file", "no-secret": "NEVER_SET"}.items():
        error = gateway.call(session, f"{mode}__echo", {"text": "x"})["error"]
        assert error["code"] == -31001
        assert error["data"]["server"] == mode
        assert text in error["message"]
    assert states["no-secret"]["state"] == "FATAL"


def test_unknown_tool_is_the_clients_fault(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    assert gateway.call(session, "fine__nonsense", {})["error"]["code"] == -32602
    assert gateway.call(session, "nonsense", {})["error"]["code"] == -32602


def test_equal_ids_of_two_clients_and_of_three_types_get_their_own_answers(gateway: GatewayProcess) -> None:
    answers: dict[Any, Any] = {}
    first, second = gateway.open_session(), gateway.open_session()

    def call(session: str, name: str, id: Any) -> None:
        params = {"name": "fine__echo", "arguments": {"text": name}}
        answers[name] = gateway.rpc("tools/call", params, session=session, id=id).json()

    threads = [
        threading.Thread(target=call, args=(session, f"{which}-{id!r}", id))
        for which, session in (("a", first), ("b", second))
        for id in (0, 1, "1", "0", "")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for which in "ab":
        for id in (0, 1, "1", "0", ""):
            answer = answers[f"{which}-{id!r}"]
            assert answer["id"] == id and type(answer["id"]) is type(id)
            assert answer["result"]["content"][0]["text"] == f"{which}-{id!r}"


def test_cancelled_call_ends_once_and_the_server_is_told(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    gateway.text(session, "fine__whoami")
    answers: list[Any] = []
    call = threading.Thread(
        target=lambda: answers.append(gateway.call(session, "fine__sleep", {"ms": 30000}))
    )
    call.start()
    eventually(lambda: any(child["state"] == "BUSY" for child in gateway.status()["children"]), "the call runs")
    note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1, "reason": "enough"}}
    told = gateway.http.post(
        f"{gateway.url}/mcp", json=note, timeout=10,
        headers={"Mcp-Session-Id": session, "Accept": "application/json, text/event-stream"},
    )  # fmt: skip
    assert told.status_code == 202
    call.join(10)
    assert answers[0]["error"]["code"] == -32800
    eventually(lambda: '"cancelled": 1' in gateway.text(session, "fine__tally"), "the server noticed the cancellation")


def test_isolation_call_gives_every_call_a_server_of_its_own(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"fresh": process_server("good", isolation="call")}) as gateway:
        session = gateway.open_session()
        assert len({gateway.text(session, "fresh__whoami") for _ in range(3)}) == 3
        eventually(lambda: not gateway.status()["children"], "all of them ended")


def test_idle_server_is_stopped_and_wakes_at_the_next_call(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"lazy": process_server("good", idleSeconds=1)}) as gateway:
        session = gateway.open_session()
        first = gateway.text(session, "lazy__whoami")
        assert gateway.text(session, "lazy__sleep", {"ms": 1500})
        assert gateway.text(session, "lazy__whoami") == first
        eventually(lambda: not gateway.status()["children"], "it is stopped when idle")
        assert gateway.text(session, "lazy__whoami") != first


def test_who_finds_all_instances_in_use_waits_for_a_place_or_is_told_that_there_is_none(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"few": process_server("good", maxInstances=2, timeouts={"start": 3})}) as gateway:
        sessions = [gateway.open_session() for _ in range(3)]
        first, second = (gateway.text(session, "few__whoami") for session in sessions[:2])
        third = gateway.text(sessions[2], "few__whoami")  # one of the others rested, and gave way
        assert len({first, second, third}) == 3
        assert sum(bool(child["session"]) for child in gateway.status()["children"]) <= 2
        calls = [
            threading.Thread(target=gateway.text, args=(session, "few__sleep", {"ms": 6000}))
            for session in sessions[1:]
        ]
        for call in calls:
            call.start()
        eventually(
            lambda: sum(child["state"] == "BUSY" for child in gateway.status()["children"]) == 2, "both are in use"
        )
        error = gateway.call(sessions[0], "few__whoami")["error"]
        assert error["code"] == -31002
        assert error["data"]["server"] == "few" and "all its instances are in use" in error["message"]
        for call in calls:
            call.join(20)


def test_a_spare_serves_the_next_client_at_once_and_is_replaced(tmp_path: Path) -> None:
    servers = {"slow": process_server("slow-init", "2", warm=1)}
    with running_gateway(tmp_path, servers) as gateway:
        def spares() -> list[int]:
            return [child["pid"] for child in gateway.status()["children"] if child["state"] == "SPARE"]

        for _ in range(2):
            eventually(lambda: len(spares()) == 1, "a spare waits")
            (waiting,) = spares()
            session, begun = gateway.open_session(), time.monotonic()
            gateway.text(session, "slow__whoami")
            took = time.monotonic() - begun
            assert waiting in [child["pid"] for child in gateway.status()["children"] if child["session"]]
            eventually(lambda last=waiting: len(spares()) == 1 and spares() != [last], "another spare waits")
        assert took < 2  # what the next client would say was known, so the spare was ready


def test_without_an_engine_check_says_so_quickly_and_the_process_server_serves(tmp_path: Path) -> None:
    servers = {"plain": process_server("good"), "boxed": {"command": "docker", "args": ["run", "-i", "x:1"]}}
    env = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    with running_gateway(tmp_path, servers, images=["x:1"], env=env, ready=False) as gateway:
        begun = time.monotonic()
        check = gateway.get("/docker-test/check")
        assert time.monotonic() - begun < 3
        assert check.status_code == 503
        assert check.json()["accessible"] is False
        assert check.json()["error"] and check.json()["hint"]
        assert gateway.get("/docker-test/test", timeout=60).status_code == 503
        assert gateway.get("/docker-test/info", timeout=60).status_code == 503
        session = gateway.open_session()
        assert gateway.text(session, "plain__echo", {"text": "served"}) == "served"
        eventually(lambda: "server boxed" in gateway.get("/ready").json()["reasons"], "boxed is named")
        assert gateway.call(session, "boxed__anything")["error"]["data"]["server"] == "boxed"
