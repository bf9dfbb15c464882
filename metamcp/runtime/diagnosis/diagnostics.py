"""What /docker-test/* and ``doctor`` show: one list of checks, each with what to do when it fails."""

from __future__ import annotations

import dataclasses
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from metamcp.config.engine_address import EngineAddress
from metamcp.config.model import Limits
from metamcp.errors import EngineUnavailable
from metamcp.runtime.diagnosis.advice import advice
from metamcp.runtime.diagnosis.checks import STEPS, CheckFailedError, NotApplicableError, Scene, Step, connect_unix
from metamcp.runtime.diagnosis.overview import info, version_json
from metamcp.runtime.diagnosis.probe import PYTHON_ECHO
from metamcp.runtime.engine import Engine
from metamcp.runtime.labels import Identity

__all__ = ["Check", "accessible", "info", "report", "run_checks"]

Status = Literal["pass", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class Check:
    """``seconds`` it took; ``hint`` is never empty when ``status`` is "fail"."""

    name: str
    status: Status
    seconds: float
    detail: str
    hint: str = ""


def report(checks: Sequence[Check]) -> dict[str, Any]:
    """The body of /docker-test/test. A check that was skipped because nothing asked for it is no failure."""
    return {
        "ok": all(check.status != "fail" for check in checks),
        "checks": [{**dataclasses.asdict(check), "seconds": round(check.seconds, 3)} for check in checks],
    }


# --- /docker-test/check ------------------------------------------------------------------------------------


def accessible(
    engine_factory: Callable[[EngineAddress | str, float], Engine], address: EngineAddress | str, deadline: float = 2.5
) -> dict[str, Any]:
    """The body of /docker-test/check, within ``deadline`` seconds whatever the engine does.

    The engine is asked in a thread of its own, which ends by its own deadlines when nobody waits for it any more.
    """
    answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def ask() -> None:
        answers.put(_ask(engine_factory(address, deadline * 0.8)))

    threading.Thread(target=ask, name="docker-check", daemon=True).start()
    try:
        return answers.get(timeout=deadline)
    except queue.Empty:
        text = f"no answer within {deadline:g} s from {address}"
        return {"accessible": False, "error": text, "hint": advice(text, str(address))}


def _ask(engine: Engine) -> dict[str, Any]:
    try:
        return {"accessible": True, "engine": version_json(engine.version())}
    except EngineUnavailable as error:
        return {"accessible": False, "error": error.text, "hint": error.hint}
    finally:
        engine.close()


# --- /docker-test/test -------------------------------------------------------------------------------------


def run_checks(
    engine: Engine,
    docker_host: str,
    image: str | None,
    identity: Identity,
    docker_cli: Sequence[str] = ("docker",),
    deadline: float = 30.0,
    probe_argv: Sequence[str] = PYTHON_ECHO,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    new_unique: Callable[[], str] = lambda: secrets.token_hex(4),
    clock: Callable[[], float] = time.monotonic,
    connect: Callable[[str, float], None] = connect_unix,
) -> list[Check]:
    """Every check in order; one whose precondition failed is "skip".

    ``image``: run a container of it (None: skip those checks). ``probe_argv`` must echo stdin line by line in that
    image until end of input; the default needs a ``python3``. ``deadline`` in seconds for all of them together.
    """
    scene = Scene(
        engine=engine,
        docker_host=docker_host,
        image=image,
        identity=identity,
        docker_cli=docker_cli,
        probe_argv=probe_argv,
        limits=limits,
        until=clock() + deadline,
        clock=clock,
        connect=connect,
        unique=new_unique(),
    )
    return list(_checks(scene, STEPS))


def _checks(scene: Scene, steps: Iterable[Step]) -> Iterator[Check]:
    passed: dict[str, bool] = {}
    for step in steps:
        missing = [name for name in step.needs if not passed[name]]
        check = Check(step.name, "skip", 0.0, f"needs {missing[0]}") if missing else _check(scene, step)
        passed[step.name] = check.status == "pass" or (check.status == "skip" and not missing)
        yield check


def _check(scene: Scene, step: Step) -> Check:
    begun = scene.clock()
    status, detail, hint = _outcome(scene, step)
    return Check(step.name, status, scene.clock() - begun, detail, hint)


def _outcome(scene: Scene, step: Step) -> tuple[Status, str, str]:
    try:
        if not scene.left():
            raise CheckFailedError("the deadline passed before this check", advice("timed out", scene.docker_host))
        return "pass", step.act(scene), ""
    except NotApplicableError as error:
        return "skip", str(error), ""
    except CheckFailedError as error:
        return "fail", error.detail, error.hint
    except EngineUnavailable as error:
        return "fail", error.text, error.hint
