"""The measurement of the supervisor measures something: a real one, every answer compared."""

from __future__ import annotations

import json

import pytest

from bench import link


def test_a_short_run_has_figures(capsys: pytest.CaptureFixture[str]) -> None:
    link.main(["--seconds", "0.2", "--in-flight", "5", "--sessions", "2", "--workers", "3"])
    document, text = capsys.readouterr().out.splitlines()
    found = json.loads(document)
    assert (found["in_flight"], found["sessions"], found["workers"]) == (5, 2, 2)
    assert found["round_trips"] >= link.SLICE
    assert 0 < found["quiet_cpu_us"] <= found["cpu_us"] * 1.01
    assert f"{found['round_trips']} round trips" in text
