"""The file that remembers verdicts over restarts: ``eras.json`` in the state directory, for people to read, too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metamcp.concurrency.saving import replace_file
from metamcp.telemetry import logs
from metamcp.upstream.era import Verdict

FILE_NAME = "eras.json"
_log = logs.get("upstream.era_memory")


def recall(state_dir: Path) -> dict[str, Verdict]:
    """What was kept. Without it servers are only asked again, so a file that cannot be used is no error."""
    try:
        document = json.loads((state_dir / FILE_NAME).read_bytes())
        return {identity: _verdict(kept) for identity, kept in document.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("eras-not-read", extra=logs.fields(file=FILE_NAME, error=str(error)))
        return {}


def keep(state_dir: Path, verdicts: Mapping[str, Verdict]) -> None:
    """Replace the file as a whole. Blocks."""
    document = {identity: {"eras": verdict.eras, "at": verdict.at} for identity, verdict in verdicts.items()}
    try:
        replace_file(state_dir / FILE_NAME, [json.dumps(document, indent=2).encode(), b"\n"])
    except OSError as error:
        _log.warning("eras-not-kept", extra=logs.fields(file=FILE_NAME, error=str(error)))


def _verdict(kept: dict[str, Any]) -> Verdict:
    eras = tuple(kept["eras"])
    if not eras or not set(eras) <= {"legacy", "modern"}:
        raise ValueError(f"no eras: {eras}")
    return Verdict(eras, float(kept["at"]))
