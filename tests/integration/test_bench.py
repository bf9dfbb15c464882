"""The benchmark measures a real gateway and its own null server: every call succeeds, and the figures are there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gateway_process import ROOT, running_gateway

SERVER = str(ROOT / "bench/server/benchserver.py")
SERVERS = {"bench": {"command": sys.executable, "args": ["-I", "-S", SERVER, "--tools", "10"]}}
SHORT = ("--duration", "0.6", "--warmup", "0.1", "--retries", "0")


def bench(tmp_path: Path, command: str, *options: str) -> dict[str, Any]:
    out = tmp_path / f"{command}.json"
    argv = [sys.executable, "-m", "bench", command, "--out", str(out), *options]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    assert json.loads(done.stdout) == found
    return found


def assert_measured(stages: list[dict[str, Any]], concurrency: list[int], sessions: int) -> None:
    assert [stage["concurrency"] for stage in stages] == concurrency
    for stage in stages:
        assert stage["sessions"] == max(sessions, stage["concurrency"])
        assert "failures" not in stage and stage["foreign_messages"] == 0
        assert stage["calls"] > 0 and stage["calls_per_second"] > 0
        assert 0 < stage["p50_ms"] <= stage["p90_ms"] <= stage["p99_ms"] <= stage["max_ms"]
        assert stage["cpu_ms_per_call"]["peer"] >= 0 and stage["cpu_ms_per_call"]["load-generator"] >= 0
        assert stage["quiet_cpu_ms_per_call"]["peer"] > 0 and stage["quiet_calls_per_second"] > 0
        assert 0 <= stage["pauses"]["share"] <= 1
        assert stage["memory_mib"]["peer"]["peak_rss"] > 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("transport", "path"), [("http", "/metamcp/default/mcp"), ("sse", "/metamcp/default/sse")])
def test_a_real_gateway_is_measured(transport: str, path: str, tmp_path: Path) -> None:
    with running_gateway(tmp_path, SERVERS, workers=2) as gateway:
        whom = ("--transport", transport, "--url", gateway.url + path, "--tool-prefix", "bench__",
                "--pid", str(gateway.process.pid))  # fmt: skip
        found = bench(
            tmp_path, "load", *whom, "-c", "1,4", "--payload", "100", "--sessions", "6", "--idle-clients", "3", *SHORT
        )
        assert found["notes"] == [{"idle_clients": 3, "open_failures": {}}]
        assert_measured(found["stages"], [1, 4], sessions=6)

        held = bench(tmp_path, "idle", *whom, "--clients", "4", "--hold", "0.3")["stages"]
        assert [(stage["connected"], stage["alive"]) for stage in held] == [(4, "4 of 4")]

        heavy = bench(tmp_path, "large", *whom, "--sizes", "300000", "-c", "2", "--duration", "0.5", "--others", "2",
                      "--notifications", "200", "--slow-bytes-per-second", "60000")  # fmt: skip
        assert all(stage["calls"] > 0 and "failures" not in stage for stage in heavy["answers"])
        assert heavy["progress"]["received"] == 200 and heavy["progress"]["failure"] == ""
        assert heavy["slow"]["during"]["calls"] > 0 and 0 < heavy["slow"]["read_bytes_per_second"] < 200_000


def test_the_generator_measures_itself(tmp_path: Path) -> None:
    found = bench(tmp_path, "selftest", "-c", "1,4", "--payload", "100", *SHORT)
    for kind in ("json", "sse"):
        assert_measured(found[kind]["stages"], [1, 4], sessions=0)


def test_servers_without_a_gateway_are_measured(tmp_path: Path) -> None:
    whom = ("--transport", "stdio", "--url", f"{sys.executable} -I -S {SERVER}", "--self")
    assert_measured(bench(tmp_path, "load", *whom, "-c", "1,4", "--payload", "100", *SHORT)["stages"], [1, 4], 0)
    first = bench(tmp_path, "first", *whom, "--count", "2", "--rest", "0")
    assert len(first["runs_ms"]) == 2 and first["failures"] == []
