"""The official conformance suite against the gateway, with the fixture behind it: as a container where it speaks both
eras, else as a process, which says the same and starts ten times as fast."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conformance.fixture.catalog import TOOLS
from conformance.suite import HERE, Suite, problems, unexpected
from docker_engine import Engine
from gateway_process import ROOT, process_server, running_gateway

HANDSHAKE, STATELESS = "2025-11-25", "2026-07-28"
ERAS = ("legacy", "dual", "modern")
# The fixture's era and the client's revision: where they differ, the gateway has to translate.
RUNS = [(era, revision) for era in ERAS for revision in (HANDSHAKE, STATELESS)]
EXPECTED = tomllib.loads((HERE / "expected_failures.toml").read_text())
# The tasks extension is optional; the gateway offers no tasks.
NOT_OFFERED = "tasks-"

pytestmark = pytest.mark.timeout(420)


def process_of(era: str) -> dict[str, Any]:
    return {"command": sys.executable, "args": ["-I", "-S", str(ROOT / "tests/conformance/fixture"), "--era", era]}


def container_of(engine: Engine, era: str) -> dict[str, Any]:
    """The suite gives the first event of a call 600 ms, within which not every machine starts a container: some are
    kept ready."""
    arguments = ["run", "-i", engine.image, "/conformance", "--era", era]
    return {"command": "docker", "args": arguments, "network": "none", "warm": 4}


def report(suite: Suite, url: str, revision: str, run: str, folder: Path) -> list[str]:
    """Several scenarios have deadlines of the suite's own, the shortest 600 ms, and a busy machine pauses for longer.
    What fails three times does not fail for that."""
    expected = EXPECTED.get(f"{run} {revision}", {})
    scenarios = [scenario for scenario in suite.run(url, revision, folder) if not scenario.name.startswith(NOT_OFFERED)]
    for attempt in range(2):
        for place, scenario in enumerate(scenarios):
            if unexpected(scenario, expected):
                alone = folder / f"again-{attempt}-{scenario.name}"
                scenarios[place] = suite.again(url, revision, alone, scenario.name)
    return problems(scenarios, expected)


@pytest.mark.parametrize(("era", "revision"), RUNS)
def test_gateway_before_a_server_of_any_era_passes_every_scenario(
    engine: Engine, suite: Suite, tmp_path: Path, era: str, revision: str
) -> None:
    more = {
        "namespaces": {"alone": {"servers": ["fixture"], "prefix": False}},
        "endpoints": {"conformance": {"namespace": "alone"}},
    }
    servers = {"fixture": container_of(engine, era) if era == "dual" else process_of(era)}
    with running_gateway(tmp_path, servers, images=[engine.image], env=engine.env, **more) as gateway:
        found = report(suite, f"{gateway.url}/metamcp/conformance/mcp", revision, era, tmp_path / "results")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("revision", [HANDSHAKE, STATELESS])
def test_gateway_before_two_servers_passes_what_does_not_depend_on_prefixed_names(
    engine: Engine, suite: Suite, tmp_path: Path, revision: str
) -> None:
    # A tool can get its own name back, a prompt cannot.
    tools = {f"fixture__{name}": {"name": name} for name in TOOLS}
    more = {
        "namespaces": {"both": {"servers": ["fixture", "other"], "tools": tools}},
        "endpoints": {"conformance": {"namespace": "both"}},
    }
    servers = {"fixture": process_of("dual"), "other": process_server("good")}
    with running_gateway(tmp_path, servers, images=[engine.image], env=engine.env, **more) as gateway:
        found = report(suite, f"{gateway.url}/metamcp/conformance/mcp", revision, "beside", tmp_path / "results")
    assert not found, "\n".join(found)


def test_every_expectation_belongs_to_a_run() -> None:
    runs = {f"{run} {revision}" for run in (*ERAS, "beside") for revision in (HANDSHAKE, STATELESS)}
    assert set(EXPECTED) <= runs
