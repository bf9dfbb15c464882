"""The web tier as a user of its own: what real workers are, and what the kernel lets code of theirs do."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from gateway_process import ROOT, GatewayProcess, eventually, process_server, running_gateway, write_config
from other_user import NOBODY, attempts, open_folder, python_for_everybody, require_root

OWN = pwd.getpwnam("daemon")
"""Whom the supervisor runs as, where it is not root."""

SECRET, LITERAL = "canary-of-the-environment-5d1f", "canary-of-the-file-93ab"
DOCKER_GROUP = 47_110
"""Of the private engine's socket; nobody is in it."""


@pytest.fixture
def folder() -> Iterator[Path]:
    require_root()
    with open_folder() as place:
        yield place


@contextmanager
def engine_socket(path: Path) -> Iterator[None]:
    """A socket as an engine's is. It hangs up on whoever may connect."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        os.chown(path, 0, DOCKER_GROUP)
        path.chmod(0o660)
        listener.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    listener.accept()[0].close()

        server = threading.Thread(target=serve, name="engine-socket")
        server.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            server.join()


@contextmanager
def separated(folder: Path, **more: str) -> Iterator[GatewayProcess]:
    python, env = python_for_everybody()
    good = process_server("good", env={"TOKEN": "${GIT_TOKEN}", "LITERAL": LITERAL})
    servers = {"good": good | {"command": python}}
    closed_config(folder)
    env |= {"METAMCP_WEB_USER": "nobody", "GIT_TOKEN": SECRET, "DOCKER_HOST": f"unix://{folder}/docker.sock", **more}
    old = os.umask(0o077)
    try:
        with (
            engine_socket(folder / "docker.sock"),
            running_gateway(folder, servers, env=env, workers=2, python=python) as gateway,
        ):
            yield gateway
    finally:
        os.umask(old)


def closed_config(folder: Path) -> None:
    for name in ("servers.json", "allowlist.json"):
        (folder / "config").mkdir(exist_ok=True)
        (folder / "config" / name).touch(0o600)


def opened_to(group: int, folder: Path) -> None:
    for path in (folder / "config").iterdir():
        os.chown(path, 0, group)
        path.chmod(0o640)


def status_of(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, value in (line.split(":", 1) for line in lines)}


def memory_holds(pid: int, text: str) -> bool:
    """Whether ``text`` is anywhere in what the process has written to its memory."""
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line):
                begin, end = (int(number, 16) for number in found.groups())
                memory.seek(begin)
                with suppress(OSError):  # not there any more
                    if text.encode() in memory.read(end - begin):
                        return True
    return False


def test_workers_and_master_are_another_user_without_groups_and_capabilities(folder: Path) -> None:
    with separated(folder) as gateway:
        assert len(gateway.worker_pids) == 2
        for pid in (gateway.process.pid, *gateway.worker_pids):
            status = status_of(pid)
            assert status["Uid"] == [str(NOBODY.pw_uid)] * 4
            assert status["Gid"] == [str(NOBODY.pw_gid)] * 4
            assert status["Groups"] == []
            assert {int(status[name][0], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
            assert status["NoNewPrivs"] == ["1"]
        assert status_of(gateway.supervisor_pid)["Uid"] == ["0"] * 4
        session = gateway.open_session()
        assert gateway.text(session, "good__env", {"name": "TOKEN"}) == SECRET


def test_web_tier_holds_no_secret_neither_in_its_environment_nor_in_its_memory(folder: Path) -> None:
    with separated(folder) as gateway:
        gateway.open_session()
        web = (gateway.process.pid, *gateway.worker_pids)
        assert SECRET.encode() in Path(f"/proc/{gateway.supervisor_pid}/environ").read_bytes()
        assert all(memory_holds(gateway.supervisor_pid, text) for text in (SECRET, LITERAL))
        for pid in web:
            environ = Path(f"/proc/{pid}/environ").read_bytes()
            assert b"METAMCP_BIND" in environ
            assert not {b"GIT_TOKEN", b"DOCKER_HOST", b"METAMCP_CONFIG_DIR"} & {
                pair.split(b"=")[0] for pair in environ.split(b"\0")
            }
            assert not memory_holds(pid, SECRET) and not memory_holds(pid, LITERAL)


def test_code_of_the_web_tiers_user_reaches_the_link_and_the_hashes_of_keys_and_nothing_else(folder: Path) -> None:
    with separated(folder) as gateway:
        supervisor = gateway.supervisor_pid
        (keeper,) = (int(pid) for pid in (status_of(supervisor)["PPid"]))
        make_key(folder)
        python, _ = python_for_everybody()
        allowed = [["connect", f"{folder}/var/link.sock"], ["read", f"{folder}/var/access/keys.json"]]
        forbidden = [
            ["connect", f"{folder}/docker.sock"],
            ["read", f"{folder}/config/servers.json"], ["write", f"{folder}/config/servers.json"],
            ["read", f"{folder}/config/allowlist.json"], ["write", f"{folder}/config/allowlist.json"],
            ["list", f"{folder}/var"], ["write", f"{folder}/var/access/keys.json"],
            *(["read", str(path)] for path in sorted(folder.glob("var/*")) if path.is_file()),
            *([word, f"/proc/{pid}/{name}"] for pid in (supervisor, keeper)
              for word, name in (("read", "environ"), ("list", "fd"), ("write", "mem"))),
            ["ptrace", str(supervisor)], ["ptrace", str(keeper)], ["kill", str(supervisor)], ["kill", str(keeper)],
            ["become", "0"],
        ]  # fmt: skip
        assert len(forbidden) >= 17, "the state directory has its files"
        said = attempts(python, allowed + forbidden, user=NOBODY.pw_uid, group=NOBODY.pw_gid, groups=[])
        assert said[: len(allowed)] == ["done"] * len(allowed)
        assert set(said[len(allowed) :]) <= {"EACCES", "EPERM"}, list(zip(allowed + forbidden, said, strict=True))
        # The same as root: each of these can be done, so it is the user that makes the difference.
        assert set(attempts(python, allowed + forbidden, user=0, group=0, groups=[])) == {"done"}
        # And a stranger reaches not even these.
        assert attempts(python, allowed, user=1, group=1, groups=[]) == ["EACCES"] * len(allowed)


def make_key(folder: Path) -> str:
    """As an operator who is root does, wherever the gateway is then."""
    argv = [sys.executable, "-m", "metamcp", "keys", "create", "laptop", "--scope", "default", "--scope", "admin"]
    env = {**os.environ, "METAMCP_STATE_DIR": str(folder / "var"), "METAMCP_CONFIG_DIR": str(folder / "config")}
    made = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30, check=True)
    return made.stdout.strip()


@pytest.mark.parametrize("when", ["before", "while"])
def test_key_that_root_makes_before_the_gateway_runs_or_while_it_does_is_known_to_the_web_tier(
    folder: Path, when: str
) -> None:
    key = make_key(folder) if when == "before" else ""
    with separated(folder) as gateway:
        key = key or make_key(folder)
        status = f"{gateway.url}/api/status"
        assert gateway.http.get(status, timeout=10).status_code == 401
        assert gateway.http.get(status, headers={"X-API-Key": key}, timeout=10).status_code == 200


def test_supervisor_is_a_third_user_with_the_group_of_the_socket_and_nothing_stays_root(folder: Path) -> None:
    closed_config(folder)
    opened_to(OWN.pw_gid, folder)
    with separated(folder, METAMCP_SUPERVISOR_USER=OWN.pw_name) as gateway:
        supervisor = gateway.supervisor_pid
        keeper = int(status_of(supervisor)["PPid"][0])
        for pid in (supervisor, keeper):
            status = status_of(pid)
            assert status["Uid"] == [str(OWN.pw_uid)] * 4
            assert {NOBODY.pw_gid, DOCKER_GROUP} <= set(map(int, status["Groups"])) and "0" not in status["Groups"]
            assert int(status["CapEff"][0], 16) == 0
        python, _ = python_for_everybody()
        socket_of_the_engine = [["connect", f"{folder}/docker.sock"]]
        groups = [int(number) for number in status_of(supervisor)["Groups"]]
        assert attempts(python, socket_of_the_engine, user=OWN.pw_uid, group=OWN.pw_gid, groups=groups) == ["done"]
        forbidden = [["ptrace", str(supervisor)], ["kill", str(keeper)], ["read", f"/proc/{supervisor}/environ"],
                     ["list", f"{folder}/var"], *socket_of_the_engine]  # fmt: skip
        refusals = attempts(python, forbidden, user=NOBODY.pw_uid, group=NOBODY.pw_gid, groups=[])
        assert set(refusals) <= {"EACCES", "EPERM"}
        session = gateway.open_session()
        assert gateway.text(session, "good__env", {"name": "TOKEN"}) == SECRET
        assert gateway.text(session, "good__env", {"name": "HOME"}) == OWN.pw_dir
        key = make_key(folder)
        assert gateway.http.get(f"{gateway.url}/api/status", headers={"X-API-Key": key}, timeout=10).ok
        administered_over_http(gateway, key)
        os.kill(supervisor, signal.SIGKILL)
        gateway.wait_ready()


def administered_over_http(gateway: GatewayProcess, key: str) -> None:
    """Keys are the supervisor's to write; the configuration is root's, and so nobody's here."""
    wish, known = {"name": "second", "scopes": ["admin"]}, {"X-API-Key": key}
    made = gateway.http.post(f"{gateway.url}/api/keys", json=wish, headers=known, timeout=10)
    assert made.status_code == 201, made.text
    known = {"X-API-Key": made.json()["key"]}
    assert gateway.http.get(f"{gateway.url}/api/servers/good", headers=known, timeout=10).json()["name"] == "good"
    refused = gateway.http.patch(f"{gateway.url}/api/servers/good", json={"warm": 1}, headers=known, timeout=10)
    assert refused.status_code == 409 and "cannot be written" in refused.json()["error"], refused.text


def test_what_the_supervisors_user_cannot_use_is_refused_at_once_and_by_name(folder: Path) -> None:
    closed_config(folder)
    write_config(folder, {})
    said = refused(folder, METAMCP_SUPERVISOR_USER=OWN.pw_name)
    for name in ("servers.json", "allowlist.json"):
        assert f"the supervisor's user {OWN.pw_name} cannot read it" in said and f"config/{name}" in said
    assert "needs METAMCP_WEB_USER" in refused(folder, METAMCP_SUPERVISOR_USER=OWN.pw_name, METAMCP_WEB_USER="")
    assert "another user" in refused(folder, METAMCP_SUPERVISOR_USER="nobody")


def test_reload_restart_of_workers_and_of_the_supervisor_work_across_the_users(folder: Path) -> None:
    with separated(folder) as gateway:
        session, workers, supervisor = gateway.open_session(), gateway.worker_pids, gateway.supervisor_pid
        gateway.process.send_signal(signal.SIGHUP)
        eventually(lambda: not set(gateway.worker_pids) & set(workers), "new workers", 20)
        eventually(lambda: "by=SIGHUP" in gateway.log, "the supervisor was told")
        assert gateway.supervisor_pid == supervisor
        assert gateway.text(session, "good__env", {"name": "LITERAL"}) == LITERAL
        os.kill(supervisor, signal.SIGKILL)
        gateway.wait_ready()
        assert gateway.supervisor_pid != supervisor
        keeper = int(status_of(gateway.supervisor_pid)["PPid"][0])
        assert gateway.stop() == 0
        eventually(lambda: not Path(f"/proc/{keeper}").exists(), "the keeper is gone")


def test_everything_ends_when_the_master_is_killed(folder: Path) -> None:
    with separated(folder) as gateway:
        supervisor, workers = gateway.supervisor_pid, gateway.worker_pids
        keeper = int(status_of(supervisor)["PPid"][0])
        gateway.stop(signal.SIGKILL)
        gone = [supervisor, keeper, *workers]
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in gone), "all are gone", 20)


def test_gateway_ends_as_failed_when_the_keeper_is_killed(folder: Path) -> None:
    with separated(folder) as gateway:
        supervisor = gateway.supervisor_pid
        os.kill(int(status_of(supervisor)["PPid"][0]), signal.SIGKILL)
        assert gateway.process.wait(15) == 1
        eventually(lambda: not Path(f"/proc/{supervisor}").exists(), "the supervisor is gone", 15)


def test_split_services_meet_at_a_socket_for_one_group(folder: Path) -> None:
    """The web service has neither the configuration nor the engine; the supervisor is started by itself."""
    python, env = python_for_everybody()
    closed_config(folder)
    (folder / "link").mkdir(0o755)
    link = folder / "link" / "s.sock"
    env |= {"METAMCP_WEB_USER": "nobody", "METAMCP_LINK": str(link), "DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    servers = {"good": process_server("good", env={"TOKEN": "${GIT_TOKEN}"})}
    own = write_config(folder, servers) | env | {"GIT_TOKEN": SECRET}
    with (folder / "supervisor.log").open("wb") as log:
        supervisor = subprocess.Popen(
            [python, "-m", "metamcp", "supervisor"], cwd=ROOT, env={**os.environ, **own}, stdout=log, stderr=log
        )
    try:
        eventually(lambda: supervisor.poll() is None and link.exists(), "the supervisor listens", 30)
        (folder / "web").mkdir()
        with running_gateway(folder / "web", {}, env=env, python=python) as web:
            assert (link.stat().st_mode & 0o777, link.stat().st_gid) == (0o660, NOBODY.pw_gid)
            session = web.open_session()
            assert web.text(session, "good__echo", {"text": "hello"}) == "hello"
            for pid in (web.process.pid, *web.worker_pids):
                assert status_of(pid)["Uid"] == [str(NOBODY.pw_uid)] * 4
                assert not memory_holds(pid, SECRET)
            assert web.text(session, "good__env", {"name": "TOKEN"}) == SECRET, "but its server has it"
            wish = [["connect", str(link)]]
            assert attempts(python, wish, user=1, group=1, groups=[NOBODY.pw_gid]) == ["done"]
            assert attempts(python, wish, user=1, group=1, groups=[]) == ["EACCES"]
    finally:
        supervisor.terminate()
        assert supervisor.wait(15) == 0


LOOK = """
import json, os
users = os.getresuid(), os.getresgid(), os.getgroups()
print(json.dumps([*users, sorted(os.environ), open('/proc/self/status').read()]))
"""
"""What became of this process, as a program."""


def launched(*command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """As the container image begins: the separation, and then any command."""
    python, own = python_for_everybody()
    argv = [python, "-m", "metamcp.separation", *command]
    return subprocess.run(argv, cwd=ROOT, env={**os.environ, **own, **env}, capture_output=True, text=True, timeout=30)


def test_any_command_can_be_begun_as_the_web_tiers_user(folder: Path) -> None:
    python, _ = python_for_everybody()
    write_config(folder, {})
    closed_config(folder)
    for path in (folder / "config").iterdir():
        path.chmod(0o600)
    env = {"METAMCP_CONFIG_DIR": str(folder / "config"), "METAMCP_STATE_DIR": str(folder / "var"),
           "METAMCP_WEB_USER": "nobody", "GIT_TOKEN": SECRET,
           "DOCKER_HOST": f"unix://{folder}/docker.sock"}  # fmt: skip
    done = launched(python, "-c", LOOK, **env)
    assert done.returncode == 0, done.stderr
    users, groups, more_groups, names, status = json.loads(done.stdout)
    assert (users, groups, more_groups) == ([NOBODY.pw_uid] * 3, [NOBODY.pw_gid] * 3, [])
    assert re.search(r"NoNewPrivs:\s*1", status) and re.search(r"CapPrm:\s*0{16}\n", status)
    assert "METAMCP_SEPARATED" in names and not {"GIT_TOKEN", "DOCKER_HOST"} & set(names)


def test_without_a_user_the_command_is_begun_as_it_is(folder: Path) -> None:
    python, _ = python_for_everybody()
    done = launched(python, "-c", LOOK, METAMCP_WEB_USER="", GIT_TOKEN=SECRET)
    users, _, _, names, _ = json.loads(done.stdout)
    assert users == [0] * 3 and "GIT_TOKEN" in names and "METAMCP_SEPARATED" not in names


def test_command_that_is_not_there_or_none_ends_it_with_its_name(folder: Path) -> None:
    done = launched("/nonexistent/program", METAMCP_WEB_USER="")
    assert done.returncode == 127 and "/nonexistent/program: No such file" in done.stderr
    assert "usage" in launched().stderr
    done = launched("true", METAMCP_WEB_USER="nobody-at-all")
    assert done.returncode == 2 and "no such user" in done.stderr


def test_command_that_root_gives_may_what_the_supervisor_may_and_no_more(folder: Path) -> None:
    write_config(folder, {})
    closed_config(folder)
    for path in (folder / "config").iterdir():
        path.chmod(0o600)
    python, own = python_for_everybody()
    own |= {"METAMCP_CONFIG_DIR": str(folder / "config"), "METAMCP_STATE_DIR": str(folder / "var")}
    users = {"METAMCP_WEB_USER": "nobody", "METAMCP_SUPERVISOR_USER": OWN.pw_name}

    def check(**more: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **own, **more}
        argv = [python, "-m", "metamcp", "check-config"]
        return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30)

    assert check().returncode == 0
    assert (done := check(**users)).returncode == 2, done.stdout
    assert "Permission denied" in done.stderr
    opened_to(OWN.pw_gid, folder)
    assert check(**users).returncode == 0


def refused(folder: Path, **env: str) -> str:
    """What gunicorn says, which must not start."""
    python, own = python_for_everybody()
    own |= {"METAMCP_CONFIG_DIR": str(folder / "config"), "METAMCP_STATE_DIR": str(folder / "var"),
            "METAMCP_WEB_USER": "nobody", "METAMCP_BIND": "127.0.0.1:0",
            "DOCKER_HOST": f"unix://{folder}/docker.sock"}  # fmt: skip
    argv = [python, "-m", "gunicorn", "-c", "config/gunicorn.conf.py", "wsgi:app"]
    done = subprocess.run(argv, cwd=ROOT, env={**os.environ, **own, **env}, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2, done.stderr
    assert not (folder / "var").exists()
    return done.stderr


def test_what_the_web_tiers_user_could_read_or_use_anyway_is_refused_at_once_and_by_name(folder: Path) -> None:
    write_config(folder, {})
    for path in (folder / "config").iterdir():
        path.chmod(0o644)
    with engine_socket(folder / "docker.sock"):
        (folder / "docker.sock").chmod(0o666)
        said = refused(folder)
    for path in ("config/servers.json", "config/allowlist.json"):
        assert f"the web tier's user nobody can read it: chmod o-r {folder}/{path}" in said
    assert f"can use the engine's socket {folder}/docker.sock" in said


def test_directory_that_the_web_tiers_user_owns_is_refused(folder: Path) -> None:
    closed_config(folder)
    write_config(folder, {})
    os.chown(folder / "config", NOBODY.pw_uid, 0)
    assert f"can write to it: chown root {folder}/config" in refused(folder)


@pytest.mark.parametrize(("user", "text"), [("nobody-at-all", "no such user"), ("root", "must not be root")])
def test_user_that_cannot_be_meant_is_refused(folder: Path, user: str, text: str) -> None:
    closed_config(folder)
    write_config(folder, {})
    assert text in refused(folder, METAMCP_WEB_USER=user)


def test_mistake_in_the_configuration_is_told_before_anything_starts(folder: Path) -> None:
    closed_config(folder)
    write_config(folder, {"s": {"command": 7}})
    assert "mcpServers.s.command" in refused(folder)
