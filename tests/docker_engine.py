"""A real Docker engine for tests: the one that answers, or else a private one that is started and ended here."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from demo.image import PYTHON, image_ids, import_image

ROOT = Path(__file__).resolve().parents[1]
TAG = "metamcp-test:local"
LABEL = "metamcp.test"
CONTENTS = {
    "/misbehaving.py": ROOT / "tests/servers/misbehaving.py",
    "/demo.py": ROOT / "demo/server.py",
    **{f"/conformance/{path.name}": path for path in sorted((ROOT / "tests/conformance/fixture").glob("*.py"))},
}
ANSWER_SECONDS, START_SECONDS, STOP_SECONDS = 3, 30, 20
LASTING: set[int] = set()
"""The pids of daemons, which outlive the test that started them anew."""


class NoEngine(Exception):
    """No engine answers and none can be started here; the text says why."""


@dataclass(frozen=True, slots=True)
class Engine:
    """``host``: what DOCKER_HOST must be. ``env``: a whole environment for subprocesses, with that DOCKER_HOST.

    ``image``: a tag whose entry point is ``python3 -I -S`` and which holds /misbehaving.py, /demo.py and
    /conformance, the fixture of the conformance suite.
    """

    host: str
    env: Mapping[str, str]
    image: str = TAG
    program: str = "docker"

    def docker(self, *args: str, timeout: float = 30) -> str:
        """The standard output of ``docker ARGS``, stripped. Raises AssertionError with its standard error."""
        done = subprocess.run(
            [self.program, *args], env=self.env, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"{self.program} {' '.join(args)}: {done.returncode}, {done.stderr.strip()}"
        return done.stdout.strip()

    def containers(self, label: str | None = None) -> list[str]:
        """The full ids of all containers, in every state; only those with ``label`` (``key`` or ``key=value``)."""
        wanted = ["--filter", f"label={label}"] if label else []
        return self.docker("ps", "--all", "--quiet", "--no-trunc", *wanted).split()


@contextmanager
def open_engine() -> Iterator[Engine]:
    """The running engine (DOCKER_HOST, context) or a private one, with the test image. Raises NoEngine."""
    if shutil.which("docker") is None:
        raise NoEngine("there is no docker command (Debian: apt-get install docker.io; newer releases: docker-cli)")
    if answers(os.environ):
        engine = _engine(_current_host())
        make_image(engine)
        yield engine
        return
    with private_engine() as engine:
        make_image(engine)
        yield engine


def answers(env: Mapping[str, str]) -> bool:
    argv = ["docker", "version", "--format", "{{.Server.Version}}"]
    with suppress(subprocess.TimeoutExpired):
        return subprocess.run(argv, env=env, capture_output=True, timeout=ANSWER_SECONDS, check=False).returncode == 0
    return False


def _engine(host: str) -> Engine:
    return Engine(host, {**os.environ, "DOCKER_HOST": host})


def _current_host() -> str:
    argv = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True).stdout.strip()


def make_image(engine: Engine) -> None:
    """The test image, unless it is there as it should be."""
    digest = hashlib.sha256((ROOT / "demo/image.py").read_bytes())
    for path in CONTENTS.values():
        digest.update(path.read_bytes())
    value = digest.hexdigest()[:16]
    if not image_ids(TAG, label=f"{LABEL}={value}", env=engine.env):
        import_image(TAG, CONTENTS, entrypoint=[PYTHON, "-I", "-S"], labels={LABEL: value}, env=engine.env)


# --- a private engine --------------------------------------------------------------------------------------


@contextmanager
def private_engine() -> Iterator[Engine]:
    """A dockerd with all its data in a folder of its own; ended by its own pid, and the folder removed."""
    with private_daemon() as (engine, _daemon):
        yield engine


@contextmanager
def private_daemon(
    *options: str, apart: bool = False, listening: socket.socket | None = None
) -> Iterator[tuple[Engine, Daemon]]:
    """The same, with further options, for a test that restarts it.

    ``apart``: in a network namespace of its own. Beside another engine nothing less will do: even a dockerd that is
    told to have no bridge begins by deleting the one that it finds. ``listening``: a socket of ours to listen to, too,
    handed over as systemd does it, so that an engine apart can be reached by TCP.
    """
    _refuse_where_impossible()
    # /tmp may be in memory, where overlay2 does not work; and the path of a socket must stay under 108 bytes.
    folder = Path(tempfile.mkdtemp(prefix="mmcp-", dir="/var/tmp"))
    daemon = Daemon(folder, options, apart, listening)
    try:
        daemon.start()
        yield daemon.engine, daemon
    finally:
        daemon.end()


class Daemon:
    """One dockerd in ``folder``. It may be killed and started again; what it left is picked up, as after a crash."""

    def __init__(
        self, folder: Path, options: tuple[str, ...], apart: bool, listening: socket.socket | None = None
    ) -> None:
        self.folder = folder
        self._listening = listening
        self._apart = ["unshare", "--net"] if apart else []
        self.engine = _engine(f"unix://{folder}/docker.sock")
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.folder / "dockerd.log").read_text("utf-8", "replace")

    def start(self, attempts: int = 1) -> None:
        """Returns when it answers. Raises NoEngine. On a busy machine one that was killed may need several attempts,
        as its containerd gets 15 s to clean up; an init system would not give up at the first either."""
        with (self.folder / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[self._listening.fileno()] if self._listening else [],
            )  # fmt: skip
        LASTING.add(self._process.pid)
        deadline = time.monotonic() + START_SECONDS
        while not answers(self.engine.env):
            ended = self._process.poll() is not None
            if ended and attempts > 1:
                return self.start(attempts - 1)
            if ended or time.monotonic() > deadline:
                raise NoEngine(f"dockerd did not start:\n{self.log[-2000:]}")
            wait_until(lambda: self._process is None or self._process.poll() is not None, 0.2)
        return None

    def stop(self, number: signal.Signals) -> None:
        """Returns when the process is gone. A SIGKILL leaves its containers running."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(STOP_SECONDS)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            with suppress(AssertionError, subprocess.TimeoutExpired):
                containers = self.engine.containers()
                if containers:
                    self.engine.docker("rm", "--force", *containers, timeout=STOP_SECONDS)
        try:
            self.stop(signal.SIGTERM)
        except subprocess.TimeoutExpired:
            self.stop(signal.SIGKILL)
        _end_containerd(self.folder / "exec/containerd/containerd.pid")
        unmount_below(self.folder)
        shutil.rmtree(self.folder)

    def _argv(self) -> list[str]:
        # setpriv: if the test run is killed, its engine goes, too.
        folder = self.folder
        paths = ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"]
        own = ["-H", f"unix://{folder}/docker.sock", *self._options]
        argv = [*self._apart, "setpriv", "--pdeathsig", "TERM", "dockerd", *paths, *own]
        if self._listening is None:
            return argv
        activation = f'exec 3<&{self._listening.fileno()}; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'
        return ["bash", "-c", activation, "bash", *argv, "-H", "fd://"]


def _refuse_where_impossible() -> None:
    if shutil.which("dockerd") is None:
        raise NoEngine("no engine answers, and dockerd is not installed (Debian: apt-get install docker.io iptables)")
    if os.geteuid() != 0:
        raise NoEngine("no engine answers, and only root can start one")


def _end_containerd(pidfile: Path) -> None:
    """dockerd ends its containerd itself, unless it was killed."""
    if pidfile.exists() and _is_containerd(pid := int(pidfile.read_text())):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not _is_containerd(pid), STOP_SECONDS)


def _is_containerd(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/comm").read_text().strip() == "containerd"
    return False


def unmount_below(folder: Path) -> None:
    """dockerd mounts its data on itself, and a killed one leaves that."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for path in reversed([path for path in mounted if path.startswith(f"{folder}/")]):
        subprocess.run(["umount", path], timeout=STOP_SECONDS, check=True)


# --- for the tests -----------------------------------------------------------------------------------------


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Asks again and again, up to a deadline; returns the last answer."""
    deadline = time.monotonic() + seconds
    while not (reached := true()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return reached


def report(engine: Engine, containers: list[str]) -> str:
    """Everything about containers that should be gone."""
    commands = [["ps", "--all"], ["inspect", *containers], *(["logs", "--tail", "50", name] for name in containers)]
    return "\n".join(f"$ docker {' '.join(command)}\n{_output(engine, command)}" for command in commands)


def _output(engine: Engine, command: list[str]) -> str:
    # Not Engine.docker: a container may go in between, and logs come on standard error as well.
    done = subprocess.run(
        [engine.program, *command], env=engine.env, capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout + done.stderr
