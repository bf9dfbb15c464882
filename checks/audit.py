"""Are there known vulnerabilities in what is installed? ``python checks/audit.py``; exit 1 when there are.

Asks pip-audit about every package of this environment. The answer is kept for a day, by the packages. Where nobody can
be asked within the deadline, or does not know a package, as mirrors of the registry do, a red line says so: that is no
failure, for it would stop work without a network, and it is asked again after an hour.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 25.0
KEPT_SECONDS, GAP_SECONDS = 24 * 3600.0, 3600.0
COMMAND = (
    sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--timeout=5", "--skip-editable",
)  # fmt: skip
RED, PLAIN = "\033[1;31m", "\033[0m"


@dataclass(frozen=True)
class Answer:
    """``found``: one line for each vulnerability; ``gap``: why not everything was audited, empty when it was."""

    found: list[str]
    gap: str


def packages() -> str:
    """Names and versions of all that is installed here."""
    return "\n".join(sorted(f"{found.name}=={found.version}" for found in importlib.metadata.distributions()))


def ask(command: Sequence[str], deadline: float) -> Answer:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=deadline, check=False)
    except subprocess.TimeoutExpired:
        return Answer([], f"no answer within {deadline:g} s")
    try:
        return read(json.loads(done.stdout))
    except ValueError:
        return Answer([], (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:200])


def read(document: dict[str, Any]) -> Answer:
    """Of pip-audit's report. A package that it skipped was not audited, whatever its exit status says."""
    dependencies = document["dependencies"]
    found = [
        f"{package['name']} {package['version']}: {known['id']}, mended in {', '.join(known['fix_versions']) or 'none'}"
        for package in dependencies
        for known in package.get("vulns", ())
    ]
    skipped = sum("skip_reason" in package for package in dependencies)
    return Answer(found, f"{skipped} of {len(dependencies)} are not known where it was asked" if skipped else "")


def audit(kept: Path, command: Sequence[str] = COMMAND, deadline: float = DEADLINE_SECONDS) -> int:
    """The exit status. ``kept`` is the file with the last answer."""
    key = hashlib.sha256(packages().encode()).hexdigest()
    answer = recall(kept, key, time.time())
    if answer is None:
        answer = ask(command, deadline)
        kept.write_text(json.dumps({"key": key, "at": time.time(), **asdict(answer)}))
    for line in answer.found:
        print(f"vulnerable: {line}", file=sys.stderr)
    if answer.gap:
        print(f"{RED}PACKAGES WERE NOT AUDITED: {answer.gap}{PLAIN}", file=sys.stderr)
    return 1 if answer.found else 0


def recall(kept: Path, key: str, now: float) -> Answer | None:
    """The last answer, unless it is too old or was about other packages."""
    try:
        last = json.loads(kept.read_text())
        answer = Answer(last["found"], last["gap"])
        age = now - last["at"]
    except (OSError, ValueError, KeyError):
        return None
    limit = GAP_SECONDS if answer.gap else KEPT_SECONDS
    return answer if last["key"] == key and 0 <= age < limit else None


if __name__ == "__main__":
    sys.exit(audit(Path(sys.prefix) / "audit.json"))
