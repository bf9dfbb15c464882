"""The checks of /docker-test/* and of ``doctor`` against a real engine and the real docker command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metamcp.config.model import Allowance, Allowlist, GatewayConfig, ImageRule, Limits, ServerSpec
from metamcp.runtime.diagnosis.diagnostics import Check, accessible, info, report, run_checks
from metamcp.runtime.engine import Engine
from metamcp.runtime.labels import INSTANCE, Identity, container_labels, container_name

pytestmark = pytest.mark.engine

ME = Identity("test-diagnostics", "now")
ALL = ["socket", "socket-permissions", "engine", "api-version", "docker-cli"]
ALL += ["image", "round-trip", "limits", "removed", "orphans"]

# The docker command line without one of its flags.
LOSING_DOCKER = """
import os, sys
dropped, values, *args = sys.argv[1:]
if dropped in args:
    at = args.index(dropped)
    del args[at : at + 1 + int(values)]
os.execvp("docker", ["docker", *args])
"""


@pytest.fixture
def asked(engine: Any) -> Iterator[Engine]:
    """The client under test; afterwards none of its containers may be left."""
    with Engine(engine.host) as client:
        yield client
        left = client.containers({INSTANCE: ME.instance})
        for item in left:
            client.remove(item.id)
        assert left == []


def run(asked: Engine, image: str | None, **given: Any) -> dict[str, Check]:
    return {check.name: check for check in run_checks(asked, asked.docker_host, image, ME, **given)}


def failing(found: dict[str, Check]) -> set[str]:
    return {name for name, check in found.items() if check.status == "fail"}


def orphan(engine: Any, identity: Identity) -> str:
    labels = container_labels(identity, "git", "s", "f00d")
    given = [part for key, value in labels.items() for part in ("--label", f"{key}={value}")]
    argv = ["docker", "create", "--name", container_name("git", identity.generation), *given]
    done = subprocess.run(
        [*argv, engine.image, "-c", "0"], env=engine.env, capture_output=True, timeout=30, check=True
    )
    return done.stdout.decode().strip()


def test_good_engine_passes_every_check_and_keeps_no_container(asked: Engine, engine: Any) -> None:
    found = run(asked, engine.image)
    assert list(found) == ALL
    assert {name: (check.status, check.detail) for name, check in found.items() if check.status != "pass"} == {}
    assert report(list(found.values()))["ok"] is True


def test_without_an_image_the_container_is_skipped_and_nothing_fails(asked: Engine) -> None:
    found = run(asked, None)
    skipped = {name for name, check in found.items() if check.status == "skip"}
    assert skipped == {"image", "round-trip", "limits", "removed"}
    assert failing(found) == set()


def test_missing_image_fails_with_what_to_do(asked: Engine) -> None:
    found = run(asked, "metamcp-nope:none")
    assert failing(found) == {"image"}
    assert found["round-trip"].status == "skip"
    assert "docker pull" in found["image"].hint


def test_image_without_the_command_fails_the_round_trip(asked: Engine, engine: Any) -> None:
    found = run(asked, engine.image, probe_argv=("no-such-command",))
    assert failing(found) == {"round-trip"}
    assert "exit code 127" in found["round-trip"].detail
    assert "--entrypoint" in found["round-trip"].hint


def test_command_that_does_not_echo_fails_within_the_deadline(asked: Engine, engine: Any) -> None:
    silent = ("python3", "-I", "-S", "-c", "import time; time.sleep(600)")
    found = run(asked, engine.image, probe_argv=silent, deadline=5.0)
    assert "timed out" in found["round-trip"].detail
    assert found["round-trip"].seconds < 5.0 + 10.0


def test_command_that_ends_at_once_fails_with_its_exit_code(asked: Engine, engine: Any) -> None:
    found = run(asked, engine.image, probe_argv=("python3", "-I", "-S", "-c", "raise SystemExit(3)"))
    assert "exit code 3" in found["round-trip"].detail


@pytest.mark.parametrize(
    ("dropped", "values", "check"),
    [("--rm", "0", "removed"), ("--pids-limit", "1", "limits"), ("--cap-drop", "1", "limits")],
)
def test_flag_that_does_not_arrive_is_noticed(
    asked: Engine, engine: Any, tmp_path: Path, dropped: str, values: str, check: str
) -> None:
    script = tmp_path / "losing_docker.py"
    script.write_text(LOSING_DOCKER)
    found = run(asked, engine.image, docker_cli=(sys.executable, str(script), dropped, values))
    assert failing(found) == {check}
    assert found[check].hint


def test_limit_beyond_the_machine_is_explained(asked: Engine, engine: Any) -> None:
    found = run(asked, engine.image, limits=Limits(cpus=100_000.0))
    assert failing(found) == {"round-trip"}
    assert "change the server's limits" in found["round-trip"].hint


def test_orphan_of_this_instance_is_found_and_a_neighbours_is_not(asked: Engine, engine: Any) -> None:
    dead = orphan(engine, Identity(ME.instance, "before"))
    other = orphan(engine, Identity("test-diagnostics-neighbour", "before-us"))
    try:
        found = run(asked, None)
    finally:
        asked.remove(dead)
        asked.remove(other)
    assert failing(found) == {"orphans"}
    assert found["orphans"].detail.startswith("1 container")
    assert container_name("git", "before") in found["orphans"].hint


def test_engine_is_accessible_with_its_version(engine: Any) -> None:
    found = accessible(Engine, engine.host)
    assert found["accessible"] is True
    assert found["engine"]["os"] == "linux"
    assert set(found["engine"]) == {"version", "apiVersion", "os", "arch"}


def test_stopped_engine_is_not_accessible(tmp_path: Path) -> None:
    assert accessible(Engine, f"unix://{tmp_path}/docker.sock")["accessible"] is False


def test_info_shows_engine_policy_images_and_containers(asked: Engine, engine: Any) -> None:
    config = GatewayConfig(
        servers={
            "here": ServerSpec("here", command="docker", args=(engine.image,)),
            "gone": ServerSpec("gone", command="docker", args=("metamcp-nope:none",), network="none"),
            "odd": ServerSpec("odd", transport="sse", url="http://127.0.0.1:1/sse"),
        },
        namespaces={},
        endpoints={},
    )
    allowlist = Allowlist((ImageRule("demo/*", allow=Allowance(gpus=True)), ImageRule("*")), ("/srv/data",))
    mine = orphan(engine, ME)
    try:
        found = info(asked, config, allowlist, ME, "docker", lambda spec: spec.args[0] if spec.args else None)
    finally:
        asked.remove(mine)
    assert json.loads(json.dumps(found)) == found
    assert found["engine"]["storageDriver"]
    assert found["runtime"] == "docker"
    assert set(found["limitsSupported"]) == {"memory", "swap", "cpu", "pids"}
    assert [(item["server"], item["present"]) for item in found["images"]] == [
        ("here", True),
        ("gone", False),
        ("odd", False),
    ]
    assert found["images"][0]["id"].startswith("sha256:")
    assert found["policy"]["images"][0]["differs"] == {"gpus": True}
    assert found["policy"]["images"][1]["differs"] == {}
    assert found["policy"]["bindRoots"] == ["/srv/data"]
    assert found["policy"]["servers"]["gone"]["network"] == "none"
    assert [(item["id"], item["current"]) for item in found["containers"]] == [(mine[:12], True)]
