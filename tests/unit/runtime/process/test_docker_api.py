"""Containers over the Engine API, against an engine whose every byte the test decides."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from scripted_engine import Asked, ScriptedEngine, ended, frame, scripted_engine

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.config.engine_address import EngineAddress, TlsFiles
from metamcp.errors import MetaMCPError
from metamcp.runtime.command.grammar import parse
from metamcp.runtime.command.launch import LaunchPlan
from metamcp.runtime.engine import Engine
from metamcp.runtime.process import attached as attached_module
from metamcp.runtime.process.docker_api import DockerApi
from metamcp.runtime.process.engine_socket import can_reach
from metamcp.runtime.process.interface import Hears, NotStarted, Process, Start

SECONDS = 10.0
Told = tuple[str, Any]


class House:
    """A runtime, its engine, and what processes tell: ("out", bytes), ("err", bytes), ("end", status)."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self.engine = engine
        self.reactor, self.chores = Reactor(), Workers("chore", 1)
        self.client = Engine(engine.host)
        self.runtime = DockerApi(self.client, self.chores.submit)
        self.outcomes: queue.Queue[Process | NotStarted | MetaMCPError] = queue.Queue()
        self.told: queue.Queue[Told] = queue.Queue()
        self.begin = Start(self.outcomes.put, self.outcomes.put)
        self.reactor.start()

    def start(self, *options: str, image: str = "image:1", **env: str) -> Process:
        """A process that is watched. Raises NotStarted."""
        args = ["run", "--interactive", "--rm", "--name=metamcp-s-1", *options, image]
        self.runtime.start(LaunchPlan((), env, image, "metamcp-s-1", {}, (), run=parse("docker", args)), self.begin)
        outcome = self.outcomes.get(timeout=SECONDS)
        if isinstance(outcome, Exception):
            raise outcome
        self.do(lambda: outcome.watch(self.reactor, Hears(self._told("out"), self._told("err"), self._told("end"))))
        return outcome

    def do(self, call: Callable[[], Any]) -> None:
        done = threading.Event()
        self.reactor.call_soon(lambda: (call(), done.set()))
        assert done.wait(SECONDS)

    def hear(self, kind: str, size: int = 1) -> bytes:
        pieces: list[bytes] = []
        while sum(map(len, pieces)) < size:
            found, piece = self.told.get(timeout=SECONDS)
            assert found == kind, (found, piece)
            pieces.append(piece)
        return b"".join(pieces)

    def end(self) -> int:
        """The status; nothing else is told before it or after it."""
        kind, status = self.told.get(timeout=SECONDS)
        assert kind == "end", (kind, status)
        self.do(lambda: None)
        assert self.told.empty()
        return int(status)

    def _told(self, kind: str) -> Callable[[Any], None]:
        return lambda what: self.told.put((kind, what))

    def close(self) -> None:
        self.runtime.close()
        self.chores.close()
        self.client.close()
        self.reactor.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with scripted_engine(tmp_path) as engine, ExitStack() as stack:
        built = House(engine)
        stack.callback(built.close)
        yield built


def run(house: House, *options: str) -> tuple[Process, Asked, Asked]:
    """A process, and the engine's ends of its two connections."""
    process = house.start(*options)
    return process, house.engine.streams.get(timeout=SECONDS), house.engine.waits.get(timeout=SECONDS)


# --- the start ---------------------------------------------------------------------------------------------


def test_it_is_attached_to_and_waited_for_before_it_starts(house: House) -> None:
    process = house.start("--env=TOKEN", "--label=a=b", TOKEN="canary")
    streams, waiting = house.engine.streams.get(timeout=SECONDS), house.engine.waits.get(timeout=SECONDS)
    found = list(house.engine.asked.queue)
    assert house.engine.requests() == [
        "POST /containers/create", "POST /containers/c0ffee/attach", "POST /containers/c0ffee/wait",
        "POST /containers/c0ffee/start",
    ]  # fmt: skip
    created = next(asked for asked in found if asked.path.endswith("create"))
    assert created.query == "name=metamcp-s-1" and created.body["Env"] == ["TOKEN=canary"]
    assert not any("canary" in f"{asked.path}{asked.query}{asked.headers}" for asked in found)
    assert (streams.headers["upgrade"], waiting.query) == ("tcp", "condition=removed")
    assert (process.container_id, process.pid) == ("c0ffee", None)
    house.do(process.close)


@pytest.mark.parametrize(
    ("word", "status", "said", "code"),
    [
        ("create", 400, "invalid mount config", 125),
        ("create", 409, "the name is in use", 125),
        ("create", 500, 'exec: "x": executable file not found in $PATH', 127),
        ("attach", 404, "No such container", 125),
        ("wait", 500, "something", 125),
        ("start", 400, 'OCI runtime: exec: "nope": executable file not found in $PATH: unknown', 127),
        ("start", 400, "OCI runtime: stat /x: no such file or directory", 127),
        ("start", 400, 'OCI runtime: exec: "/etc": permission denied', 126),
        ("start", 400, "exec: is a directory", 126),
        ("start", 500, "cgroups: cannot allocate", 125),
    ],
)
def test_what_the_engine_refuses_is_told_as_by_the_cli(
    house: House, word: str, status: int, said: str, code: int
) -> None:
    house.engine.script[word] = lambda asked: asked.answer(status, {"message": said})
    with pytest.raises(NotStarted) as caught:
        house.start()
    assert (caught.value.code, caught.value.text) == (code, f"docker: Error response from daemon: {said}")


def test_a_value_that_the_cli_refuses_does_not_reach_the_engine(house: House) -> None:
    with pytest.raises(NotStarted, match="IP address is not correctly formatted") as caught:
        house.start("--dns=nope")
    assert caught.value.code == 125 and house.engine.requests() == []


def test_an_engine_that_is_not_there_is_told_as_by_the_cli(house: House) -> None:
    house.client.api_version()  # so that it is the creation that fails
    house.engine.close()
    Path(house.engine.host.removeprefix("unix://")).unlink()
    with pytest.raises(NotStarted, match=r"Cannot connect to the Docker daemon at unix:.*No such file") as caught:
        house.start()
    assert caught.value.code == 125


def test_an_engine_that_hangs_up_is_told_as_by_the_cli(house: House) -> None:
    house.engine.script["create"] = lambda asked: asked.hang_up()
    with pytest.raises(NotStarted, match="error during connect") as caught:
        house.start()
    assert caught.value.code == 125


@pytest.mark.parametrize("word", ["create", "attach", "wait", "start"])
def test_a_start_that_is_given_up_does_not_wait_for_the_engine(house: House, word: str) -> None:
    asked = threading.Event()
    house.engine.script[word] = lambda _asked: asked.set()
    outcome: queue.Queue[NotStarted] = queue.Queue()

    def begin() -> None:
        with pytest.raises(NotStarted) as caught:
            house.start()
        outcome.put(caught.value)

    thread = threading.Thread(target=begin)
    thread.start()
    assert asked.wait(SECONDS)
    house.begin.give_up()
    refusal = outcome.get(timeout=SECONDS)
    assert (refusal.code, refusal.text) == (125, "")  # the engine is not to blame
    thread.join(SECONDS)


# --- an image that is not there ----------------------------------------------------------------------------


def absent_at_first(house: House, pulled: Callable[[Asked], None]) -> None:
    """The first creation finds no image; ``pulled`` answers the pull."""
    missing = [{"message": "No such image: image:1"}]

    def create(asked: Asked) -> None:
        if asked.path == "/images/create":
            pulled(asked)
        elif missing:
            asked.answer(404, missing.pop())
        else:
            asked.answer(201, {"Id": "c0ffee"})

    house.engine.script["create"] = create


def lines(*said: str) -> Callable[[Asked], None]:
    body = "".join(f"{line}\r\n" for line in said).encode()
    return lambda asked: asked.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def test_it_is_pulled_and_then_started(house: House) -> None:
    absent_at_first(house, lines('{"status": "Pulling"}', '{"status": "Done"}'))
    process = house.start("--platform=linux/amd64")
    asked = list(house.engine.asked.queue)
    (pull,) = [item for item in asked if item.path == "/images/create"]
    assert pull.query == "fromImage=image&tag=1&platform=linux%2Famd64"
    house.do(process.close)


def test_it_is_not_pulled_when_the_policy_says_never(house: House) -> None:
    absent_at_first(house, lines())
    with pytest.raises(NotStarted, match="No such image: image:1"):
        house.start("--pull=never")
    assert house.engine.requests() == ["POST /containers/create"]


def test_an_id_is_not_pulled(house: House) -> None:
    absent_at_first(house, lines())
    with pytest.raises(NotStarted, match="No such image"):
        house.start(image="sha256:" + "ab" * 32)
    assert house.engine.requests() == ["POST /containers/create"]


@pytest.mark.parametrize(
    "refused",
    [
        lines('{"error": "pull access denied for image"}'),
        lambda asked: asked.answer(404, {"message": "pull access denied"}),
    ],
)
def test_a_pull_that_fails_is_told_with_its_reason(house: House, refused: Callable[[Asked], None]) -> None:
    absent_at_first(house, refused)
    with pytest.raises(NotStarted) as caught:
        house.start()
    assert caught.value.code == 125
    assert caught.value.text.startswith("Unable to find image 'image:1' locally\ndocker: Error response from daemon: ")
    assert "pull access denied" in caught.value.text


def test_a_pull_that_is_given_up_ends(house: House) -> None:
    begun = threading.Event()

    def hang(asked: Asked) -> None:
        asked.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        begun.set()

    absent_at_first(house, hang)
    args = ["run", "--interactive", "--name=n1", "image:1"]
    house.runtime.start(LaunchPlan((), {}, "image:1", "n1", {}, (), run=parse("docker", args)), house.begin)
    assert begun.wait(SECONDS)
    house.begin.give_up()
    outcome = house.outcomes.get(timeout=SECONDS)
    assert isinstance(outcome, NotStarted) and (outcome.code, outcome.text) == (125, "")


# --- its life ----------------------------------------------------------------------------------------------


def test_both_streams_are_told_apart_and_input_arrives(house: House) -> None:
    process, streams, waiting = run(house)
    streams.say(frame(1, b"out") + frame(2, b"err"))
    assert (house.hear("out", 3), house.hear("err", 3)) == (b"out", b"err")
    os.write(process.stdin, b"question\n")
    assert streams.heard(9) == b"question\n"
    house.do(process.close_stdin)
    assert streams.heard(1) == b""  # the half of it that was ours
    streams.say(frame(1, b"farewell"))
    assert house.hear("out", 8) == b"farewell"
    streams.hang_up()
    waiting.say(ended(7))
    assert house.end() == 7
    house.do(process.close)


def test_the_last_words_come_before_the_end_also_when_the_engine_tells_that_first(house: House) -> None:
    process, streams, waiting = run(house)
    waiting.say(ended(0))
    house.do(lambda: None)
    streams.say(frame(1, b"last words"))
    assert house.hear("out", 10) == b"last words"
    streams.hang_up()
    assert house.end() == 0
    house.do(process.close)


def test_a_stream_that_does_not_end_holds_up_the_end_for_a_bounded_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attached_module, "LAST_WORDS_SECONDS", 0.05)
    process, _streams, waiting = run(house)
    waiting.say(ended(137))
    assert house.end() == 137
    house.do(process.close)


def test_an_end_that_comes_in_pieces_is_one(house: House) -> None:
    process, streams, waiting = run(house)
    streams.hang_up()
    for byte in ended(3):
        waiting.say(bytes([byte]))
    assert house.end() == 3
    house.do(process.close)


@pytest.mark.parametrize("said", [b"", b"5\r\nbogus\r\n0\r\n\r\n", ended(0, Error={"Message": "it is gone"})])
def test_an_engine_that_does_not_tell_the_end_is_told_as_by_the_cli(house: House, said: bytes) -> None:
    process, _streams, waiting = run(house)
    waiting.say(said)
    waiting.hang_up()
    assert b"error waiting for container: " in house.hear("err")
    assert house.end() == 125
    house.do(process.close)


def test_what_is_no_frame_ends_it(house: House) -> None:
    process, streams, _waiting = run(house)
    streams.say(b"a terminal says this" * 5_000)  # more than one chunk, less than a socket holds
    assert b"no frame" in house.hear("err")
    assert house.end() == 125
    house.do(process.close)


def test_sigterm_goes_through_the_engine(house: House) -> None:
    process, *_ = run(house)
    house.engine.requests()
    house.do(process.terminate)
    assert house.engine.asked.get(timeout=SECONDS).query == "signal=TERM"
    house.do(process.kill)
    assert house.end() == -9
    house.do(process.close)


def test_a_loud_server_does_not_starve_the_reactor(house: House) -> None:
    process, streams, _waiting = run(house)
    turns: list[int] = []
    house.do(lambda: house.reactor.call_every(0.001, lambda: turns.append(1)))
    whole = frame(1, b"x" * (1 << 20)) * 32
    writer = threading.Thread(target=streams.say, args=(whole,))
    writer.start()
    assert len(house.hear("out", 32 << 20)) == 32 << 20
    writer.join(SECONDS)
    assert len(turns) > 5
    house.do(process.close)


# --- which engines -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "tls", "reached"),
    [
        ("unix:///x.sock", None, True),
        ("tcp://h:2375", None, True),
        ("tcp://h:2376", TlsFiles("/certs", client=True, verify=True), False),
        ("ssh://h", None, False),
        ("npipe:////./pipe/docker_engine", None, False),
    ],
)
def test_only_connections_with_a_descriptor_of_their_own_bytes_serve(
    host: str, tls: TlsFiles | None, reached: bool
) -> None:
    assert can_reach(EngineAddress(host, "", tls)) is reached
