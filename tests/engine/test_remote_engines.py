"""Engines that are reached by TLS and by ssh: a real dockerd with --tlsverify, a real sshd, the whole gateway."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from certificates import Authority
from containers import container_server, mine
from docker_engine import Engine, make_image, private_daemon
from gateway_process import eventually, free_port, running_gateway
from ssh_server import SSHD, USER, SshServer, running_sshd

from metamcp.config.engine_address import EngineAddress, locate
from metamcp.errors import EngineUnavailable
from metamcp.runtime.command.environment import for_docker
from metamcp.runtime.diagnosis.advice import advice
from metamcp.runtime.engine import Engine as Client

PATIENCE = 60.0
"""Seconds for processes to end, on a machine that may be busy."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """With a short path, as sockets need it."""
    path = Path(tempfile.mkdtemp(prefix="mmcp-", dir="/var/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def sshd(folder: Path, engine: Engine) -> Iterator[SshServer]:
    if not Path(SSHD).exists():
        reason = "openssh-server is not installed (Debian: apt-get install openssh-server)"
        pytest.fail(reason) if os.environ.get("REQUIRE_ENGINE") == "1" else pytest.skip(reason)
    with running_sshd(folder / "ssh", engine.host) as server:
        yield server


class TlsEngine:
    """``port`` of loopback with TLS; ``engine`` is the same one, by its socket."""

    def __init__(self, engine: Engine, port: int, folder: Path, ours: Authority) -> None:
        self.engine, self.port, self.folder, self.ours = engine, port, folder, ours
        self.certs = ours.folder(folder / "client", "gateway")

    def env(self, certs: Path | None, host: str = "127.0.0.1") -> dict[str, str]:
        plain = {"DOCKER_HOST": f"tcp://{host}:{self.port}"}
        return plain | ({"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(certs)} if certs else {})


@pytest.fixture(scope="module")
def tls(folder: Path) -> Iterator[TlsEngine]:
    ours = Authority("ours")
    server = ours.folder(folder / "server", "engine", "127.0.0.1")
    files = [f"--{option}={server}/{name}.pem" for option, name in
             (("tlscacert", "ca"), ("tlscert", "cert"), ("tlskey", "key"))]  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as listening:
        options = ("--bridge=none", "--tlsverify", *files)
        with private_daemon(*options, apart=True, listening=listening) as (engine, _daemon):
            make_image(engine)
            yield TlsEngine(engine, listening.getsockname()[1], folder, ours)


def refusals(environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The advice beside the failure of both halves: the Engine API, and the docker command."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    address = locate({**os.environ})
    with Client(address) as client, pytest.raises(EngineUnavailable) as caught:
        client.ping()
    argv, env = ["docker", "run", "--rm", "x"], for_docker(os.environ, address)
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 125, done
    return [caught.value.hint, advice(done.stderr, address.host)]


def assert_reader_ends(address: EngineAddress) -> None:
    """A stream that a thread waits on is closed by another one."""
    seen: list[object] = []
    with Client(address, PATIENCE) as client:
        stream = client.events({})
        reader = threading.Thread(target=lambda: seen.extend(stream))
        reader.start()
        eventually(lambda: stream.reading, "the thread reads")
        stream.close()
        reader.join(PATIENCE)
        assert not reader.is_alive() and seen == []


# --- TLS ---------------------------------------------------------------------------------------------------


def test_gateway_runs_containers_on_an_engine_with_tls(tls: TlsEngine, tmp_path: Path) -> None:
    servers = {"one": container_server(tls.engine, "good", network="none", era="legacy")}
    env = {**tls.engine.env, **tls.env(tls.certs)}
    with running_gateway(tmp_path, servers, images=[tls.engine.image], env=env) as gateway:
        session = gateway.open_session()
        host = gateway.text(session, "one__whoami").split(":")[0]
        assert any(container.startswith(host) for container in mine(tls.engine, gateway))
        info = gateway.get("/docker-test/info").json()
        expected = {"host": f"tcp://127.0.0.1:{tls.port}", "because": "DOCKER_HOST is set", "tls": "verified"}
        assert info["address"] == expected
        assert gateway.get("/docker-test/check").json()["accessible"] is True
        assert "engine-chosen" in gateway.log
        gateway.end_session(session)
        key = (tls.certs / "key.pem").read_text().splitlines()[1]
        assert key not in gateway.log
    assert tls.engine.containers("metamcp.instance") == []


@pytest.mark.parametrize("failure", ["plain", "no-client", "foreign-client", "wrong-ca", "wrong-name", "expired"])
def test_each_failure_of_tls_is_told_with_what_to_do(
    tls: TlsEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    others, certs, host, expected = Authority("others"), tmp_path / "certs", "127.0.0.1", ""
    refused = "does not accept this client"  # older engines tell no more
    match failure:
        case "plain":
            certs, expected = None, "set DOCKER_TLS_VERIFY=1"
        case "no-client":
            certs.mkdir()
            (certs / "ca.pem").write_bytes(tls.ours.ca)
            expected = f"wants a certificate of this client|{refused}"
        case "foreign-client":
            others.folder(certs, "gateway")
            (certs / "ca.pem").write_bytes(tls.ours.ca)
            expected = f"authority of cert.pem|{refused}"
        case "wrong-ca":
            shutil.copytree(tls.certs, certs)
            (certs / "ca.pem").write_bytes(others.ca)
            expected = "not of the authority in ca.pem"
        case "wrong-name":
            certs, host, expected = tls.certs, "localhost", "for another name"
        case "expired":
            tls.ours.folder(certs, "gateway", days=-1)
            expected = f"out of date|{refused}"
    for hint in refusals(tls.env(certs, host), monkeypatch):
        assert re.search(expected, hint), hint


def test_engine_that_does_not_speak_tls_is_recognised(
    tls: TlsEngine, sshd: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = tls.env(tls.certs) | {"DOCKER_HOST": f"tcp://127.0.0.1:{sshd.port}"}
    for hint in refusals(environ, monkeypatch):
        assert "does not speak TLS" in hint


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")  # switched off by engine_client, and on by pytest
def test_certificate_of_the_engine_is_not_looked_at_where_that_is_asked_for(
    tls: TlsEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certs = tmp_path / "certs"
    shutil.copytree(tls.certs, certs)
    (certs / "ca.pem").write_bytes(Authority("others").ca)
    environ = tls.env(None) | {"DOCKER_TLS": "1", "DOCKER_CERT_PATH": str(certs)}
    address = locate(environ)
    with Client(address) as client:
        client.ping()
    done = subprocess.run(["docker", "version"], env=for_docker({**os.environ, **environ}, address),
                          capture_output=True, text=True, timeout=30)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_event_stream_over_tls_ends_when_it_is_closed_while_somebody_reads(tls: TlsEngine) -> None:
    assert_reader_ends(locate(tls.env(tls.certs)))


# --- ssh ---------------------------------------------------------------------------------------------------


def test_gateway_runs_containers_on_an_engine_behind_ssh_and_leaves_no_ssh(
    engine: Engine, sshd: SshServer, tmp_path: Path
) -> None:
    servers = {"one": container_server(engine, "good", network="none", era="legacy")}
    env = {**engine.env, **sshd.env, "DOCKER_HOST": sshd.host}
    with running_gateway(tmp_path, servers, images=[engine.image], env=env) as gateway:
        session = gateway.open_session()
        host = gateway.text(session, "one__whoami").split(":")[0]
        assert any(container.startswith(host) for container in mine(engine, gateway))
        eventually(lambda: gateway.get("/docker-test/check").ok, "an ssh is fast enough for a check", PATIENCE)
        info = gateway.get("/docker-test/info", timeout=PATIENCE)  # several questions, each by an ssh of its own
        assert info.json()["address"]["host"] == sshd.host, info.text
        before = set(sshd.clients())
        assert before
        os.kill(gateway.supervisor_pid, signal.SIGKILL)
        eventually(lambda: not before & set(sshd.clients()), "no ssh outlives a supervisor that was killed", PATIENCE)
    eventually(lambda: not sshd.clients() and not sshd.sessions(), "no ssh of the gateway is left", PATIENCE)


def test_event_stream_over_ssh_ends_when_it_is_closed_while_somebody_reads(
    sshd: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sshd.env.items():
        monkeypatch.setenv(name, value)
    assert_reader_ends(locate({"DOCKER_HOST": sshd.host}))


@contextmanager
def spoilt(path: Path, text: str) -> Iterator[None]:
    before = path.read_text()
    path.write_text(text)
    yield
    path.write_text(before)


def test_each_failure_of_ssh_is_told_with_what_to_do(sshd: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {**sshd.env, "DOCKER_HOST": sshd.host}
    known = sshd.folder / "known"
    foreign = f"[127.0.0.1]:{sshd.port} " + " ".join((sshd.folder / "user.pub").read_text().split()[:2]) + "\n"
    with spoilt(known, ""):
        unknown = refusals(environ, monkeypatch)
    with spoilt(known, foreign):
        changed = refusals(environ, monkeypatch)
    denied = refusals(environ | {"SSH_AUTH_SOCK": "/nonexistent"}, monkeypatch)
    refused = refusals(environ | {"DOCKER_HOST": f"ssh://{USER}@127.0.0.1:{free_port()}"}, monkeypatch)
    assert [("known_hosts" in hint) for hint in unknown] == [True, True]
    assert [("ssh-keygen -R" in hint) for hint in changed] == [True, True]
    assert [("authorized_keys" in hint) for hint in denied] == [True, True]
    assert [("No ssh server answers" in hint) for hint in refused] == [True, True]
