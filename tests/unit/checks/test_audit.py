"""The audit fails for what is vulnerable, says in red what it could not ask, and asks once a day."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import audit
import pytest

FINE = {"name": "flask", "version": "3", "vulns": []}
BAD = {"name": "old", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
UNKNOWN = {"name": "new", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def saying(*dependencies: dict[str, Any], status: int = 0) -> list[str]:
    """A command that reports this."""
    text = json.dumps({"dependencies": dependencies, "fixes": []})
    return [sys.executable, "-c", f"import sys; print({text!r}); sys.exit({status})"]


SILENT = [sys.executable, "-c", "import sys; sys.exit('no network')"]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "audit.json"


def test_vulnerable_package_fails_it_and_is_named(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.audit(kept, saying(FINE, BAD, status=1)) == 1
    assert "vulnerable: old 1: CVE-1, mended in 2" in capsys.readouterr().err


def test_answer_is_kept_for_these_packages(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert audit.audit(kept, saying(BAD)) == 1
    assert audit.audit(kept, saying(FINE)) == 1, "it was not asked again"
    monkeypatch.setattr(audit, "packages", lambda: "other==1")
    assert audit.audit(kept, saying(FINE)) == 0


@pytest.mark.parametrize(
    ("command", "text"),
    [(saying(FINE, UNKNOWN), "1 of 2"), (SILENT, "no network"), ([sys.executable, "-c", ""], "said nothing")],
)
def test_what_could_not_be_asked_is_said_in_red_and_is_no_failure(
    kept: Path, capsys: pytest.CaptureFixture[str], command: list[str], text: str
) -> None:
    assert audit.audit(kept, command) == 0
    said = capsys.readouterr().err
    assert said.startswith(audit.RED) and "NOT AUDITED" in said and text in said


def test_deadline_ends_it(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wait = [sys.executable, "-c", "import threading; threading.Event().wait(60)"]
    assert audit.audit(kept, wait, deadline=0.2) == 0
    assert "no answer within 0.2 s" in capsys.readouterr().err


def test_kept_answer_becomes_old_after_a_day_and_a_gap_after_an_hour(kept: Path) -> None:
    for dependency, seconds in ((FINE, 24 * 3600), (UNKNOWN, 3600)):
        kept.unlink(missing_ok=True)
        audit.audit(kept, saying(dependency))
        last = json.loads(kept.read_text())
        assert audit.recall(kept, last["key"], last["at"] + seconds - 1) is not None
        assert audit.recall(kept, last["key"], last["at"] + seconds + 1) is None
        assert audit.recall(kept, "another", last["at"]) is None


def test_damaged_file_is_no_answer(kept: Path) -> None:
    kept.write_text("{")
    assert audit.recall(kept, "k", 0.0) is None
