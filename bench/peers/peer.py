"""What a peer is, and a peer while it runs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from bench.accounting.containers import remove_containers
from bench.accounting.processes import descendants, process, processes
from bench.client.factory import OVER_HTTP, make_factory
from bench.client.session import FAILURES, Settings

START_SECONDS, STOP_SECONDS, SETTLE_SECONDS, PROBE_SECONDS = 90.0, 15.0, 2.0, 20.0
LABEL = "metamcp-bench"
DIRECT, OWN, RIVAL = "direct", "own", "rival"


@dataclass(frozen=True)
class Place:
    """Where a peer runs: its port of loopback, a temporary folder of its own, where rivals are installed, the image."""

    name: str
    port: int
    folder: Path
    home: Path
    image: str

    def docker_run(self) -> list[str]:
        """The command that starts the bench server in a container which can be told from others."""
        return ["docker", "run", "-i", "--rm", "--label", f"{LABEL}={self.name}", self.image]


@dataclass(frozen=True)
class Peer:
    """``target``: the path of its URL; without HTTP the command or image, of its place. ``argv``: what starts it, None
    where the generator is its own gateway. ``labels``: all of which its containers carry, known when it runs.
    ``ready``: a path that answers 200 when it may be used; "": when its port is open. ``without``: scenarios that it
    has no part in; ``options``: of scenarios, where the usual ones ask too much of it.
    """

    name: str
    kind: str
    transport: str
    target: Callable[[Place], str]
    argv: Callable[[Place], list[str]] | None = None
    env: Callable[[Place], Mapping[str, str]] = lambda _: os.environ
    labels: Callable[[Place], list[str]] = lambda place: [f"{LABEL}={place.name}"]
    prefix: str = ""
    ready: str = ""
    default: bool = True
    without: Sequence[str] = ()
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Running:
    """A peer for the length of a ``with``. ``pids``: its root processes; ``ready_seconds``: how long its start took.

    ``probe``: it is ready when a call works, and not only when it says so: whoever measures cold starts must not call
    before. Raises RuntimeError where it does not become ready.
    """

    def __init__(self, peer: Peer, home: Path, image: str, log: Path, probe: bool = True) -> None:
        self.peer = peer
        self.pids: list[int] = []
        self.ready_seconds: float | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="metamcp-bench-")
        self.place = Place(peer.name, free_port(), Path(self._folder.name), home, image)
        self._log, self._probe = log, probe
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        target = self.peer.target(self.place)
        return f"http://127.0.0.1:{self.place.port}{target}" if self.peer.transport in OVER_HTTP else target

    @property
    def labels(self) -> list[str]:
        return self.peer.labels(self.place)

    def __enter__(self) -> Running:
        if self.peer.kind != OWN:  # of a run that was killed; containers of ours have a new label each time
            remove_containers(self.labels)
        if self.peer.argv is None:
            return self
        begun = time.monotonic()
        argv, env = self.peer.argv(self.place), dict(self.peer.env(self.place))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                argv, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait(begun + START_SECONDS)
            self.ready_seconds = round(time.monotonic() - begun, 2)
            self.pids = [self._process.pid]
            time.sleep(SETTLE_SECONDS)
        except BaseException:  # Ctrl-C, too
            self.__exit__(None, None, None)
            raise
        return self

    def _wait(self, deadline: float) -> None:
        assert self._process is not None
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(*FAILURES):
                if self._listens() and (not self._probe or asyncio.run(self._works())):
                    return
            time.sleep(0.05)
        raise RuntimeError(f"{self.peer.name} did not become ready; see {self._log}")

    def _listens(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.place.port), 1):
            pass
        if not self.peer.ready:
            return True
        with urllib.request.urlopen(f"http://127.0.0.1:{self.place.port}{self.peer.ready}", timeout=5) as answer:
            return bool(answer.status == 200)

    async def _works(self) -> bool:
        settings = Settings(timeout=PROBE_SECONDS, prefix=self.peer.prefix)
        session = make_factory(self.peer.transport, self.url, settings)()
        try:
            await session.open()
            await session.call("echo", {"text": "ready?"})
        finally:
            with suppress(*FAILURES):
                await session.close()
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        with suppress(OSError):  # it never came to have an identity, and so no container
            labels = self.labels
            end_tree(self._process)
            remove_containers(labels)
        end_tree(self._process)
        self._folder.cleanup()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end_tree(root: subprocess.Popen[bytes] | None) -> None:
    """SIGTERM to the root, and SIGKILL to what is left of its tree after ``STOP_SECONDS``."""
    if root is None:
        return
    table = processes()
    tree = {pid: table[pid].started for pid in descendants(table, [root.pid])}
    if root.poll() is None:
        root.terminate()
        with suppress(subprocess.TimeoutExpired):
            root.wait(STOP_SECONDS)
    for pid, started in tree.items():
        found = process(pid)
        if found is not None and found.started == started:  # and not another one with the same number
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    root.wait(STOP_SECONDS)
