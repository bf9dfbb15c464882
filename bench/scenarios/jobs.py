"""What a load does again and again, and sessions that do it for some seconds."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.accounting.slices import Slicer
from bench.client.session import FAILURES, NOW, CallError, Json, Session, text_of, why

TOOLS = ("echo", "big", "list")
ALPHABET = "The quick brown fox jumps over the lazy dog 0123456789. "
_MOST_FAILURES_IN_A_ROW = 5
_SHOWN = 300


def text(size: int, mark: int = 0) -> str:
    """``size`` characters; those of another ``mark`` differ, if there is room for it."""
    beginning = f"{mark} "
    return (beginning + ALPHABET * (size // len(ALPHABET) + 1))[:size]


class Job:
    """``echo`` sends and gets ``size`` bytes, ``big`` gets as many, ``list`` asks for the tools.

    The texts of each ``mark`` are its own, so that the answer to another session is found out.
    """

    def __init__(self, tool: str, size: int, mark: int = 0) -> None:
        self._tool, self._size = tool, size
        self._arguments: Json = {"bytes": size} if tool == "big" else {"text": text(size, mark)}

    async def run(self, session: Session) -> float:
        """Seconds until the answer came. Raises CallError, with the kind ``wrong-result`` where it is not the own."""
        if self._tool == "list":
            took, result = await session.request("tools/list")
            right = bool(result.get("tools"))
        else:
            took, result = await session.call(self._tool, self._arguments)
            answer = text_of(result)
            right = len(answer) == self._size if self._tool == "big" else answer == self._arguments["text"]
        if not right:
            raise CallError("wrong-result")
        return took


@dataclass
class Outcome:
    """``latencies`` of the calls that succeeded, in seconds; ``examples`` say what a kind of failure was."""

    latencies: list[float] = field(default_factory=list)
    failures: collections.Counter[str] = field(default_factory=collections.Counter)
    examples: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def failed(self, error: BaseException) -> None:
        kind = getattr(error, "kind", type(error).__name__)
        self.failures[kind] += 1
        self.examples.setdefault(kind, why(error)[:_SHOWN])

    def failure_report(self) -> Json:
        return {"failures": dict(self.failures), "failure_examples": self.examples} if self.failures else {}


async def drive(jobs: Mapping[Session, Job], seconds: float, slicer: Slicer | None = None) -> Outcome:
    """All sessions do their jobs in a loop, one call at a time each. One that fails again and again stops."""
    outcome = Outcome()
    begun = NOW()
    deadline = begun + seconds

    async def work(session: Session, job: Job) -> None:
        in_a_row = 0
        while NOW() < deadline and in_a_row < _MOST_FAILURES_IN_A_ROW:
            try:
                outcome.latencies.append(await job.run(session))
            except FAILURES as error:
                outcome.failed(error)
                in_a_row += 1
                continue
            in_a_row = 0
            if slicer is not None:
                slicer.call()

    await asyncio.gather(*(work(session, job) for session, job in jobs.items()))
    outcome.seconds = NOW() - begun
    return outcome
