"""What one ``tools/call`` costs the supervisor alone: its CPU time, all threads together, and round trips a second.

    python -m bench.link [--seconds 10] [--in-flight 64] [--sessions 4] [--workers 2]

A real ``python -m metamcp supervisor`` is started with a configuration and a state directory of its own. Its one server
is a plain process, with an instance for each session, that does as little as possible for a line. There is no web tier:
the frames of the link are spoken here, over ``--workers`` connections, with ``--in-flight`` requests on their way, and
every answer is compared with what it has to be.

Besides the plain figures, which are over the whole run, there are *quiet* ones (``accounting/slices.py``), of slices of
200 round trips. On standard output are a line of JSON and a line of text.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.accounting.slices import CpuClocks, Slice, quiet_slices
from metamcp.gateway.interface import Client, Is, Outbound, Post
from metamcp.link.frames import FrameReader, Item, Open, encode

ROOT = Path(__file__).parent.parent
SLICE = 200  # round trips; none is on its way between two slices
_PART = "supervisor"

_START_SECONDS, _STOP_SECONDS, _ANSWER_SECONDS = 30.0, 15.0, 10.0
_CHUNK = 262144
_CALLER = Client("default", "anonymous", "http", "", "2025-11-25", "127.0.0.1")
_HELLO = b'{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}'

_SERVER = r"""
import os
HEAD, TOOL = b'{"jsonrpc":"2.0","id":%s,"result":', b'{"name":"echo","inputSchema":{"type":"object"}}'
OPENED = b'{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"1"}}'
def answer(line):
    if b'"id":' not in line:
        return b""
    head = HEAD % line.split(b'"id":', 1)[1].split(b",", 1)[0].rstrip(b"}")
    if b'"tools/call"' in line:
        said = line.rsplit(b'"text":"', 1)[1].split(b'"', 1)[0]
        return head + b'{"content":[{"type":"text","text":"%s"}]}}\n' % said
    said = OPENED if b'"initialize"' in line else b'{"tools":[%s]}' % TOOL if b'/list"' in line else b"{}"
    return head + said + b"}\n"
rest = b""
while chunk := os.read(0, 65536):
    *lines, rest = (rest + chunk).split(b"\n")
    out = b"".join(map(answer, lines))
    while out:
        out = out[os.write(1, out):]
"""


class Wrong(Exception):
    """The supervisor did not do what it has to; nothing was measured."""


@dataclass(frozen=True, slots=True)
class Figures:
    """``cpu_us``: of the supervisor, for one round trip."""

    round_trips: int
    per_second: float
    cpu_us: float
    quiet_per_second: float
    quiet_cpu_us: float

    def __str__(self) -> str:
        return (
            f"{self.round_trips} round trips, {self.per_second:.0f}/s, {self.cpu_us:.1f} us of CPU each; "
            f"quiet: {self.quiet_per_second:.0f}/s, {self.quiet_cpu_us:.1f} us"
        )


def figures(slices: Sequence[Slice]) -> Figures:
    """Of slices at whose beginning and end nothing was on its way."""
    done = sum(it.calls for it in slices)
    quiet = quiet_slices(slices)
    return Figures(
        done,
        round(done * 1e9 / sum(it.wall_ns for it in slices), 1),
        round(sum(it.cpu[_PART] for it in slices) / done / 1000, 2),
        round(statistics.median(1e9 * it.calls / it.wall_ns for it in quiet), 1),
        round(statistics.median(it.cpu[_PART] / it.calls for it in quiet) / 1000, 2),
    )


class Worker:
    """One connection to the link, as a web worker has one."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(_ANSWER_SECONDS)
        self.socket.connect(str(path))
        self._frames = FrameReader()
        self._expected: dict[int, bytes] = {}
        self._streams = 0
        self._unsent: list[bytes] = []

    def close(self) -> None:
        self.socket.close()

    def begin(self, post: Post, expected: bytes = b"") -> None:
        """To be sent with ``flush``. ``expected``: the answer that it has to have; empty: any."""
        self._streams += 1
        self._expected[self._streams] = expected
        self._unsent.append(encode(Open(self._streams, post)))

    def flush(self) -> None:
        data, self._unsent = b"".join(self._unsent), []
        if data:
            self.socket.sendall(data)

    def answers(self) -> list[Outbound]:
        """Those that have come, at least one chunk of them. Raises Wrong."""
        chunk = self.socket.recv(_CHUNK)
        if not chunk:
            raise Wrong("the supervisor closed the link")
        return [self._checked(frame) for frame in self._frames.feed(chunk)]

    def ask(self, post: Post) -> Outbound:
        """One request by itself."""
        self.begin(post)
        self.flush()
        while not (answers := self.answers()):
            pass
        return answers[0]

    def _checked(self, frame: object) -> Outbound:
        if not isinstance(frame, Item) or frame.outbound.kind not in (Is.ANSWER, Is.ACCEPTED):
            raise Wrong(f"no answer: {frame!r}")
        expected = self._expected.pop(frame.stream)
        if expected and frame.outbound.data != expected:
            raise Wrong(f"{frame.outbound.data!r} instead of {expected!r}")
        return frame.outbound


class Caller:
    """One session: its requests, each with a text of its own that has to come back."""

    def __init__(self, worker: Worker) -> None:
        opened = worker.ask(Post(_CALLER, "request", "initialize", b"0", _HELLO))
        self.worker = worker
        self._client = Client("default", "anonymous", "http", opened.session, "2025-11-25", "127.0.0.1")
        worker.ask(Post(self._client, "notification", "notifications/initialized", b"", b""))
        listed = worker.ask(Post(self._client, "request", "tools/list", b"1", b"{}"))
        self._tool = json.loads(listed.data)["result"]["tools"][0]["name"].encode()
        self._last = 1
        self.call()
        worker.flush()
        worker.answers()  # the server of this session has been started now

    def call(self) -> None:
        self._last += 1
        said = b"%s %d" % (self._client.session[:8].encode(), self._last)
        params = b'{"name":"%s","arguments":{"text":"%s"}}' % (self._tool, said)
        result = b'{"content":[{"type":"text","text":"%s"}]}' % said
        self.worker.begin(
            Post(self._client, "request", "tools/call", b"%d" % self._last, params, f"s{self._last}"),
            b'{"jsonrpc":"2.0","id":%d,"result":%s}' % (self._last, result),
        )


class Load:
    """The callers of one run, and how many of their requests are kept on their way."""

    def __init__(self, callers: Sequence[Caller], in_flight: int) -> None:
        self._in_flight = in_flight
        self._of_worker = {it.worker: itertools.cycle([c for c in callers if c.worker is it.worker]) for it in callers}
        self._selector = selectors.DefaultSelector()
        for worker in self._of_worker:
            self._selector.register(worker.socket, selectors.EVENT_READ, worker)

    def close(self) -> None:
        self._selector.close()

    def run(self, round_trips: int) -> None:
        """Raises Wrong, or TimeoutError when an answer does not come."""
        left = round_trips
        for worker in itertools.islice(itertools.cycle(self._of_worker), min(self._in_flight, left)):
            next(self._of_worker[worker]).call()
            left -= 1
        for worker in self._of_worker:
            worker.flush()
        done = 0
        while done < round_trips:
            ready = self._selector.select(_ANSWER_SECONDS)
            if not ready:
                raise TimeoutError(f"no answer within {_ANSWER_SECONDS:g} s")
            for key, _ in ready:
                answered = len(key.data.answers())
                done += answered
                for caller in itertools.islice(self._of_worker[key.data], min(answered, left)):
                    caller.call()
                    left -= 1
                key.data.flush()


@contextmanager
def supervisor(folder: Path) -> Iterator[tuple[int, Path]]:
    """A running one: its pid, and the path of its link."""
    config, state = folder / "config", folder / "state"
    config.mkdir()
    command = {"command": sys.executable, "args": ["-I", "-S", "-c", _SERVER]}
    (config / "servers.json").write_text(json.dumps({"mcpServers": {"echo": command}}))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("METAMCP_")}
    ours = {"METAMCP_CONFIG_DIR": str(config), "METAMCP_STATE_DIR": str(state), "PYTHONPATH": str(ROOT)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "metamcp", "supervisor"], env=inherited | ours, cwd=folder, stderr=log, stdout=log
        )
    try:
        link = state / "link.sock"
        deadline = time.monotonic() + _START_SECONDS
        while not _listens(link):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Wrong(f"the supervisor did not start: {(folder / 'log').read_text()}")
            time.sleep(0.05)
        yield process.pid, link
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        finally:
            process.kill()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
        return tried.connect_ex(str(path)) == 0


def measure(seconds: float, in_flight: int, sessions: int, workers: int, warm: float = 1.0) -> Figures:
    """Raises Wrong, TimeoutError or OSError."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        pid, link = stack.enter_context(supervisor(folder))
        connections = [Worker(link) for _ in range(workers)]
        for connection in connections:
            stack.callback(connection.close)
        callers = [Caller(connections[number % workers]) for number in range(sessions)]
        load = Load(callers, in_flight)
        stack.callback(load.close)
        clocks = CpuClocks({_PART: [pid]})
        _slices(load, clocks, warm)
        return figures(_slices(load, clocks, seconds))


def _slices(load: Load, clocks: CpuClocks, seconds: float) -> list[Slice]:
    """One at least."""
    found: list[Slice] = []
    end = time.monotonic() + seconds
    while not found or time.monotonic() < end:
        wall, before = time.monotonic_ns(), clocks.read()
        load.run(SLICE)
        spent = clocks.read()[_PART] - before[_PART]
        found.append(Slice(time.monotonic_ns() - wall, SLICE, {_PART: spent}))
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.link", description="The supervisor's CPU for a tools/call.")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--in-flight", type=int, default=64, help="requests on their way at once")
    parser.add_argument("--sessions", type=int, default=4, help="each has an instance of the server")
    parser.add_argument("--workers", type=int, default=2, help="connections of the link; at most as many as sessions")
    options = parser.parse_args(arguments)
    workers = min(options.workers, options.sessions)
    figures = measure(options.seconds, options.in_flight, options.sessions, workers)
    asked = {"in_flight": options.in_flight, "sessions": options.sessions, "workers": workers}
    sys.stdout.write(json.dumps(asked | asdict(figures)) + f"\n{figures}\n")


if __name__ == "__main__":
    main()
