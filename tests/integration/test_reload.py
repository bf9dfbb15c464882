"""Another configuration while clients work: real gunicorn, real supervisor, plain processes as servers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from gateway_process import ROOT, GatewayProcess, eventually, process_server, running_gateway, write_config

GOOD = process_server("good")
BAD = '{"mcpServers": {"git": {"comand": "docker"}, "time": {"command": 4}}}'
ENDPOINTS = {"default": {"namespace": "all"}, "second": {"namespace": "all"}}


class Stream:
    """A standing GET stream of a session, read on a thread."""

    def __init__(self, gateway: GatewayProcess, session: str) -> None:
        headers = {"Accept": "text/event-stream", "Mcp-Session-Id": session}
        url = f"{gateway.url}/metamcp/default/mcp"
        self._answer = requests.get(url, headers=headers, stream=True, timeout=60)
        assert self._answer.status_code == 200
        self.methods: list[str] = []
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name="stream")
        self._thread.start()

    def _read(self) -> None:
        try:
            for line in self._answer.iter_lines():
                if line.startswith(b"data: {"):
                    self.methods.append(json.loads(line[6:]).get("method", ""))
        except requests.RequestException:
            pass
        self.ended.set()

    def close(self) -> None:
        self._thread.join(10)
        self._answer.close()


@contextmanager
def listening(gateway: GatewayProcess, session: str) -> Iterator[Stream]:
    """The session is ended with it: otherwise its stream would never end."""
    stream = Stream(gateway, session)
    try:
        yield stream
    finally:
        gateway.http.delete(f"{gateway.url}/metamcp/default/mcp", headers={"Mcp-Session-Id": session}, timeout=10)
        stream.close()


def configure(gateway: GatewayProcess, servers: Mapping[str, Any], **more: Any) -> None:
    """Write the files, and wait until they are in force."""
    before = gateway.status()["configuration"]["loadedAt"]
    write_config(gateway.folder, servers, **more)
    eventually(lambda: gateway.status()["configuration"]["loadedAt"] > before, "the new configuration is in force")


def tools(gateway: GatewayProcess, session: str) -> set[str]:
    listed = gateway.rpc("tools/list", session=session).json()["result"]["tools"]
    return {tool["name"].partition("__")[0] for tool in listed}


def by_hand(gateway: GatewayProcess, *words: str) -> subprocess.CompletedProcess[bytes]:
    env = {"METAMCP_CONFIG_DIR": str(gateway.folder / "config"), "METAMCP_STATE_DIR": str(gateway.folder / "var")}
    command = [sys.executable, "-m", "metamcp", *words]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, timeout=60)


def problems(gateway: GatewayProcess) -> list[str]:
    return [problem["path"] for problem in gateway.status()["configuration"]["problems"]]


def begun_call(gateway: GatewayProcess, session: str, tool: str, answers: list[str], ms: int) -> threading.Thread:
    caller = threading.Thread(target=lambda: answers.append(gateway.text(session, tool, {"ms": ms}, id="long")))
    caller.start()
    server = tool.partition("__")[0]

    def busy() -> bool:
        return any(it["server"] == server and it["state"] == "BUSY" for it in gateway.status()["children"])

    eventually(busy, "the call runs")
    return caller


def test_added_server_is_listed_and_an_open_stream_hears_of_it(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"git": GOOD}) as gateway:
        session = gateway.open_session()
        with listening(gateway, session) as stream:
            configure(gateway, {"git": GOOD, "time": GOOD})
            eventually(lambda: "notifications/tools/list_changed" in stream.methods, "the session is told")
            assert tools(gateway, session) == {"git", "time"}
            assert gateway.text(session, "time__echo", {"text": "hello"}) == "hello"
        assert "configuration-reloaded" in gateway.log and "servers_added=time" in gateway.log


def test_changed_server_is_replaced_after_its_call_and_the_other_one_is_not_touched(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"git": GOOD, "time": GOOD}) as gateway:
        session = gateway.open_session()
        old, other = (gateway.text(session, f"{server}__whoami") for server in ("git", "time"))
        answers: list[str] = []
        caller = begun_call(gateway, session, "git__sleep", answers, 4000)
        configure(gateway, {"git": process_server("good", env={"CHANGED": "yes"}), "time": GOOD})
        assert not answers, "the call was over before the new configuration was in force"
        new = gateway.text(session, "git__whoami")
        assert new != old
        assert gateway.text(session, "git__env", {"name": "CHANGED"}) == "yes"
        assert gateway.text(session, "time__whoami") == other
        caller.join(20)
        assert len(answers) == 1
        eventually(lambda: sum(it["server"] == "git" for it in gateway.status()["children"]) == 1, "the old one ends")
        assert gateway.text(session, "git__whoami") == new


def test_server_that_is_disabled_or_removed_leaves_the_listing_and_its_process_ends(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"git": GOOD, "time": GOOD, "web": GOOD}) as gateway:
        session = gateway.open_session()
        for server in ("git", "time", "web"):
            gateway.text(session, f"{server}__whoami")
        with listening(gateway, session) as stream:
            configure(gateway, {"git": GOOD, "time": process_server("good", enabled=False)})
            eventually(lambda: "notifications/tools/list_changed" in stream.methods, "the session is told")
            assert tools(gateway, session) == {"git"}
            refused = gateway.call(session, "time__whoami")["error"]
            assert (refused["code"], refused["data"]["state"]) == (-31001, "DISABLED")
            assert gateway.call(session, "web__whoami")["error"]["code"] == -32602
            eventually(lambda: {it["server"] for it in gateway.status()["children"]} == {"git"}, "the processes end")


def test_sessions_of_an_endpoint_that_is_gone_get_404_and_their_streams_end(tmp_path: Path) -> None:
    spaces = {"all": {"servers": ["git"]}}
    with running_gateway(tmp_path, {"git": GOOD}, namespaces=spaces, endpoints=ENDPOINTS) as gateway:
        here, there = gateway.open_session(), gateway.open_session(endpoint="second")
        with listening(gateway, here) as stream:
            configure(gateway, {"git": GOOD}, namespaces=spaces, endpoints={"second": ENDPOINTS["second"]})
            assert stream.ended.wait(10)
            assert gateway.rpc("tools/list", session=here).status_code == 404
            assert gateway.rpc("tools/list", session=there, endpoint="second").status_code == 200
        configure(gateway, {"git": GOOD}, namespaces=spaces, endpoints=ENDPOINTS)
        assert gateway.rpc("tools/list", session=here).status_code == 404
        assert gateway.text(gateway.open_session(), "git__echo", {"text": "again"}) == "again"


def test_bad_file_leaves_all_as_it_was_is_reported_and_mended(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"git": GOOD}) as gateway:
        session = gateway.open_session()
        who, before = gateway.text(session, "git__whoami"), gateway.status()["configuration"]
        assert before["problems"] == []
        (tmp_path / "config" / "servers.json").write_text(BAD)
        eventually(lambda: len(problems(gateway)) >= 2, "the mistakes are in the status")
        assert gateway.status()["configuration"]["loadedAt"] == before["loadedAt"]
        assert gateway.text(session, "git__whoami") == who
        assert gateway.get("/ready").status_code == 200
        found = problems(gateway)
        gateway.process.send_signal(signal.SIGHUP)
        eventually(lambda: gateway.log.count("configuration-kept") == 2, "it was read again")
        assert gateway.log.count("configuration-mistake") == len(found)
        (tmp_path / "config" / "servers.json").unlink()
        eventually(lambda: problems(gateway) == ["servers.json"], "that the file is gone is a mistake, too")
        configure(gateway, {"git": GOOD})
        assert problems(gateway) == []
        assert gateway.text(session, "git__whoami") == who


def test_vanished_allowlist_is_a_mistake(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"git": GOOD}) as gateway:
        (tmp_path / "config" / "allowlist.json").unlink()
        eventually(lambda: problems(gateway) == ["allowlist.json"], "the mistake is in the status")


def test_symbolic_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes and Docker mount configurations: the files lead through one link, which is replaced."""
    with running_gateway(tmp_path, {"git": GOOD}) as gateway:
        config = tmp_path / "config"
        write_config(tmp_path / "next", {"git": GOOD, "time": GOOD})
        shutil.copytree(config, tmp_path / "now")
        (config / "data").symlink_to(tmp_path / "now")
        for name in ("servers.json", "allowlist.json"):
            (config / "link").symlink_to(Path("data") / name)
            (config / "link").rename(config / name)
        eventually(lambda: "changes=none" in gateway.log, "the links were read")
        (config / "new").symlink_to(tmp_path / "next" / "config")
        (config / "new").rename(config / "data")
        eventually(lambda: tools(gateway, gateway.open_session()) == {"git", "time"}, "the new files are in force")


@pytest.mark.parametrize("master", [True, False], ids=["master", "supervisor"])
def test_sighup_reads_the_files_at_once_and_keeps_sessions_and_supervisor(tmp_path: Path, master: bool) -> None:
    with running_gateway(tmp_path, {"git": GOOD}) as gateway:
        supervisor, session = gateway.supervisor_pid, gateway.open_session()
        who = gateway.text(session, "git__whoami")
        os.kill(gateway.process.pid if master else supervisor, signal.SIGHUP)
        eventually(lambda: "by=SIGHUP" in gateway.log, "the files were read")
        eventually(lambda: gateway.get("/api/status").status_code == 200, "it answers")
        assert gateway.supervisor_pid == supervisor
        assert gateway.text(session, "git__whoami") == who
        assert gateway.stop() == 0
    assert not Path(f"/proc/{supervisor}").exists()


def test_reload_by_hand_says_what_changed_or_every_mistake(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"git": GOOD}) as gateway:
        nothing = by_hand(gateway, "reload")
        assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, b"nothing changed\n", b"")
        write_config(tmp_path, {"git": process_server("good", idleSeconds=200), "time": GOOD})
        changed = by_hand(gateway, "reload")
        if changed.stdout != nothing.stdout:  # unless the files were seen to have changed before
            assert changed.stdout == b"servers added: time\nservers changed: git\nnamespaces changed: default\n"
        assert changed.returncode == 0
        (tmp_path / "config" / "servers.json").write_text(BAD)
        wrong = by_hand(gateway, "reload")
        assert wrong.returncode == 2
        assert all(path in wrong.stderr for path in (b"mcpServers.git.comand", b"mcpServers.time.command"))
    away = by_hand(gateway, "reload")
    assert away.returncode == 1 and b"cannot be asked" in away.stderr


def test_server_that_was_mended_is_back_at_once_by_hand(tmp_path: Path) -> None:
    absent = tmp_path / "server.py"
    servers = {"git": GOOD, "broken": {"command": "python3", "args": [str(absent)]}}
    with running_gateway(tmp_path, servers, ready=False) as gateway:
        eventually(lambda: "catalog-failed" in gateway.log, "the server could not be asked")
        session = gateway.open_session()
        absent.write_bytes((ROOT / "tests" / "servers" / "misbehaving.py").read_bytes())
        done = by_hand(gateway, "reset", "broken")
        assert (done.returncode, done.stdout) == (0, b"server 'broken' is asked again\n")
        eventually(lambda: tools(gateway, session) == {"git", "broken"}, "its tools are listed", 4)
        unknown = by_hand(gateway, "reset", "nobody")
        assert unknown.returncode == 1 and b"there is no server 'nobody'; configured: broken, git" in unknown.stderr


def test_reload_is_an_order_of_operators_alone(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"git": GOOD}) as gateway:
        for path in ("/reload", "/docker-test/reload", "/metamcp/default/reload"):
            assert gateway.http.post(gateway.url + path, timeout=10).status_code == 404
        assert gateway.get("/api/reload").status_code == 405, "what is only looked at changes nothing"
        foreign = {"Origin": "https://evil.example"}
        assert gateway.http.post(f"{gateway.url}/api/reload", headers=foreign, timeout=10).status_code == 403
        assert "configuration-reloaded" not in gateway.log


def test_calls_of_many_sessions_lose_nothing_while_the_configuration_changes(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"git": GOOD, "time": GOOD}) as gateway:
        sessions = [gateway.open_session() for _ in range(4)]
        stopping, failed, made = threading.Event(), list[object](), list[str]()

        def work(session: str) -> None:
            while not stopping.is_set():
                answer = gateway.call(session, "git__echo", {"text": "x"})
                made.append("x") if "result" in answer else failed.append(answer)

        callers = [threading.Thread(target=work, args=(session,)) for session in sessions]
        for caller in callers:
            caller.start()
        for number in range(3):
            configure(gateway, {"git": process_server("good", env={"NUMBER": str(number)}), "time": GOOD})
        count = len(made)
        eventually(lambda: len(made) > count + 8, "the calls go on", 30)
        stopping.set()
        for caller in callers:
            caller.join(30)
        assert failed == []
