"""What a check is, and how it says what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class CheckFailedError(Exception):
    """``hint`` says what to do; it is never empty."""

    def __init__(self, detail: str, hint: str) -> None:
        super().__init__(detail)
        self.detail, self.hint = detail, hint


class NotApplicableError(Exception):
    """Nothing to check here; the text says why."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """``until`` is a time of ``clock``."""

    clock: Callable[[], float]
    until: float

    def left(self) -> float:
        """Seconds, none below zero."""
        return max(0.0, self.until - self.clock())


@dataclass(frozen=True, slots=True)
class Step:
    """``act`` returns the detail, or raises one of the above or EngineUnavailable. ``needs``: checks that have to have
    passed, or to have nothing to say."""

    name: str
    act: Callable[[], str]
    needs: tuple[str, ...] = ()
