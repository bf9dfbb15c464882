"""Namespaces and middleware in a real gateway, with a package whose entry points are found on PYTHONPATH."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_process import ROOT, GatewayProcess, eventually, process_server, running_gateway, write_config
from installed import install
from metrics_page import Page

PACKAGE = """
from marshmallow import fields
from metamcp.config.fields import Strict
from metamcp.gateway.middleware.interface import Middleware, Refusal

class Polite(Middleware):
    class Options(Strict):
        word = fields.String(required=True)

    def on_list(self, kind, items, context):
        return [item for item in items if item.own != "crash"]

    def on_call(self, call, context):
        if call.name == "echo" and self.options["word"] not in call.arguments["text"]:
            raise Refusal(f"say {self.options['word']}")

    def on_result(self, call, answer, context):
        if call.name == "whoami":
            raise RuntimeError("who knows s3cret-of-package")
"""
SECRET = "s3cret-of-the-server"
SERVERS = {"box": process_server("good", env={"API_TOKEN": SECRET})}
MIDDLEWARE: list[dict[str, Any]] = [
    {"use": "call-log"},
    {"use": "polite", "word": "please"},
    {"use": "redact", "patterns": ["ghp_[a-z]+"]},
    {"use": "result-size", "bytes": 5000},
    {"use": "time-budget", "seconds": 0.5},
    {"use": "overrides", "match": ["*__echo"], "descriptionPrefix": "Politely. "},
]
NAMESPACES: dict[str, Any] = {
    "tools": {"servers": ["box"], "middleware": MIDDLEWARE, "tools": {"box__tally": {"enabled": False}}},
    "team": {"namespaces": ["tools"], "tools": {"box__env": {"name": "variable"}, "box__big": {"enabled": False}}},
    "plain": {"servers": ["box"]},
}
ENDPOINTS = {
    "default": {"namespace": "tools"}, "second": {"namespace": "tools"}, "team": {"namespace": "team"},
    "plain": {"namespace": "plain"}, "moving": {"namespace": "plain"},
}  # fmt: skip


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    packages = install(folder / "packages", "polite_package", PACKAGE, {"polite": "polite_package:Polite"})
    env = {"PYTHONPATH": f"{ROOT}:{packages}"}
    with running_gateway(folder, SERVERS, env=env, namespaces=NAMESPACES, endpoints=ENDPOINTS) as running:
        yield running


def tools(gateway: GatewayProcess, session: str, endpoint: str) -> dict[str, Any]:
    listed = gateway.rpc("tools/list", session=session, endpoint=endpoint).json()["result"]["tools"]
    return {tool["name"]: tool for tool in listed}


def test_package_filters_and_refuses_at_each_endpoint_of_its_namespace_and_of_the_outer_one(
    gateway: GatewayProcess,
) -> None:
    for endpoint in ("default", "second", "team"):
        session = gateway.open_session(endpoint=endpoint)
        listed = tools(gateway, session, endpoint)
        assert "box__echo" in listed and not {"box__crash", "box__tally"} & listed.keys()
        assert listed["box__echo"]["description"].startswith("Politely. The tool echo")
        refused = gateway.call(session, "box__echo", {"text": "now"}, endpoint=endpoint)
        assert refused["error"]["code"] == -31005 and "'polite': say please" in refused["error"]["message"]
        assert gateway.text(session, "box__echo", {"text": "please"}, endpoint=endpoint) == "please"
        for name in ("box__crash", "crash", "box__tally", "tally"):
            answer = gateway.call(session, name, {"code": 1}, endpoint=endpoint)
            assert answer["error"]["code"] == -32602


def test_names_of_the_outer_namespace_are_its_own(gateway: GatewayProcess) -> None:
    session = gateway.open_session(endpoint="team")
    listed = tools(gateway, session, "team")
    assert "variable" in listed and not {"box__env", "box__big"} & listed.keys()
    for name in ("box__env", "box__big", "tools__box__big"):
        assert gateway.call(session, name, {"name": "X", "bytes": 1}, endpoint="team")["error"]["code"] == -32602
    assert gateway.text(session, "variable", {"name": "API_TOKEN"}, endpoint="team") == "***"


def test_results_are_masked_limited_and_timed(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    assert gateway.text(session, "box__env", {"name": "API_TOKEN"}) == "***"
    assert gateway.text(session, "box__echo", {"text": "please ghp_abc"}) == "please ***"
    big = gateway.call(session, "box__big", {"bytes": 10_000})["result"]
    assert big["isError"] is True and "5000 is the limit" in big["content"][0]["text"]
    slow = gateway.call(session, "box__sleep", {"ms": 20_000})
    assert slow["error"]["code"] == -31003 and "within 0.5 s" in slow["error"]["message"]


def test_package_that_fails_fails_its_call_and_is_counted_and_others_go_on(gateway: GatewayProcess) -> None:
    session, plain = gateway.open_session(), gateway.open_session(endpoint="plain")
    before = Page(gateway.get("/metrics").text).sum("metamcp_middleware_failures_total")
    failed = gateway.call(session, "box__whoami")
    assert failed["error"]["code"] == -31007 and failed["error"]["data"]["middleware"] == "polite"
    counted = Page(gateway.get("/metrics").text)
    assert counted.sum("metamcp_middleware_failures_total", namespace="tools", middleware="polite") == before + 1
    assert "error=RuntimeError" in gateway.log and "s3cret-of-package" not in gateway.log
    assert gateway.text(session, "box__echo", {"text": "please"}) == "please"
    assert gateway.text(plain, "box__whoami", endpoint="plain")


def test_calls_are_told_with_the_names_of_arguments(gateway: GatewayProcess) -> None:
    session = gateway.open_session(endpoint="second")
    gateway.text(session, "box__echo", {"text": "please keep this-value to yourself"}, endpoint="second")
    lines = [line for line in gateway.log.splitlines() if "middleware-call" in line and "endpoint=second" in line]
    assert lines and "arguments=text" in lines[-1] and "this-value" not in gateway.log


def test_namespace_without_middleware_shows_everything_untouched(gateway: GatewayProcess) -> None:
    session = gateway.open_session(endpoint="plain")
    assert {"box__crash", "box__tally"} <= tools(gateway, session, "plain").keys()
    assert gateway.text(session, "box__env", {"name": "API_TOKEN"}, endpoint="plain") == SECRET


def test_endpoint_gets_another_namespace_while_its_session_goes_on(gateway: GatewayProcess) -> None:
    session = gateway.open_session(endpoint="moving")
    assert gateway.text(session, "box__echo", {"text": "now"}, endpoint="moving") == "now"
    before = gateway.status()["configuration"]["loadedAt"]
    moved = ENDPOINTS | {"moving": {"namespace": "tools"}}
    write_config(gateway.folder, SERVERS, namespaces=NAMESPACES, endpoints=moved)
    eventually(lambda: gateway.status()["configuration"]["loadedAt"] > before, "the endpoint is moved")
    assert "box__tally" not in tools(gateway, session, "moving")
    assert gateway.call(session, "box__tally", endpoint="moving")["error"]["code"] == -32602
    assert gateway.call(session, "box__echo", {"text": "now"}, endpoint="moving")["error"]["code"] == -31005


def test_check_config_loads_the_package_and_names_each_mistake(tmp_path: Path) -> None:
    packages = install(tmp_path / "packages", "polite_package", PACKAGE, {"polite": "polite_package:Polite"})
    wrong = [{"use": "polite", "wort": "x"}, {"use": "polight", "word": "x"}]
    spaces = {"tools": {"servers": ["box"], "middleware": wrong, "namespaces": ["tools"]}}
    own = write_config(tmp_path, SERVERS, namespaces=spaces, endpoints={"default": {"namespace": "tools"}})
    env = {**os.environ, **own, "PYTHONPATH": f"{ROOT}:{packages}"}
    command = [sys.executable, "-m", "metamcp", "check-config"]
    checked = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 2
    for told in (
        'namespaces.tools.middleware[0].wort: is not a known key (did you mean "word"?)',
        "namespaces.tools.middleware[0].word:",
        'namespaces.tools.middleware[1].use: names no middleware (did you mean "polite"?)',
        "namespaces.tools.namespaces[0]: leads back to this namespace (tools > tools)",
    ):
        assert told in checked.stderr
