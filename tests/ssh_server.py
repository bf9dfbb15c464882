"""A real sshd on loopback with its own host key, and an ``ssh`` that knows it, for the length of a test."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from docker_engine import wait_until
from gateway_process import free_port

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin") or "/usr/sbin/sshd"
USER = pwd.getpwuid(os.geteuid()).pw_name
SECONDS = 60.0
"""On a busy machine one ssh takes more than ten of them."""

_SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
SetEnv DOCKER_HOST={docker_host} HOME={folder}
"""
"""HOME: what the user's shell reads at its start is not the point, and may take seconds."""

_CLIENT = """
KexAlgorithms curve25519-sha256
GlobalKnownHostsFile /dev/null
UserKnownHostsFile {folder}/known
StrictHostKeyChecking yes
IdentityFile none
"""


@dataclass(frozen=True, slots=True)
class SshServer:
    """``host`` is for DOCKER_HOST. ``env``: PATH with an ssh that knows the server, SSH_AUTH_SOCK with an agent that
    has a key for it."""

    folder: Path
    port: int
    pid: int
    env: dict[str, str]

    @property
    def host(self) -> str:
        return f"ssh://{USER}@127.0.0.1:{self.port}"

    def sessions(self) -> list[int]:
        """Processes of sshd that serve somebody."""
        return _children(self.pid)

    def clients(self) -> dict[int, str]:
        """Command lines of running ssh that were started by way of ``env``, by pid."""
        marker = str(self.folder / "client")
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        lines = {pid: _command(pid).replace(b"\0", b" ").decode("utf-8", "replace") for pid in pids}
        return {pid: line for pid, line in lines.items() if marker in line}


@contextmanager
def running_sshd(folder: Path, docker_host: str) -> Iterator[SshServer]:
    """Its sessions use the engine at ``docker_host``. ``folder`` has a short path: the agent's socket is in it."""
    folder.mkdir()
    port = free_port()
    for name in ("host", "user"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(argv, check=True, timeout=SECONDS)
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    key = (folder / "host.pub").read_text().split()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {key[0]} {key[1]}\n")
    (folder / "server").write_text(_SERVER.format(port=port, folder=folder, docker_host=docker_host))
    (folder / "client").write_text(_CLIENT.format(folder=folder))
    env = {"PATH": f"{_wrapper(folder)}:{os.environ['PATH']}", "SSH_AUTH_SOCK": str(folder / "agent")}
    with ExitStack() as stack:
        stack.enter_context(_separation_folder())
        stack.enter_context(_process(["ssh-agent", "-D", "-a", env["SSH_AUTH_SOCK"]]))
        assert wait_until(lambda: _add_key(folder, env), SECONDS), "the agent takes no key"
        log = stack.enter_context((folder / "sshd.log").open("wb"))
        sshd = stack.enter_context(_process([SSHD, "-D", "-e", "-f", str(folder / "server")], stderr=log))
        server = SshServer(folder, port, sshd.pid, env)
        assert wait_until(lambda: _answers(server), SECONDS), (folder / "sshd.log").read_text()
        yield server
        assert wait_until(lambda: not server.sessions(), SECONDS), "sshd still serves somebody"


def _wrapper(folder: Path) -> Path:
    """ssh finds its own files by the user and not by HOME, so a test can only name them to it."""
    bin = folder / "bin"
    bin.mkdir()
    (bin / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/client "$@"\n')
    (bin / "ssh").chmod(0o755)
    return bin


@contextmanager
def _separation_folder() -> Iterator[None]:
    """Where no init system has made it for root's sshd; another user's has no use for it."""
    folder = Path("/run/sshd")
    made = os.geteuid() == 0 and not folder.exists()
    if made:
        folder.mkdir(mode=0o755)
    yield
    if made:
        folder.rmdir()


@contextmanager
def _process(argv: list[str], **more: object) -> Iterator[subprocess.Popen[bytes]]:
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(argv, **(quiet | more))  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        process.wait(SECONDS)


def _add_key(folder: Path, env: dict[str, str]) -> bool:
    argv = ["ssh-add", "-q", str(folder / "user")]
    return subprocess.run(argv, env=env, capture_output=True, timeout=SECONDS).returncode == 0


def _answers(server: SshServer) -> bool:
    argv = ["ssh", "-p", str(server.port), f"{USER}@127.0.0.1", "true"]
    return subprocess.run(argv, env=server.env, capture_output=True, timeout=SECONDS).returncode == 0


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""  # it ended meanwhile
