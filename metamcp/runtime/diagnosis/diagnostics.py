"""What /docker-test/* and ``doctor`` show: one list of checks, each with what to do when it fails."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from metamcp.config.engine_address import EngineAddress
from metamcp.errors import EngineUnavailable
from metamcp.runtime.diagnosis.advice import advice
from metamcp.runtime.diagnosis.checks.containers import ContainerChecks
from metamcp.runtime.diagnosis.checks.engine import EngineChecks
from metamcp.runtime.diagnosis.checks.images import ImageChecks
from metamcp.runtime.diagnosis.checks.networks import NetworkChecks
from metamcp.runtime.diagnosis.checks.proxies import ProxyChecks
from metamcp.runtime.diagnosis.outcomes import CheckFailedError, Deadline, NotApplicableError, Step
from metamcp.runtime.diagnosis.overview import version_json
from metamcp.runtime.engine import Engine
from metamcp.telemetry import logs

SECONDS = 40.0
"""For all checks together; a container that was begun is still cleared away after that."""

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
    engine_factory: Callable[[EngineAddress | str, float], Engine], address: EngineAddress | str, deadline: float = 2.0
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


@dataclass(frozen=True, slots=True)
class Themes:
    """All checks there are, by what they are about."""

    engine: EngineChecks
    images: ImageChecks
    containers: ContainerChecks
    networks: NetworkChecks
    proxies: ProxyChecks

    def steps(self) -> tuple[Step, ...]:
        """In the order of the report: what others need comes before them."""
        return (
            *self.engine.steps(), self.containers.command(), *self.images.steps(), *self.containers.steps(),
            *self.networks.steps(), *self.proxies.steps(),
        )  # fmt: skip


def run_checks(steps: Iterable[Step], time: Deadline, docker_host: str) -> list[Check]:
    """Every check in order; one whose precondition failed is "skip", and one that the deadline leaves no time for
    "fail"."""
    return list(_checks(steps, time, docker_host))


def only(steps: Sequence[Step], names: Collection[str]) -> list[Step]:
    """Those of ``names`` and what they need; all of them without names. Raises KeyError with a name of none."""
    known = {step.name: step for step in steps}
    wanted: set[str] = set()
    ahead = list(names)
    while ahead:
        step = known[ahead.pop()]
        wanted.add(step.name)
        ahead += [name for name in step.needs if name not in wanted]
    return [step for step in steps if step.name in wanted or not names]


def _checks(steps: Iterable[Step], time: Deadline, docker_host: str) -> Iterator[Check]:
    passed: dict[str, bool] = {}
    for step in steps:
        missing = [name for name in step.needs if not passed[name]]
        check = Check(step.name, "skip", 0.0, f"needs {missing[0]}") if missing else _check(step, time, docker_host)
        passed[step.name] = check.status == "pass" or (check.status == "skip" and not missing)
        yield check


def _check(step: Step, time: Deadline, docker_host: str) -> Check:
    begun = time.clock()
    status, detail, hint = _outcome(step, time, docker_host)
    return Check(step.name, status, time.clock() - begun, logs.redact(detail), logs.redact(hint))


def _outcome(step: Step, time: Deadline, docker_host: str) -> tuple[Status, str, str]:
    try:
        if not time.left():
            raise CheckFailedError("the deadline passed before this check", advice("timed out", docker_host))
        return "pass", step.act(), ""
    except NotApplicableError as error:
        return "skip", str(error), ""
    except CheckFailedError as error:
        return "fail", error.detail, error.hint
    except EngineUnavailable as error:
        return "fail", error.text, error.hint or advice(error.text, docker_host)
