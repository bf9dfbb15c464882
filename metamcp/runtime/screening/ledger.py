"""What is remembered of images over restarts: ``images.json`` in the state directory, for people to read, too."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metamcp.concurrency.saving import replace_file
from metamcp.runtime.screening.findings import Finding
from metamcp.telemetry import logs

FILE_NAME = "images.json"
MOST_REPORTS = 200
_log = logs.get("runtime.ledger")


@dataclass(frozen=True, slots=True)
class Record:
    """The image that a reference named when it was first used, or that an operator accepted."""

    id: str
    at: float  # Unix seconds


@dataclass(frozen=True, slots=True)
class Report:
    """Of one image under one way to look at it. ``unsigned``: why its signature does not count, "" where it does or
    none is asked for. ``unscanned``: why the external scanner gave no report."""

    findings: tuple[Finding, ...] = ()
    unsigned: str = ""
    unscanned: str = ""
    at: float = 0.0

    @property
    def complete(self) -> bool:
        """One that is not is made anew the next time."""
        return not self.unsigned and not self.unscanned


class Ledger:
    """May be used from every thread; its lock guards two mappings and the order in which they are written."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE_NAME
        self._lock = threading.Lock()
        self._records, self._reports = _recall(self._path)

    def record(self, reference: str) -> Record | None:
        return self._records.get(reference)

    def report(self, key: str) -> Report | None:
        return self._reports.get(key)

    def meet(self, reference: str, image: str, now: float) -> Record:
        """The record of ``reference``; the first image that it names becomes it. Blocks, when that is new."""
        known = self._records.get(reference)
        return known or self.accept(reference, image, now)

    def accept(self, reference: str, image: str, now: float) -> Record:
        """From now on ``image`` is what ``reference`` should name. Blocks."""
        with self._lock:
            record = self._records[reference] = Record(image, now)
            self._keep()
        return record

    def file(self, key: str, report: Report) -> None:
        """Blocks."""
        with self._lock:
            self._reports.pop(key, None)
            self._reports[key] = report
            for oldest in list(self._reports)[:-MOST_REPORTS]:
                del self._reports[oldest]
            self._keep()

    def _keep(self) -> None:
        document = {
            "references": {name: dataclasses.asdict(record) for name, record in self._records.items()},
            "reports": {key: dataclasses.asdict(report) for key, report in self._reports.items()},
        }
        try:
            replace_file(self._path, [json.dumps(document, indent=1).encode(), b"\n"])
        except OSError as error:
            _log.warning("images-not-kept", extra=logs.fields(file=FILE_NAME, error=str(error)))


def _recall(path: Path) -> tuple[dict[str, Record], dict[str, Report]]:
    """A file that cannot be used is told loudly: with it goes what the tags were."""
    try:
        document = json.loads(path.read_bytes())
        records = {name: Record(str(kept["id"]), float(kept["at"])) for name, kept in document["references"].items()}
        return records, {key: _report(kept) for key, kept in document["reports"].items()}
    except FileNotFoundError:
        return {}, {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.error("images-not-read", extra=logs.fields(file=FILE_NAME, error=str(error)))
        return {}, {}


def _report(kept: Mapping[str, Any]) -> Report:
    return Report(**{**kept, "findings": tuple(Finding(**finding) for finding in kept["findings"])})
