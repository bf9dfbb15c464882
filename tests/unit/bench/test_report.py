"""Tables of medians from files of results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.report import median, read, report


def stage(concurrency: int, p50: float, calls: float, cpu: float) -> dict[str, Any]:
    return {
        "tool": "echo", "payload": 100, "concurrency": concurrency, "p50_ms": p50, "p99_ms": 2 * p50,
        "calls_per_second": calls, "quiet_calls_per_second": 2 * calls, "quiet_cpu_ms_per_call": {"peer": cpu / 2},
        "cpu_ms_per_call": {"peer": cpu, "engine": 0.25, "containers": 0.5}, "pauses": {"share": 0.1},
        "memory_mib": {"all": {"peak_rss": 150.0}}, "containers": 1, "failures": {"timeout": 1},
    }  # fmt: skip


def write(folder: Path, name: str, document: dict[str, Any]) -> None:
    (folder / f"{name}.json").write_text(json.dumps(document))


def cells(text: str, peer: str) -> dict[str, str]:
    """The row of a peer by the heads of its table; of heads that are there twice the first one."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    heads = lines[0]
    row = next(line for line in lines if line[0] == peer)
    return dict(reversed(list(zip(heads, row, strict=True))))


def test_loads_are_medians_over_rounds_and_differences_are_taken_within_a_round(tmp_path: Path) -> None:
    for number, (base, own) in enumerate([(1.0, 2.0), (5.0, 5.5), (2.0, 4.0)], 1):
        write(tmp_path, f"load-direct-api-r{number}", {"stages": [stage(1, base, 1000, 0)]})
        stages = [stage(1, own, 500, 1.0), stage(8, own, 800 + number, 0.8)]
        write(tmp_path, f"load-my-peer-r{number}", {"stages": stages})
    row = cells(report(tmp_path), "my-peer")
    assert row["p50 / p99 ms @1"] == "4.00 / 8.0"
    assert row["added p50 over direct-api"] == "1.00"
    assert row["calls/s @8"] == "802" and row["calls/s @64"] == "-"
    assert (row["CPU ms/call @8"], row["quiet CPU @8"], row["docker CLI CPU @8"]) == ("0.80", "0.40", "-")
    assert (row["engine+containers CPU @8"], row["peak RSS MiB"], row["containers"]) == ("0.75", "150", "1")
    assert (row["failed calls"], row["rounds"], row["paused %"]) == ("6", "3", "10")


def test_what_is_not_there_is_a_dash(tmp_path: Path) -> None:
    assert median([]) == median([None]) == "-"
    assert (median([1.234, None]), median([99.96, 101]), median([3.0], 0)) == ("1.2", "100", "3")
    assert report(tmp_path) == ""


def test_files_are_told_apart_by_scenario_peer_and_round(tmp_path: Path) -> None:
    write(tmp_path, "first-a-b-r12", {"runs_ms": []})
    write(tmp_path, "other-a-r1", {})
    assert read(tmp_path) == {"first": {"a-b": {12: {"runs_ms": []}}}}


def test_every_scenario_has_its_table(tmp_path: Path) -> None:
    parts = {"all": {"rss": 100.0, "pss": 80.0, "peak_rss": 120.0}, "peer": {"rss": 90.0, "peak_rss": 110.0}}
    held = {
        "connected": 2, "open_seconds": 1.0, "rss_kib_per_client": 70.0, "pss_kib_per_client": 60.0,
        "cpu_percent_while_idle": {"peer": 1.0}, "quiet_cpu_percent_while_idle": {"peer": 0.5}, "memory_mib": parts,
    }  # fmt: skip
    calls = {"calls_per_second": 9.0, "p50_ms": 1.0, "p99_ms": 2.0}
    write(tmp_path, "first-p-r1", {"runs_ms": [[1, 900.0], [1, 20.0], [1, 30.0]], "failures": [], "ready_seconds": 3.5})
    write(tmp_path, "idle-p-r1", {"stages": [{"clients": 2, "alive": "2 of 2", **held}]})
    write(tmp_path, "sessions-p-r1", {**held, "after_close": {"memory_mib": parts}})
    answers = [{"bytes": 7, "concurrency": 1, "megabytes_per_second": 5.0, "memory_mib": parts, **calls}]
    flood = {
        "sent": 5,
        "received": 5,
        "per_second": 99.0,
        "delay_p50_ms": 1.0,
        "delay_p99_ms": 2.0,
        "memory_mib": parts,
    }
    slow = {"before": calls, "during": calls, "memory_before_mib": parts, "memory_mib": parts}
    write(tmp_path, "large-p-r1", {"answers": answers, "progress": flood, "slow": slow})
    steady = {
        "seconds": 60.0, "calls": 900, "sessions_opened": 70, "p50_ms": 1.0, "p99_ms": 2.0, "base_memory_mib": parts,
        "parts": [{"until_seconds": 10.0, "rss": 101.0}, {"until_seconds": 20.0, "rss": 102.4}], "failures": {"x": 2},
        "growth_mib": {"rss": 1.4}, "cpu_ms_per_call": {"peer": 0.25},
    }  # fmt: skip
    write(tmp_path, "steady-p-r1", steady)
    write(tmp_path, "lifecycle-p-r1", {"when": "now", "kill": {"killed": 1}})
    text = report(tmp_path)
    for row in (
        "| p | 3.50 | 900 | 25.0 | 30 | 0 | 1 |",
        "| p | 2 | 2 of 2 | 2 | 1.0 | 70.0 | 60.0 | 100 | 1.00 | 0.50 | - |",
        "| p | 2 | 1.0 | 70.0 | 60.0 | 100 | 1.00 | 0.50 | - | 80.0 |",
        "| p | 7 | 1 | 5.0 | 1.0 | - | 110 | 0 |",
        "| p | 5.0 | 5.0 | 99.0 | 1.0 | 2.0 | - | 110 |",
        "| p | 1.0 | 1.0 | 2.0 | 2.0 | 9.0 | 9.0 | 90.0 | 110 |",
        "| p | 60.0 | 900 | 70 | 1.0 | 2.0 | 0.25 | 100.0 | 101 102 | 1.4 | 2 |",
        '- p, kill: `{"killed": 1}`',
    ):
        assert row in text, text
