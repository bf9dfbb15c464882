"""The official MCP conformance suite: fetched once, run against a URL, its results judged scenario by scenario."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fetched import node_packages, run_node

HERE = Path(__file__).parent
PROGRAM = Path("node_modules/@modelcontextprotocol/conformance/dist/index.js")
LIST_SECONDS, RUN_SECONDS = 30, 180
FAILING = ("FAILURE", "WARNING")  # the suite's own baseline counts a warning as a failure, too


@dataclass(frozen=True, slots=True)
class Check:
    id: str
    status: str  # SUCCESS, FAILURE, WARNING, SKIPPED or INFO
    message: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """What came of one scenario. One that was not run has no checks."""

    name: str
    checks: tuple[Check, ...]


class Suite:
    """The suite at ``folder``, in the version of the lock file."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / PROGRAM

    def scenarios(self, revision: str) -> list[str]:
        """The names of the server scenarios for ``revision``, also those that count for nothing in its score."""
        listing = run_node(str(self._program), "list", "--requirements", revision, seconds=LIST_SECONDS)
        scored, _, unscored = listing.stdout.partition("never scored:")
        required = scored.partition("Server scenarios")[2].partition("Client scenarios")[0]
        return re.findall(r"(?m)^  - (\S+)$", required) + re.findall(r"(?m)^    - (\S+) \[server\]$", unscored)

    def run(self, url: str, revision: str, folder: Path) -> list[Scenario]:
        """Each scenario of ``revision`` against the server at ``url``; ``folder`` keeps what the suite writes."""
        found = self._results(url, folder, "--requirements", revision)
        return [Scenario(name, read_checks(found.get(name))) for name in self.scenarios(revision)]

    def again(self, url: str, revision: str, folder: Path, name: str) -> Scenario:
        """One scenario of ``revision``, alone."""
        found = self._results(url, folder, "--scenario", name, "--spec-version", revision)
        return Scenario(name, read_checks(found.get(name)))

    def _results(self, url: str, folder: Path, *which: str) -> dict[str, Path]:
        """By scenario."""
        arguments = ["server", "--url", url, *which, "-o", str(folder)]
        done = run_node(str(self._program), *arguments, seconds=RUN_SECONDS)
        (folder / "output.txt").write_text(done.stdout + done.stderr)
        # The folder of a scenario has its name and the time: server-tools-list-2026-01-02T03-04-05-678Z.
        return {re.sub(r"^server-|-\d{4}-\d\d-\d\dT.*", "", path.parent.name): path for path in results_in(folder)}


def results_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/checks.json"))


def read_checks(path: Path | None) -> tuple[Check, ...]:
    checks = json.loads(path.read_text()) if path else []
    return tuple(Check(check["id"], check["status"], check.get("errorMessage", "")) for check in checks)


def installed_suite() -> Suite:
    return Suite(node_packages(HERE))


# --- judged ------------------------------------------------------------------------------------------------


def problems(scenarios: Iterable[Scenario], expected: Mapping[str, str]) -> list[str]:
    """Every check that failed unexpectedly, every scenario that shows nothing, every stale expectation.

    ``expected``: ``scenario`` or ``scenario:check`` that fails -> why. An entry is stale when what it names is
    not there or does not fail.
    """
    unused = dict(expected)
    found = [problem for scenario in scenarios for problem in _judged(scenario, unused, expected)]
    return found + [f"{entry}: expected to fail ({reason}), but it does not" for entry, reason in unused.items()]


def unexpected(scenario: Scenario, expected: Mapping[str, str]) -> list[str]:
    """Every check of it that failed, and was not expected to."""
    return list(_judged(scenario, {}, expected))


def _judged(scenario: Scenario, unused: dict[str, str], expected: Mapping[str, str]) -> Iterator[str]:
    failures = [check for check in scenario.checks if check.status in FAILING]
    if not failures and not any(check.status == "SUCCESS" for check in scenario.checks):
        failures = [Check("nothing", "FAILURE", "no check of this scenario was made")]
    for check in failures:
        entries = [entry for entry in (scenario.name, f"{scenario.name}:{check.id}") if entry in expected]
        for entry in entries:
            unused.pop(entry, None)
        if not entries:
            yield f"{scenario.name}:{check.id} {check.status} {check.message}"
