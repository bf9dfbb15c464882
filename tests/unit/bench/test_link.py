from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.accounting.slices import Slice
from bench.link import Load, Worker, Wrong, figures
from metamcp.gateway.interface import Client, Is, Outbound, Post
from metamcp.link.frames import FrameReader, Item, Open, encode

POST = Post(Client("default", "anonymous", "http", "s"), "request", "tools/call", b"1", b"{}")


def test_plain_figures_are_over_everything_and_quiet_ones_over_the_quickest_quarter() -> None:
    def taken(wall: int, cpu: int) -> Slice:
        return Slice(wall, 100, {"supervisor": cpu})

    quiet = [taken(1_000_000, 500_000), taken(2_000_000, 700_000), taken(3_000_000, 900_000)]
    found = figures([*quiet, *[taken(10_000_000, 5_000_000)] * 9])
    assert found.round_trips == 1200
    assert found.per_second == pytest.approx(1200 / 0.096, rel=1e-3)
    assert found.cpu_us == pytest.approx(47_100 / 1200, abs=0.01)
    assert (found.quiet_cpu_us, found.quiet_per_second) == (7.0, 50_000.0)


class Behind:
    """A supervisor that answers each request with ``says``."""

    def __init__(self, path: Path, says: bytes) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._says = says
        self.most = 0
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        with self._listening, self._listening.accept()[0] as connection:
            frames = FrameReader()
            while chunk := connection.recv(65536):
                opened = [frame for frame in frames.feed(chunk) if isinstance(frame, Open)]
                self.most = max(self.most, len(opened))
                for frame in opened:
                    data = self._says or frame.request.payload  # type: ignore[union-attr]
                    connection.sendall(encode(Item(frame.stream, Outbound(Is.ANSWER, data))))


class Asking:
    """Stands for a session."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.calls = 0

    def call(self) -> None:
        self.calls += 1
        self.worker.begin(POST, POST.payload)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "link.sock"


@pytest.fixture
def behind(path: Path) -> Iterator[Behind]:
    opened = Behind(path, b"")
    yield opened
    opened.thread.join(10)


def test_load_asks_as_often_as_it_should_and_never_more_at_once(path: Path, behind: Behind) -> None:
    worker = Worker(path)
    callers = [Asking(worker), Asking(worker)]
    load = Load(callers, 3)  # type: ignore[arg-type]
    load.run(20)
    load.run(2)
    load.close()
    worker.close()
    assert sum(caller.calls for caller in callers) == 22
    assert abs(callers[0].calls - callers[1].calls) <= 2
    assert behind.most <= 3


def test_answer_that_is_another_one_is_no_figure(path: Path) -> None:
    behind = Behind(path, b"{}!")
    worker = Worker(path)
    load = Load([Asking(worker)], 1)  # type: ignore[list-item]
    with pytest.raises(Wrong, match="instead of"):
        load.run(1)
    load.close()
    worker.close()
    behind.thread.join(10)


def test_supervisor_that_refuses_is_no_figure(path: Path, behind: Behind) -> None:
    worker = Worker(path)
    with pytest.raises(Wrong, match="no answer"):
        worker._checked(Item(1, Outbound(Is.FAILED, b"", 503)))
    worker.close()
