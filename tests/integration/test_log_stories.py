"""Whoever has only the gateway's standard error learns why a server did not start, and what belongs to a request."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_process import ROOT, GatewayProcess, eventually, process_server, running_gateway, write_config
from log_lines import JSON_LOG, lines, of

SECRET = "swordfish-hunter2"
SERVERS = {
    "good": process_server("good", env={"TOKEN": SECRET}),
    "crash": process_server("crash-on-call", "9"),
    "late": process_server("hang-on-call", timeouts={"start": 1, "call": 1, "total": 2}),
    "exits": process_server("exit-at-start", "3"),
    "absent": {"command": "/nonexistent/server", "args": []},
    "no-secret": process_server("good", env={"TOKEN": "${NEVER_SET_ANYWHERE}"}),
    "not-allowed": {"command": "docker", "args": ["run", "-i", "evil/image:1"]},
    "forbidden": {"command": "docker", "args": ["run", "-i", "--privileged", "alpine"]},
    "no-engine": {"command": "docker", "args": ["run", "-i", "alpine"], "env": {"TOKEN": SECRET}},
}
FAILING = ("exits", "absent", "no-secret", "not-allowed", "forbidden", "no-engine")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("stories")
    env = {"DOCKER_HOST": f"unix://{folder}/docker.sock", "GUNICORN_CMD_ARGS": "--access-logfile -", **JSON_LOG}
    with running_gateway(folder, SERVERS, images=["alpine"], env=env, ready=False) as running:
        eventually(lambda: all(told(running, name, "catalog-failed") for name in FAILING), "all have failed", 60)
        yield running


def told(gateway: GatewayProcess, server: str, event: str) -> bool:
    return any(line["event"] == event for line in lines(gateway.log, server))


# --- stories of a start that fails --------------------------------------------------------------------------


def test_program_that_exits_at_once_is_told_with_its_command_code_and_last_words(gateway: GatewayProcess) -> None:
    born, died = (of(gateway.log, "exits", event) for event in ("child-born", "child-died"))
    assert "misbehaving.py exit-at-start 3" in born["command"]
    assert died["pid"] == born["pid"] and died["exit_code"] == 3
    assert died["stderr"] == "reading the settings | the settings lack a key | giving up"
    assert "giving up" in of(gateway.log, "exits", "catalog-failed")["reason"]
    assert "code 3" in of(gateway.log, "exits", "server-backing-off")["reason"]


def test_program_that_is_not_there_is_told_by_its_name(gateway: GatewayProcess) -> None:
    died = of(gateway.log, "absent", "child-died")
    assert "/nonexistent/server" in died["reason"] and "No such file" in died["reason"]
    assert died["command"] == "/nonexistent/server"


@pytest.mark.parametrize(
    ("server", "rule", "words"),
    [
        ("not-allowed", "image-allowlist", ("evil/image:1", "allowlist.json")),
        ("forbidden", "", ("--privileged",)),
        ("no-secret", "", ("NEVER_SET_ANYWHERE",)),
    ],
)
def test_what_is_refused_is_told_with_the_rule_and_what_would_allow_it(
    gateway: GatewayProcess, server: str, rule: str, words: tuple[str, ...]
) -> None:
    refused = of(gateway.log, server, "server-refused")
    assert refused["rule"] == rule or not rule
    for event in ("server-refused", "catalog-failed"):
        for word in words:
            assert word in of(gateway.log, server, event)["reason"]
    assert not told(gateway, server, "child-born"), "it was never started"


def test_engine_that_is_away_is_told_with_its_address_and_what_to_do(gateway: GatewayProcess) -> None:
    away = of(gateway.log, "", "engine-away")
    assert "docker.sock" in json.dumps(away) and "start the engine" in json.dumps(away).lower()
    born, died = (of(gateway.log, "no-engine", event) for event in ("child-born", "child-died"))
    assert born["command"].startswith("docker run ") and " --env=TOKEN " in born["command"]
    assert died["exit_code"] and died["container"] == born["container"]
    assert "start the engine" in of(gateway.log, "no-engine", "catalog-failed")["reason"].lower()


def test_wrong_configuration_is_told_with_every_path_and_ends_the_start(tmp_path: Path) -> None:
    wrong = {"a": {"command": "docker", "args": ["run"], "isolatoin": "call"}, "b": {"url": "nowhere"}}
    env = {**os.environ, **write_config(tmp_path, wrong), "METAMCP_BIND": "127.0.0.1:0", "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.conf.py", "wsgi:app"]
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    for word in ("servers.json", "isolatoin", "did you mean", "isolation", "mcpServers.b"):
        assert word in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


# --- births and deaths, and what belongs to a request -------------------------------------------------------


def test_every_birth_has_its_death_and_says_for_whom_it_is(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    gateway.text(session, "good__echo", {"text": "x"})
    gateway.end_session(session)
    eventually(lambda: any(line.get("session") == session[:8] for line in closed(gateway)), "its instance ended")
    own = [line for line in lines(gateway.log) if line.get("session") == session[:8]]
    assert [line["event"] for line in own] == [
        "session-opened", "starting", "child-born", "upstream-opened",
        "session-closed", "child-died", "upstream-closed",
    ]  # fmt: skip
    assert len({line["pid"] for line in own if line["event"] in ("child-born", "upstream-opened", "child-died")}) == 1
    assert {line["principal"] for line in own if line["event"].startswith("upstream-")} == {"anonymous"}
    assert session not in gateway.log


def closed(gateway: GatewayProcess) -> list[dict[str, object]]:
    return [line for line in lines(gateway.log, "good") if line["event"] == "upstream-closed"]


def test_the_link_has_a_birth_for_each_worker(gateway: GatewayProcess) -> None:
    events = [line["event"] for line in lines(gateway.log)]
    assert events.count("link-connected") == events.count("link-opened") == 1


@pytest.mark.parametrize(("server", "result"), [("crash", "died"), ("late", "deadline"), ("not-allowed", "error")])
def test_one_name_leads_from_the_answer_over_all_logs(gateway: GatewayProcess, server: str, result: str) -> None:
    session = gateway.open_session()
    name = f"story-{server}"
    params = {"name": f"{server}__echo", "arguments": {"text": SECRET}}
    answer = gateway.rpc("tools/call", params, session=session, **{"X-Request-ID": name})
    assert answer.headers["X-Request-ID"] == name and "error" in answer.json()
    eventually(lambda: f'" {name}\n' in gateway.log, "the access log has it")
    (access,) = [line for line in gateway.log.splitlines() if line.endswith(f" {name}")]
    assert '"POST /metamcp/default/mcp" 200' in access
    (failed,) = [line for line in lines(gateway.log) if line.get("request") == name]
    assert (failed["event"], failed["session"], failed["principal"]) == ("call-failed", session[:8], "anonymous")
    assert failed["server"] == server and failed["reason"] and failed["method"] == "tools/call"
    assert failed["result"] == result
    audit = gateway.folder / "var" / "audit.jsonl"
    eventually(lambda: name in audit.read_text(), "the audit log has it")
    (line,) = [found for found in map(json.loads, audit.read_text().splitlines()) if found.get("request") == name]
    assert line["result"] == result and line["session"] == session[:8]


def test_each_request_without_a_name_gets_one_of_its_own(gateway: GatewayProcess) -> None:
    names = [gateway.get("/health").headers["X-Request-ID"] for _ in range(10)]
    assert len(set(names)) == 10 and all(re.fullmatch(r"[0-9a-f]{8}-\d+", name) for name in names)


def test_no_line_has_the_value_of_an_environment(gateway: GatewayProcess) -> None:
    assert SECRET not in gateway.log
