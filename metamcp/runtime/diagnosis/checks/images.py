"""Is there an image to try the engine with, and may and can the configured servers have theirs?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metamcp.errors import EngineUnavailable
from metamcp.runtime.diagnosis.advice import advice
from metamcp.runtime.diagnosis.bench import Bench
from metamcp.runtime.diagnosis.outcomes import CheckFailedError, NotApplicableError, Step
from metamcp.runtime.pulling import TIMED_OUT

_NAME_ONE = "Set METAMCP_TEST_IMAGE to an image with a python3 that the engine has or can fetch."


class NoImageError(Exception):
    """There is no image to choose, and none could be made; the text says why."""


@dataclass(frozen=True, slots=True)
class ServerImage:
    """What a start of ``server`` would ask the engine for. ``refused``: why it may not; ``note``: what else is to be
    said about it."""

    server: str
    reference: str
    refused: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class ImageChecks:
    """``wanted``: the operator's own test image, or "". ``choose(seconds)`` gives another one, and why that one; it may
    make it. It raises NoImageError and EngineUnavailable. ``servers``: asked when it is needed."""

    bench: Bench
    wanted: str
    choose: Callable[[float], tuple[str, str]]
    servers: Callable[[], Sequence[ServerImage]]

    def steps(self) -> tuple[Step, ...]:
        return (
            Step("images-allowed", self._allowed),
            Step("images-present", self._present, ("engine",)),
            Step("image", self._image, ("engine",)),
        )

    def _allowed(self) -> str:
        servers = self._servers()
        refused = [item for item in servers if item.refused]
        if refused:
            detail = "; ".join(f"{item.server}: {item.refused}" for item in refused)
            hint = "python -m metamcp explain SERVER shows each decision with its rule; allowlist.json decides."
            raise CheckFailedError(detail, hint)
        return "; ".join(f"{item.server}: {item.reference}{item.note and f' ({item.note})'}" for item in servers)

    def _present(self) -> str:
        servers = [item for item in self._servers() if not item.refused]
        missing = [item for item in servers if self.bench.engine.image(item.reference) is None]
        if missing:
            names = sorted({item.reference for item in missing})
            detail = "; ".join(f"{item.server}: {item.reference} is not on the engine" for item in missing)
            hint = (
                f"docker pull {' '.join(names)}, or build or load them there: a first start that has to fetch its "
                "image seldom does so within timeouts.start."
            )
            raise CheckFailedError(detail, hint)
        return f"{len(servers)} server(s) have their image"

    def _image(self) -> str:
        """The container of a check needs one, and everything after this needs the container."""
        reference, why = (self.wanted, "METAMCP_TEST_IMAGE") if self.wanted else self._chosen()
        found = self.bench.engine.image(reference)
        if found is None and self.wanted:
            self._pull(reference)
            found, why = self.bench.engine.image(reference), f"{why}, fetched now"
        if found is None:
            hint = advice("No such image", self.bench.docker_host)
            raise CheckFailedError(f"{reference} ({why}) is not on the engine", hint)
        self.bench.image = reference
        return f"{reference} ({why}): {found.id[:19]}, {found.size // 1_000_000} MB, {found.architecture}"

    def _chosen(self) -> tuple[str, str]:
        try:
            return self.choose(self.bench.time.left())
        except NoImageError as error:
            raise CheckFailedError(f"there is no image to try: {error}", _NAME_ONE) from error

    def _pull(self, reference: str) -> None:
        try:
            with self.bench.engine.pull(reference) as pull:
                problem = pull.follow(self.bench.time.left())
        except EngineUnavailable as error:
            problem = error.text
        if problem.endswith(TIMED_OUT):
            hint = f"Fetch it beforehand: docker pull {reference}, or name another one in METAMCP_TEST_IMAGE."
            raise CheckFailedError(f"{reference} is not on the engine: {problem}", hint)
        if problem:
            hint = advice(f"unable to find image {reference}\n{problem}", self.bench.docker_host)
            raise CheckFailedError(f"{reference} is not on the engine and cannot be fetched: {problem}", hint)

    def _servers(self) -> list[ServerImage]:
        found = list(self.servers())
        if not found:
            raise NotApplicableError("no configured server is a container")
        return found
