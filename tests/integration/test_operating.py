"""What operators see and order while clients work: real gunicorn, plain processes as servers, keys and commands."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from gateway_process import ROOT, GatewayProcess, eventually, process_server, running_gateway
from operators import IN_TIME, SECONDS, Operator, until

CANARY = f"canary-{secrets.token_hex(8)}"
SERVERS = {
    "good": process_server("good", isolation="shared"),
    "talks": process_server("talks", "3", isolation="shared"),
    "falls": process_server("crash-on-call", "7", isolation="shared"),
    "tells": process_server("tells-all", "on-call", "${OPERATOR_CANARY}", env={"TOKEN": "${OPERATOR_CANARY}"}),
    "fails": process_server("exit-at-start", "4"),
    "off": process_server("good", enabled=False),
}
ENDPOINTS = {"default": {"namespace": "default"}, "closed": {"namespace": "default", "auth": "api-key"}}
ORDERS = ("restart", "stop", "wake", "reset", "accept-image")
READ = ("/api/status", "/api/calls", "/api/history", "/api/endpoints", "/api/endpoints/default/catalog", "/api/events",
        "/api/servers/good/stderr")  # fmt: skip


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("operating")
    env = {"OPERATOR_CANARY": CANARY}
    with running_gateway(folder, SERVERS, workers=2, env=env, ready=False, endpoints=ENDPOINTS) as running:
        yield running


@pytest.fixture(scope="module")
def operator(gateway: GatewayProcess) -> Operator:
    """With the key ``chief``, which is the first one."""
    key = Operator(gateway).command("keys", "create", "chief", "--scope", "admin").strip()
    found = Operator(gateway, key)
    known = ("good", "talks", "falls", "tells")
    eventually(lambda: all(found.server(name)["listed"] for name in known), "all is known")
    return found


@pytest.fixture(scope="module")
def stranger(gateway: GatewayProcess, operator: Operator) -> Operator:
    """With a key that is for an endpoint."""
    return Operator(gateway, operator.command("keys", "create", "laptop", "--scope", "closed").strip())


def call(gateway: GatewayProcess, tool: str, **arguments: Any) -> Any:
    return gateway.call_alone(tool, arguments)


# --- what changes is told ----------------------------------------------------------------------------------


@IN_TIME
def test_a_server_that_is_killed_shows_within_two_seconds(gateway: GatewayProcess, operator: Operator) -> None:
    eventually(lambda: "result" in call(gateway, "good__whoami"), "it can be started", SECONDS)
    (pid,) = [child["pid"] for child in operator.get("/api/status")["children"] if child["server"] == "good"]
    with operator.events("/api/events") as events:
        until(events, "status", lambda status: any(child["pid"] == pid for child in status["children"]))
        begun = time.monotonic()
        os.kill(pid, signal.SIGKILL)

        def shown(status: Any) -> bool:
            (server,) = [server for server in status["servers"] if server["name"] == "good"]
            return bool(server["lastExit"]) and server["lastExit"]["signal"] == "SIGKILL"

        until(events, "status", shown)
        assert time.monotonic() - begun < 2


@IN_TIME
def test_a_server_that_falls_shows_its_exit_code_and_last_words(gateway: GatewayProcess, operator: Operator) -> None:
    eventually(lambda: operator.server("falls")["state"] != "BACKOFF", "it can be started", SECONDS)
    with operator.events("/api/events") as events:
        until(events, "status", lambda _status: True)
        begun = time.monotonic()
        assert call(gateway, "falls__whoami")["error"]["code"] == -31004

        def shown(status: Any) -> bool:
            (server,) = [server for server in status["servers"] if server["name"] == "falls"]
            return bool(server["lastExit"]) and server["lastExit"]["exitCode"] == 7

        status = until(events, "status", shown)
        assert time.monotonic() - begun < 2
    (server,) = [server for server in status["servers"] if server["name"] == "falls"]
    assert server["lastExit"]["stderr"][-1] == "crashing on a call"
    assert abs(server["lastExit"]["at"] - time.time()) < 10
    assert server["command"][-2:] == ["crash-on-call", "7"]


def test_calls_show_while_they_run_and_afterwards(gateway: GatewayProcess, operator: Operator) -> None:
    session = gateway.open_session()
    with operator.events("/api/events") as events:
        caller = threading.Thread(target=lambda: gateway.text(session, "good__sleep", {"ms": 1500}))
        caller.start()

        def mine(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [call for call in found if call["session"] == session[:8] and call["method"] == "tools/call"]

        live = mine(until(events, "calls", lambda calls: mine(calls["live"]))["live"])
        over = mine(until(events, "calls", lambda calls: mine(calls["recent"]))["recent"])
        caller.join(SECONDS)
    gateway.end_session(session)
    assert [(it["server"], it["name"], it["endpoint"]) for it in live] == [("good", "sleep", "default")]
    assert [(it["id"], it["outcome"]) for it in over] == [(live[0]["id"], "result")] and over[0]["seconds"] > 1.4


def test_nothing_is_sent_while_nothing_changes(gateway: GatewayProcess, operator: Operator) -> None:
    """But for a server that fails, which is tried again now and then."""
    with operator.events("/api/events") as events:
        first = [next(events) for _ in range(2)]
        assert {event.name for event in first} == {"status", "calls"}
    versions = []
    for _ in range(2):
        with operator.events("/api/events") as events:
            versions.append(until(events, "calls", lambda _calls: True))
    assert versions[0] == versions[1], "looking is no change"


# --- standard error ----------------------------------------------------------------------------------------


def test_standard_error_survives_broken_streams_without_loss_and_twice(
    gateway: GatewayProcess, operator: Operator
) -> None:
    """The reader breaks off after every few lines and comes back behind the last one, while more are written."""
    session, calls = gateway.open_session(), 20
    path, seen = "/api/servers/talks/stderr", []
    call(gateway, "talks__whoami")
    before = len(list_of(operator, "talks"))

    def speak() -> None:
        for _ in range(calls):
            gateway.text(session, "talks__whoami")

    speaker = threading.Thread(target=speak)
    speaker.start()
    last = ""
    while len(seen) < before + 3 * calls:
        with operator.events(path, **({"Last-Event-ID": last} if last else {})) as events:
            for event, _ in zip(events, range(7), strict=False):
                seen.append(event)
                last = event.id
                if len(seen) == before + 3 * calls:
                    break
    speaker.join(SECONDS)
    gateway.end_session(session)
    assert [int(event.id) for event in seen] == list(range(int(seen[0].id), int(seen[0].id) + len(seen)))
    said = [json.loads(event.data)["line"] for event in seen]
    numbers = [int(line.removeprefix("line ")) for line in said if line != "ready"][-3 * calls :]
    assert numbers == list(range(numbers[0], numbers[0] + 3 * calls))


def list_of(operator: Operator, server: str, query: str = "") -> list[dict[str, Any]]:
    with operator.events(f"/api/servers/{server}/stderr?follow=false{query}") as events:
        return [json.loads(event.data) for event in events]


def test_the_last_lines_and_the_server_that_there_is_not(operator: Operator) -> None:
    call(operator.gateway, "talks__whoami")
    (last,) = list_of(operator, "talks", "&tail=1")
    assert last["line"].startswith("line ") and last["container"] is None and abs(last["time"] - time.time()) < 60
    unknown = requests.get(
        f"{operator.gateway.url}/api/servers/nobody/stderr", headers=operator.headers, timeout=SECONDS
    )
    assert unknown.status_code == 404 and "configured: " in unknown.json()["error"]


def test_no_secret_is_shown_anywhere(gateway: GatewayProcess, operator: Operator) -> None:
    assert call(gateway, "tells__whoami")["error"]["code"] == -31004
    lines = list_of(operator, "tells")
    assert any("on a call TOKEN is ***" in line["line"] for line in lines)
    server = operator.server("tells")
    assert server["command"][-1] == "***" and server["lastExit"]["exitCode"] == 3
    shown = [operator.command("status"), operator.command("logs", "tells", "--tail", "1000"), json.dumps(lines)]
    shown += [json.dumps(operator.get(path)) for path in READ if path not in READ[-2:]]
    assert CANARY not in "".join(shown) and CANARY not in gateway.log


# --- documents ---------------------------------------------------------------------------------------------


def test_endpoints_and_what_a_client_finds_there(operator: Operator) -> None:
    endpoints = {item["name"]: item for item in operator.get("/api/endpoints")}
    assert endpoints["closed"] == {
        "name": "closed", "namespace": "default", "transports": ["streamable-http", "sse"], "auth": "api-key",
        "discovery": "list",
    }  # fmt: skip
    catalog = operator.get("/api/endpoints/closed/catalog")
    assert {tool["name"] for tool in catalog["tools"]} >= {"good__echo", "talks__whoami"}
    assert any("'fails' is missing" in problem for problem in catalog["problems"])


def test_a_server_that_fails_says_when_it_is_tried_again(operator: Operator) -> None:
    def failing() -> bool:
        server = operator.server("fails")
        return server["state"] in ("BACKOFF", "FATAL") and server["nextTryAt"] is not None

    eventually(failing, "it backs off", SECONDS)
    server = operator.server("fails")
    assert server["lastExit"]["exitCode"] == 4 and "4" in server["reason"]


def test_history_begins_with_the_gateway(operator: Operator) -> None:
    history = operator.get("/api/history")
    assert history["step"] == 15 and abs(history["until"] - time.time()) < 60
    assert len(history["calls"]) == len(history["p95"]) < 240


# --- orders ------------------------------------------------------------------------------------------------


def pids(operator: Operator, server: str) -> set[int]:
    return {child["pid"] for child in operator.get("/api/status")["children"] if child["server"] == server}


def test_a_restart_and_a_stop_end_what_runs_and_are_noted_with_who_it_was(
    gateway: GatewayProcess, operator: Operator
) -> None:
    first = call(gateway, "good__whoami")["result"]
    before, listed = pids(operator, "good"), operator.server("good")["listed"]
    answer = operator.order("/api/servers/good/restart")
    assert (answer.status_code, answer.json()["done"]) == (200, True), answer.text
    eventually(lambda: operator.server("good")["listed"] > listed, "its lists are read anew", SECONDS)
    eventually(lambda: not pids(operator, "good") & before, "the old instance is gone", SECONDS)
    assert call(gateway, "good__whoami")["result"] != first
    stopped = operator.order("/api/servers/good/stop")
    assert stopped.status_code == 200 and "the next call starts it again" in stopped.json()["text"]
    eventually(lambda: not pids(operator, "good"), "none runs", SECONDS)
    assert operator.server("good")["state"] == "IDLE"
    assert "result" in call(gateway, "good__whoami")

    def noted() -> bool:
        return [line["action"] for line in operator.audited() if line.get("principal") == "chief"][-2:] == [
            "restart", "stop",
        ]  # fmt: skip

    eventually(noted, "both are in the audit log")
    assert all(line["about"] == "good" and line["address"] for line in operator.audited()[-2:])


def test_a_call_in_flight_when_it_is_stopped_is_told_why(gateway: GatewayProcess, operator: Operator) -> None:
    session, answers = gateway.open_session(), []
    caller = threading.Thread(target=lambda: answers.append(gateway.call(session, "good__sleep", {"ms": 60_000})))
    caller.start()
    eventually(lambda: operator.server("good")["state"] == "BUSY", "it works")
    operator.order("/api/servers/good/stop")
    caller.join(SECONDS)
    gateway.end_session(session)
    assert answers[0]["error"]["code"] == -31004 and "an operator stopped it" in answers[0]["error"]["message"]


def test_waking_starts_a_server_and_a_reset_one_that_backs_off(operator: Operator) -> None:
    listed = operator.server("talks")["listed"]
    assert operator.order("/api/servers/talks/wake").json()["done"]
    eventually(lambda: operator.server("talks")["listed"] > listed, "it was asked", SECONDS)
    refusals: list[str] = []

    def refused() -> bool:
        """At the latest when it has failed once more."""
        answer = operator.order("/api/servers/fails/wake")
        refusals.extend([answer.json()["error"]] if answer.status_code == 409 else [])
        return bool(refusals)

    eventually(refused, "it backs off", SECONDS)
    assert "reset 'fails'" in refusals[0]
    assert operator.order("/api/servers/fails/reset").json()["done"]


def test_what_cannot_be_ordered_says_why(operator: Operator) -> None:
    unknown, disabled = (operator.order(f"/api/servers/{name}/restart") for name in ("nobody", "off"))
    assert unknown.status_code == 404 and "configured: " in unknown.json()["error"]
    assert disabled.status_code == 409 and "servers.json" in disabled.json()["error"]
    image = operator.order("/api/servers/good/accept-image")
    assert image.status_code in (404, 409) and image.json()["error"]


def test_a_reload_tells_what_changed_or_what_is_wrong(gateway: GatewayProcess, operator: Operator) -> None:
    assert operator.order("/api/reload").json() | {"changes": {}} == {
        "done": True, "text": "nothing changed", "changes": {}
    }  # fmt: skip
    file = gateway.folder / "config" / "servers.json"
    right = file.read_text()
    file.write_text('{"mcpServers": {"x": {"comand": "y"}}}')
    try:
        wrong = operator.order("/api/reload")
        assert wrong.status_code == 422 and "mend" in wrong.json()["error"] and wrong.json()["problems"]
    finally:
        file.write_text(right)
        assert operator.order("/api/reload").status_code == 200


def test_every_order_is_noted_with_who_gave_it(operator: Operator) -> None:
    for order in ORDERS:
        operator.order(f"/api/servers/talks/{order}")
    operator.order("/api/reload")

    def noted() -> bool:
        lines = [line for line in operator.audited() if line.get("principal") == "chief"]
        return [(line["action"], line.get("about", "")) for line in lines][-len(expected) :] == expected

    expected = [*((order, "talks") for order in ORDERS), ("reload", "")]
    eventually(noted, "each has its line, in order")


def test_every_route_needs_the_scope_admin(gateway: GatewayProcess, operator: Operator, stranger: Operator) -> None:
    noted = len(operator.audited())
    for headers, expected in (({}, 401), (stranger.headers, 403)):
        for path in READ:
            assert requests.get(gateway.url + path, headers=headers, timeout=SECONDS).status_code == expected, path
        for path in ("/api/reload", *(f"/api/servers/good/{order}" for order in ORDERS)):
            assert requests.post(gateway.url + path, headers=headers, timeout=SECONDS).status_code == expected, path
    assert len(operator.audited()) == noted


# --- the command line --------------------------------------------------------------------------------------


def test_status_is_a_table_or_the_document(gateway: GatewayProcess, operator: Operator) -> None:
    call(gateway, "good__whoami")
    session = gateway.open_session()
    lines = operator.command("status").splitlines()
    gateway.end_session(session)
    assert lines[0].split() == ["SERVER", "STATE", "SINCE", "INSTANCES", "IMAGE", "WHY"]
    rows = {line.split()[0]: line.split() for line in lines if line}
    assert rows["good"][1] in ("READY", "BUSY") and rows["off"][1] == "DISABLED" and rows[session[:8]][1] == "default"
    assert any(line.startswith("process ") and " good " in line for line in lines)
    document = json.loads(operator.command("status", "--json"))
    assert {server["name"] for server in document["servers"]} == set(SERVERS)


def begun(operator: Operator, *words: str) -> subprocess.Popen[bytes]:
    """Interruptible, however the tests themselves were started."""
    return subprocess.Popen(
        [sys.executable, "-m", "metamcp", *words], cwd=ROOT, env=operator.env, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip


def test_watching_prints_each_change_and_ends_with_its_reader(gateway: GatewayProcess, operator: Operator) -> None:
    with begun(operator, "status", "--watch", "--json") as watching:
        assert watching.stdout is not None and watching.stderr is not None
        assert json.loads(watching.stdout.readline())["instance"]
        session = gateway.open_session()
        while session[:8] not in [it["id"] for it in json.loads(watching.stdout.readline())["sessions"]]:
            pass
        watching.stdout.close()
        gateway.end_session(session)
        assert watching.wait(SECONDS) in (0, 1) and b"Traceback" not in watching.stderr.read()
    for words in (("status", "--watch"), ("logs", "good", "-f")):
        with begun(operator, *words) as interrupted:
            assert interrupted.stdout is not None and interrupted.stdout.readline()
            interrupted.send_signal(signal.SIGINT)
            assert (interrupted.wait(SECONDS), interrupted.communicate()[1]) == (0, b"")


def test_logs_follow_a_server_and_a_pipe_may_close(gateway: GatewayProcess, operator: Operator) -> None:
    assert operator.command("logs", "talks", "--tail", "0") == ""
    call(gateway, "talks__whoami")
    line = operator.command("logs", "talks", "--tail", "1")
    assert line.rstrip().partition(" | ")[2].startswith("line ") and line.partition(" ")[0].endswith("Z")
    assert json.loads(operator.command("logs", "talks", "--tail", "1", "--json"))["line"].startswith("line ")
    with begun(operator, "logs", "talks", "-f", "--tail", "1") as following:
        assert following.stdout is not None and following.stderr is not None
        assert b" | line " in following.stdout.readline()
        call(gateway, "talks__whoami")
        assert b" | line " in following.stdout.readline()
        following.stdout.close()
        call(gateway, "talks__whoami")
        assert following.wait(SECONDS) in (0, 1) and b"Traceback" not in following.stderr.read()
    assert "there is no server 'nobody'" in operator.command("logs", "nobody", status=1)


def test_a_tool_is_called_as_a_client_calls_it(gateway: GatewayProcess, operator: Operator, stranger: Operator) -> None:
    hello = '{"text": "h\\u00e9llo \\u001b[31m"}'
    assert operator.command("call", "default", "good__echo", hello) == "h\u00e9llo \\x1b[31m\n"
    assert operator.command("call", "default", "good__echo", "-", input='{"text": "piped"}') == "piped\n"
    raw = json.loads(operator.command("call", "default", "good__echo", '{"text": "x"}', "--json"))
    assert raw["content"] == [{"type": "text", "text": "x"}]
    assert "echo needs text" in operator.command("call", "default", "good__echo", status=1)
    assert "unknown tool" in operator.command("call", "default", "nothing", status=1)
    assert "died during the call" in operator.command("call", "default", "falls__whoami", status=2)
    assert "METAMCP_API_KEY" in operator.command("call", "closed", "good__whoami", status=2)
    key = stranger.headers["X-API-Key"]
    keyed = Operator(gateway, env={"METAMCP_API_KEY": key})
    assert keyed.command("call", "closed", "good__echo", '{"text": "in"}') == "in\n"
    nowhere = operator.command("call", "default", "x", "--url", "http://127.0.0.1:1", status=2)
    assert "cannot be asked at http://127.0.0.1:1/metamcp/default/mcp" in nowhere
    assert "is not JSON" in operator.command("call", "default", "good__echo", "{", status=2)


def test_orders_by_hand_are_noted_with_the_user(operator: Operator) -> None:
    assert "one is started" in operator.command("restart", "good")
    assert "the next call starts it again" in operator.command("stop", "good")
    assert "started" in operator.command("wake", "talks")
    assert operator.command("reset", "fails") == "server 'fails' is asked again\n"
    assert "there is no server 'nobody'" in operator.command("restart", "nobody", status=1)
    eventually(lambda: len([line for line in operator.audited() if line.get("principal", "").startswith("user ")]) >= 5,
               "all are in the audit log")  # fmt: skip


def test_without_a_gateway_commands_say_so(tmp_path: Path, operator: Operator) -> None:
    env = operator.env | {"METAMCP_STATE_DIR": str(tmp_path)}
    for words in (["status"], ["status", "--watch"], ["logs", "good"], ["restart", "good"]):
        argv = [sys.executable, "-m", "metamcp", *words]
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (1, "") and "the running gateway cannot be asked" in done.stderr
