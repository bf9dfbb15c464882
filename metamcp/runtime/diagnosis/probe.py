"""One throw-away container, started as servers are: what happened is observed here, judged elsewhere."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metamcp.config.model import Limits
from metamcp.errors import EngineUnavailable
from metamcp.runtime.command.dialect import DOCKER, Dialect
from metamcp.runtime.command.grammar import parse
from metamcp.runtime.command.launch import LaunchPlan
from metamcp.runtime.diagnosis.talk import Talk
from metamcp.runtime.engine import Engine
from metamcp.runtime.labels import PROBE, Identity, container_labels, container_name
from metamcp.runtime.policy.limits import DEFAULT_FILES
from metamcp.runtime.process.interface import NotStarted, Runtime
from metamcp.runtime.process.os_process import CommandLine

PROGRAM = ("python3", "-I", "-S", "-c", Path(__file__).with_name("inside.py").read_text(encoding="utf-8"))
"""It runs until its input ends, so that the container still runs while it is inspected."""

NO_NETWORK = ("--network", "none")

Question = Mapping[str, Any]
"""For ``inside.py``; JSON."""

Meanwhile = Callable[[Sequence[Mapping[str, Any]]], None]
"""Called with the answers while the container still runs. It has its own deadline."""

_LINE = b'{"jsonrpc":"2.0","method":"ping","id":"docker-test"}\n'
_STDERR_KEPT = 2000


@dataclass(frozen=True, slots=True)
class Means:
    """How containers are started. ``cli``: how the engine's command line is called; empty where it is not."""

    runtime: Runtime = field(default_factory=CommandLine)
    dialect: Dialect = DOCKER
    cli: Sequence[str] = ("docker",)


@dataclass(frozen=True, slots=True)
class ProbeRun:
    """``answers``: one for each question that was answered, in order. ``left`` are the containers that outlived their
    end by more than ``--rm`` allows; they are removed by now."""

    echoed: bool
    exit_code: int | None  # None: it had to be killed
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
        flags += ["--ulimit", f"nofile={DEFAULT_FILES}", "--ulimit", "core=0"]
        flags += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only", *self.network]
        flags += ["--log-driver", "none", "--pull", "never", "--entrypoint", self.argv[0]]
        return [*flags, self.image, *self.argv[1:]]

    def plan(self, means: Means, engine: Engine) -> LaunchPlan:
        run = parse("docker", self.run_arguments())
        argv = (*means.cli, *means.dialect.spell(run)[1:])
        environment = means.dialect.environment(os.environ, engine.address)
        return LaunchPlan(argv, environment, self.image, container_name(PROBE, self.unique), {}, (), run=run)


def run_probe(
    order: ProbeOrder,
    engine: Engine,
    means: Means,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    meanwhile: Meanwhile = lambda _answers: None,
) -> ProbeRun:
    """Start, echo one line, inspect, ask, ``meanwhile``, end of input, wait. Takes ``seconds`` at most, and then some
    to clean up.

    Raises EngineUnavailable when the engine stops to answer, and OSError when the command line cannot be started.
    """
    until, name = clock() + seconds, container_name(PROBE, order.unique)
    inspected: Mapping[str, Any] | None = None
    answers: list[dict[str, Any]] = []
    echoed, exit_code, said = False, None, ""
    try:
        talk = Talk(means.runtime, order.plan(means, engine), seconds)
        with closing(talk):
            echoed = talk.say(_LINE, until - clock()) == _LINE
            inspected = engine.inspect(name) if echoed else None
            answers += _answers(talk, order.questions if echoed else (), until, clock)
            meanwhile(answers)
            exit_code = talk.finish(until - clock())
        said = talk.stderr
    except NotStarted as refusal:
        exit_code, said = refusal.code, refusal.text
    finally:
        left = _remove_left(order, engine)
    return ProbeRun(echoed, exit_code, said[:_STDERR_KEPT].strip(), inspected or {}, left, tuple(answers))


def _answers(
    talk: Talk, questions: Sequence[Question], until: float, clock: Callable[[], float]
) -> list[dict[str, Any]]:
    """Up to the first question that is not answered as it should be."""
    found: list[dict[str, Any]] = []
    for question in questions:
        line = talk.say(json.dumps(question).encode() + b"\n", until - clock())
        try:
            answer = json.loads(line)
        except ValueError:
            break
        if not isinstance(answer, dict) or "ask" in answer:
            break  # some other program, which only echoes
        found.append(answer)
    return found


def _remove_left(order: ProbeOrder, engine: Engine) -> tuple[str, ...]:
    """Only what carries this very run's labels."""
    try:
        left = engine.containers(container_labels(order.identity, PROBE, order.unique, PROBE), all=True)
        for container in left:
            engine.remove(container.id)
    except EngineUnavailable:
        return ("unknown: the engine does not answer",)
    return tuple(container.name for container in left)
