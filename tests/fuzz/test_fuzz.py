"""Fuzzing with coverage (atheris): a few seconds each here, FUZZ_SECONDS in ``make nightly``.

An input that breaks something is written to ``var/fuzz`` and printed; put it into ``corpus`` once it is mended.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.targets import LIMIT, TARGETS, argv, frames

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SECONDS = int(os.environ.get("FUZZ_SECONDS", "3"))
ONE_INPUT_SECONDS = 5
"""An input that takes longer hangs."""

KNOWN = sorted((HERE / "corpus").glob("*/*"))


@pytest.mark.parametrize("path", KNOWN, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_known_input_is_handled(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


def test_every_target_has_a_corpus() -> None:
    assert {path.parent.name for path in KNOWN} == set(TARGETS)


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("target", TARGETS)
def test_no_input_breaks_it(target: str, tmp_path: Path) -> None:
    found = ROOT / "var" / "fuzz"
    found.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={SECONDS}", "-seed=20260728", "-max_len=4096", f"-timeout={ONE_INPUT_SECONDS}",
               f"-artifact_prefix={found}/{target}-", "-rss_limit_mb=2048"]  # fmt: skip
    # New inputs go to the first folder, which is the test's own.
    argv = [sys.executable, "-m", "fuzz", target, *options, str(tmp_path), str(HERE / "corpus" / target)]
    done = subprocess.run(
        argv, env={**os.environ, "PYTHONPATH": f"{HERE.parent}:{ROOT}"}, capture_output=True, text=True,
        timeout=SECONDS + 100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert "cov:" in done.stderr, "it measures coverage"
    assert "DONE" in done.stderr


def test_a_policy_that_lets_something_through_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets can fail: an independent check that refuses everything stands for a policy that allows it."""
    monkeypatch.setattr("fuzz.targets.obeys", lambda *_given, **_setting: False)
    with pytest.raises(AssertionError, match="escapes"):
        argv(b"\0run\nimage")


def test_frame_over_the_limit_is_a_refusal_and_no_crash() -> None:
    frames((LIMIT + 1).to_bytes(4, "big") + b"x")
