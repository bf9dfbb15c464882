"""One throw-away container through the real docker command line: what happened is observed here, judged elsewhere."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from metamcp.config.model import Limits
from metamcp.errors import EngineUnavailable
from metamcp.runtime.command.environment import for_docker
from metamcp.runtime.engine import Engine
from metamcp.runtime.labels import PROBE, Identity, container_labels, container_name

PROGRAM = ("python3", "-I", "-S", "-c", Path(__file__).with_name("inside.py").read_text(encoding="utf-8"))
"""It runs until its input ends, so that the container still runs while it is inspected."""

NO_NETWORK = ("--network", "none")

Question = Mapping[str, Any]
"""For ``inside.py``; JSON."""

Meanwhile = Callable[[Sequence[Mapping[str, Any]]], None]
"""Called with the answers while the container still runs. It has its own deadline."""

_LINE = b'{"jsonrpc":"2.0","method":"ping","id":"docker-test"}\n'
_STDERR_KEPT = 2000
_ANSWER_KEPT = 64 * 1024
_CLEAN_UP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ProbeRun:
    """``answers``: one for each question that was answered, in order. ``left`` are the containers that outlived their
    CLI by more than ``--rm`` allows; they are removed by now."""

    echoed: bool
    exit_code: int | None  # of the CLI; None: it had to be killed
    stderr: str
    inspected: Mapping[str, Any] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    answers: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class ProbeOrder:
    """``argv`` must give back each line of its input, but to a question its answer, until its input ends; its first
    word becomes the entrypoint."""

    image: str
    identity: Identity
    unique: str
    argv: Sequence[str] = PROGRAM
    limits: Limits = field(default_factory=Limits)
    network: Sequence[str] = NO_NETWORK  # flags of docker run
    questions: Sequence[Question] = ()

    def run_arguments(self) -> list[str]:
        """What follows ``docker``: the hardened defaults of docker.md section 3, without log."""
        flags = ["run", "-i", "--rm", "--init", "--name", container_name(PROBE, self.unique)]
        for key, value in container_labels(self.identity, PROBE, self.unique, PROBE).items():
            flags += ["--label", f"{key}={value}"]
        flags += ["--memory", str(self.limits.memory), "--memory-swap", str(self.limits.memory)]
        flags += ["--cpus", f"{self.limits.cpus:g}", "--pids-limit", str(self.limits.pids)]
        flags += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only", *self.network]
        flags += ["--log-driver", "none", "--pull", "never", "--entrypoint", self.argv[0]]
        return [*flags, self.image, *self.argv[1:]]


def run_probe(
    order: ProbeOrder,
    engine: Engine,
    docker_cli: Sequence[str],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    meanwhile: Meanwhile = lambda _answers: None,
) -> ProbeRun:
    """Start, echo one line, inspect, ask, ``meanwhile``, end of input, wait. Takes ``seconds`` at most, and then some
    to clean up.

    Raises EngineUnavailable when the engine stops to answer, and OSError when the CLI cannot be started.
    """
    until = clock() + seconds
    with tempfile.TemporaryFile() as stderr:  # a file: a full pipe would stop the container
        child = _start(order, engine, docker_cli, stderr)
        answers: list[dict[str, Any]] = []
        try:
            echoed = _exchange(child, _LINE, until, clock) == _LINE
            inspected = engine.inspect(container_name(PROBE, order.unique)) if echoed else None
            answers += _answers(child, order.questions if echoed else (), until, clock)
            meanwhile(answers)
            exit_code = _finish(child, until, clock)
        finally:
            _end(child)
            left = _remove_left(order, engine)
        stderr.seek(0)
        said = stderr.read(_STDERR_KEPT).decode("utf-8", "replace").strip()
    return ProbeRun(echoed, exit_code, said, inspected or {}, left, tuple(answers))


def _start(order: ProbeOrder, engine: Engine, docker_cli: Sequence[str], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*docker_cli, *order.run_arguments()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        bufsize=0,
        env=for_docker(os.environ, engine.address),
    )


def _exchange(child: subprocess.Popen[bytes], line: bytes, until: float, clock: Callable[[], float]) -> bytes:
    """The line that comes back for ``line``; less, and perhaps nothing, when the pipe ends or the time is over."""
    assert child.stdin is not None and child.stdout is not None  # noqa: S101 - for the type checker
    try:
        child.stdin.write(line)
    except BrokenPipeError:
        return b""
    return _read_line(child.stdout, until, clock)


def _answers(
    child: subprocess.Popen[bytes], questions: Sequence[Question], until: float, clock: Callable[[], float]
) -> list[dict[str, Any]]:
    """Up to the first question that is not answered as it should be."""
    found: list[dict[str, Any]] = []
    for question in questions:
        line = _exchange(child, json.dumps(question).encode() + b"\n", until, clock)
        try:
            answer = json.loads(line)
        except ValueError:
            break
        if not isinstance(answer, dict) or "ask" in answer:
            break  # some other program, which only echoes
        found.append(answer)
    return found


def _read_line(pipe: IO[bytes], until: float, clock: Callable[[], float]) -> bytes:
    """Up to and with the newline; what there is when the pipe ends or the time is over."""
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not line.endswith(b"\n") and len(line) < _ANSWER_KEPT and selector.select(max(0.0, until - clock())):
            chunk = pipe.read(_ANSWER_KEPT)
            if not chunk:
                break
            line += chunk
    return line


def _finish(child: subprocess.Popen[bytes], until: float, clock: Callable[[], float]) -> int | None:
    assert child.stdin is not None  # noqa: S101 - for the type checker
    child.stdin.close()
    try:
        return child.wait(max(0.0, until - clock()))
    except subprocess.TimeoutExpired:
        return None


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.kill()
    child.wait(_CLEAN_UP_SECONDS)
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


def _remove_left(order: ProbeOrder, engine: Engine) -> tuple[str, ...]:
    """Only what carries this very run's labels."""
    try:
        left = engine.containers(container_labels(order.identity, PROBE, order.unique, PROBE), all=True)
        for container in left:
            engine.remove(container.id)
    except EngineUnavailable:
        return ("unknown: the engine does not answer",)
    return tuple(container.name for container in left)
