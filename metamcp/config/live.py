"""The configuration in force: one object that everybody reads and a reload alone replaces."""

from __future__ import annotations

from collections.abc import Sequence

from metamcp.config.loader import Loaded
from metamcp.config.model import Allowlist, GatewayConfig


class Live:
    """Read by any thread; whoever needs two things of one configuration takes ``loaded`` once. Changed by the
    reactor's thread alone. ``problems`` are the mistakes of files that came later and were not taken over."""

    def __init__(self, loaded: Loaded, at: float) -> None:
        self.loaded = loaded
        self.loaded_at = at  # Unix seconds
        self.problems: tuple[tuple[str, str], ...] = ()

    @property
    def config(self) -> GatewayConfig:
        return self.loaded.config

    @property
    def allowlist(self) -> Allowlist:
        return self.loaded.allowlist

    def replace(self, loaded: Loaded, at: float) -> None:
        self.loaded, self.loaded_at, self.problems = loaded, at, ()

    def refuse(self, problems: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """The configuration stays; those of ``problems`` that are new."""
        known, self.problems = self.problems, tuple(problems)
        return tuple(problem for problem in self.problems if problem not in known)
