"""Where the containers of checks run: all that they have in common."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from metamcp.config.model import Limits
from metamcp.runtime.diagnosis.advice import NO_CLI, advice
from metamcp.runtime.diagnosis.outcomes import CheckFailedError, Deadline
from metamcp.runtime.diagnosis.probe import (
    NO_NETWORK,
    PROGRAM,
    Means,
    Meanwhile,
    ProbeOrder,
    ProbeRun,
    Question,
    run_probe,
)
from metamcp.runtime.engine import Engine
from metamcp.runtime.labels import Identity


@dataclass(slots=True)
class Bench:
    """``image`` is "" until a check has chosen it. ``first``: the container of the round trip, for those that judge
    the same one."""

    engine: Engine
    means: Means
    identity: Identity
    time: Deadline
    limits: Limits = field(default_factory=Limits)
    argv: Sequence[str] = PROGRAM
    unique: Callable[[], str] = lambda: secrets.token_hex(4)
    image: str = ""
    first: ProbeRun | None = None

    @property
    def docker_host(self) -> str:
        return self.engine.docker_host

    @property
    def environment(self) -> dict[str, str]:
        """Of a docker command."""
        return self.means.dialect.environment(os.environ, self.engine.address)

    def run(
        self,
        questions: Sequence[Question],
        network: Sequence[str] = NO_NETWORK,
        meanwhile: Meanwhile = lambda _answers: None,
    ) -> ProbeRun:
        """One container. Raises CheckFailedError when there is no docker command where one is needed."""
        order = ProbeOrder(self.image, self.identity, self.unique(), self.argv, self.limits, network, questions)
        try:
            return run_probe(order, self.engine, self.means, self.time.left(), self.time.clock, meanwhile)
        except OSError as error:
            raise CheckFailedError(f"{' '.join(self.means.cli[:1])}: {error}", advice(NO_CLI, "")) from error

    def ask(
        self,
        questions: Sequence[Question],
        network: Sequence[str],
        meanwhile: Meanwhile = lambda _answers: None,
    ) -> ProbeRun:
        """One that answered everything. Raises CheckFailedError."""
        run = self.run(questions, network, meanwhile)
        if len(run.answers) < len(questions):
            detail = what_went_wrong(run)
            raise CheckFailedError(detail, advice(detail, self.docker_host))
        return run


def what_went_wrong(run: ProbeRun) -> str:
    ended = "it timed out" if run.exit_code is None else f"exit code {run.exit_code}"
    return f"{'the line came back' if run.echoed else 'the line did not come back'}, {ended}. {run.stderr}".strip()
