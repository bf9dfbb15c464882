"""What an image may do before it runs, against a real engine: drift, pins, dry runs, scans."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from containers import child_of_session
from docker_engine import Engine
from gateway_process import ROOT, GatewayProcess, eventually, running_gateway

TAG = "metamcp-judged:1"
SECRET = "hunter2-hunter2"


@pytest.fixture
def judged(engine: Engine) -> Iterator[Engine]:
    engine.docker("tag", engine.image, TAG)
    try:
        yield engine
    finally:
        engine.docker("rmi", "--force", TAG)


def server(**keys: Any) -> dict[str, Any]:
    return {"command": "docker", "args": ["run", "-i", TAG, "/misbehaving.py", "good"], "network": "none", **keys}


def move_tag(engine: Engine) -> str:
    """The tag names another image, which has a few faults."""
    recipe = f"FROM {engine.image}\nUSER 0\nENV DB_PASSWORD={SECRET}\nEXPOSE 80\n"
    argv = ["docker", "build", "-q", "-t", TAG, "-"]
    env = {**engine.env, "DOCKER_BUILDKIT": "0"}
    subprocess.run(argv, input=recipe.encode(), check=True, env=env, capture_output=True, timeout=60)
    return engine.docker("image", "inspect", "--format", "{{.Id}}", TAG)


def command(gateway: GatewayProcess, engine: Engine, *words: str) -> subprocess.CompletedProcess[str]:
    own = {"METAMCP_CONFIG_DIR": str(gateway.folder / "config"), "METAMCP_STATE_DIR": str(gateway.folder / "var")}
    return subprocess.run(
        [sys.executable, "-m", "metamcp", *words], cwd=ROOT, env={**engine.env, **own}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def drift(gateway: GatewayProcess) -> Any:
    return gateway.status()["servers"][0]["drift"]


def image_json(gateway: GatewayProcess) -> Mapping[str, Any]:
    return gateway.get("/docker-test/info", timeout=20).json()["images"][0]  # type: ignore[no-any-return]


def test_pinned_tag_is_refused_when_it_moves_and_runs_when_that_is_accepted(judged: Engine, tmp_path: Path) -> None:
    rule = {"image": TAG, "pin": True}
    with running_gateway(tmp_path, {"s": server()}, images=[rule], env=judged.env) as gateway:
        session = gateway.open_session()
        assert gateway.text(session, "s__echo", {"text": "x"}) == "x"
        facts = json.loads(judged.docker("inspect", child_of_session(gateway)["containerId"]))[0]
        assert facts["Config"]["Image"] == facts["Image"]  # the very image that was judged, not its tag
        before, now = facts["Image"], move_tag(judged)
        eventually(lambda: drift(gateway) == before, "the drift is in the status", 40)
        error = gateway.call(gateway.open_session(), "s__echo", {"text": "x"})["error"]
        assert (error["code"], error["data"]["rule"]) == (-31005, "image-drift")
        assert "python -m metamcp images accept s" in error["message"]
        assert f"drift: it is {now} now" in command(gateway, judged, "explain", "s").stdout
        shown = image_json(gateway)
        assert shown["drift"] is True and shown["recorded"] == before and "image-drift" in shown["objections"][0]
        accepted = command(gateway, judged, "images", "accept", "s")
        assert accepted.returncode == 0 and now in accepted.stdout
        assert gateway.text(gateway.open_session(), "s__echo", {"text": "new"}) == "new"
        eventually(lambda: drift(gateway) is None, "the drift is over", 40)
        assert "image-drift" in gateway.log and "image-accepted" in gateway.log


def test_image_is_scanned_in_the_background_and_nothing_secret_is_shown(judged: Engine, tmp_path: Path) -> None:
    move_tag(judged)
    with running_gateway(tmp_path, {"s": server()}, images=[TAG], env=judged.env) as gateway:
        eventually(lambda: bool(image_json(gateway)["findings"]), "it is scanned", 30)
        found = {finding["rule"]: finding["severity"] for finding in image_json(gateway)["findings"]}
        assert found == {
            "secret-in-environment": "high", "secret-in-history": "high", "root-user": "medium", "exposed-ports": "low",
        }  # fmt: skip
        told = command(gateway, judged, "scan", "s")
        assert told.returncode == 0 and "root-user" in told.stdout
        kept = (tmp_path / "var/images.json").read_text()
        info = gateway.get("/docker-test/info", timeout=20).text
        assert SECRET not in kept + info + told.stdout + gateway.log


def test_finding_at_the_threshold_refuses_the_image(judged: Engine, tmp_path: Path) -> None:
    move_tag(judged)
    rule = {"image": TAG, "scan": {"blockAt": "high"}}
    with running_gateway(tmp_path, {"s": server()}, images=[rule], env=judged.env, ready=False) as gateway:
        error = gateway.call(gateway.open_session(), "s__echo", {"text": "x"})["error"]
        assert (error["code"], error["data"]["rule"]) == (-31005, "image-findings")
        refused = command(gateway, judged, "scan", "s")
        assert refused.returncode == 1 and "image-findings" in refused.stdout


def test_files_of_the_image_are_looked_through_where_that_is_configured(judged: Engine, tmp_path: Path) -> None:
    (tmp_path / "id_rsa").write_text("x")
    (tmp_path / "Dockerfile").write_text(f"FROM {judged.image}\nCOPY id_rsa /app/id_rsa\n")
    env = {**judged.env, "DOCKER_BUILDKIT": "0"}
    argv = ["docker", "build", "-q", "-t", TAG, str(tmp_path)]
    subprocess.run(argv, check=True, env=env, capture_output=True, timeout=60)
    rule = {"image": TAG, "scan": {"contents": True, "blockAt": "high", "required": True}}
    with running_gateway(tmp_path, {"s": server()}, images=[rule], env=judged.env, ready=False) as gateway:
        told = command(gateway, judged, "scan", "s").stdout
        assert "credential-files: files that hold a key or credentials: /app/id_rsa" in told
        error = gateway.call(gateway.open_session(), "s__echo", {"text": "x"})["error"]
        assert error["data"]["rule"] == "image-findings"


def test_report_of_an_external_scanner_refuses_the_image(judged: Engine, tmp_path: Path) -> None:
    bad = {"id": "CVE-2026-1", "severity": "Critical", "fix": {"versions": ["2"]}}
    report = {"matches": [{"vulnerability": bad, "artifact": {"name": "x", "version": "1"}}]}
    (tmp_path / "report.json").write_text(json.dumps(report))
    code = f"assert '{{image}}'[:7] == 'sha256:'; print(open('{tmp_path}/report.json').read())"
    scanner = [sys.executable, "-c", code]
    rule = {"image": TAG, "scan": {"command": scanner, "blockAt": "critical"}}
    with running_gateway(tmp_path, {"s": server()}, images=[rule], env=judged.env, ready=False) as gateway:
        error = gateway.call(gateway.open_session(), "s__echo", {"text": "x"})["error"]
        assert error["data"]["rule"] == "image-vulnerabilities"
        assert "critical CVE-2026-1: x 1, fixed in 2" in error["message"]


def test_image_without_a_digest_cannot_be_signed_and_a_missing_cosign_says_so(judged: Engine, tmp_path: Path) -> None:
    rule = {"image": TAG, "cosign": {"key": "/no/key", "program": "/no/cosign"}}
    with running_gateway(tmp_path, {"s": server()}, images=[rule], env=judged.env, ready=False) as gateway:
        error = gateway.call(gateway.open_session(), "s__echo", {"text": "x"})["error"]
        assert error["data"]["rule"] == "image-signature" and "no digest of its registry" in error["message"]


def test_dry_run_runs_what_no_rule_allows_and_says_so_everywhere(judged: Engine, tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"s": server()}, images=[TAG], env=judged.env) as gateway:
        (tmp_path / "config/allowlist.json").write_text('{"dryRun": true}')
        done = command(gateway, judged, "reload")
        assert done.returncode == 0, done.stderr
        assert gateway.text(gateway.open_session(), "s__echo", {"text": "x"}) == "x"
        assert "dry-run" in gateway.log and "image-would-be-denied" in gateway.log
        info = gateway.get("/docker-test/info", timeout=20).json()
        assert info["policy"]["dryRun"] is True
        assert "it would be denied, because" in info["images"][0]["objections"][0]
        assert "it would be denied, because" in command(gateway, judged, "explain", "s").stdout
        assert "dry run" in command(gateway, judged, "check-config").stdout


def test_rule_that_is_gone_between_the_load_and_a_start_refuses(judged: Engine, tmp_path: Path) -> None:
    with running_gateway(tmp_path, {"s": server()}, images=[TAG], env=judged.env) as gateway:
        assert gateway.text(gateway.open_session(), "s__echo", {"text": "x"}) == "x"
        (tmp_path / "config/allowlist.json").write_text("{}")
        assert command(gateway, judged, "reload").returncode == 0
        error = gateway.call(gateway.open_session(), "s__echo", {"text": "x"})["error"]
        assert (error["code"], error["data"]["rule"]) == (-31005, "image-allowlist")
