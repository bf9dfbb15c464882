"""What servers say and ask by themselves, in a real gateway whose namespace hides some of it: clients and servers of
both eras, a package that refuses a question, and a subscription whose server is switched off."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from event_streams import events
from gateway_process import ROOT, GatewayProcess, eventually, running_gateway, write_config
from installed import install

PACKAGE = """
from metamcp.gateway.middleware.interface import Middleware, Refusal

class Shy(Middleware):
    def on_message(self, message, context):
        if message.asks:
            raise Refusal(f"nobody is asked by {message.server}")
"""
META = "io.modelcontextprotocol/"
FIXTURE, ASKING = ROOT / "tests" / "conformance" / "fixture", ROOT / "tests" / "servers" / "inquiring.py"


def server(script: Path, *arguments: str) -> dict[str, Any]:
    return {"command": sys.executable, "args": ["-I", "-S", str(script), *arguments]}


SERVERS = {
    "old": server(FIXTURE, "--era", "legacy"), "new": server(FIXTURE, "--era", "modern"), "asks": server(ASKING),
    "common": server(FIXTURE, "--era", "legacy") | {"isolation": "shared"},
}  # fmt: skip
HIDDEN = ["Tool execution", "your name", "onerror", "sk-[a-z]+"]
NAMESPACES: dict[str, Any] = {
    "safe": {"servers": ["old", "new", "asks"], "middleware": [{"use": "redact", "patterns": HIDDEN}]},
    "shy": {"servers": ["asks"], "middleware": [{"use": "shy"}]},
    "plain": {"servers": ["old", "new", "asks"]},
    "team": {"namespaces": ["safe"]},
    "near": {"servers": ["common"]},
    "far": {"servers": ["common"]},
}
ENDPOINTS = {name: {"namespace": name} for name in NAMESPACES}
ANSWER = {"action": "accept", "content": {"name": "Ada"}}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    packages = install(folder / "packages", "shy_package", PACKAGE, {"shy": "shy_package:Shy"})
    env = {"PYTHONPATH": f"{ROOT}:{packages}"}
    with running_gateway(folder, SERVERS, env=env, namespaces=NAMESPACES, endpoints=ENDPOINTS) as running:
        yield running


class Caller:
    """A client of one era at one endpoint, which declares ``elicitation`` and wants logs."""

    def __init__(self, gateway: GatewayProcess, era: str, endpoint: str = "safe") -> None:
        self.gateway, self.modern = gateway, era == "modern"
        self.url = f"{gateway.url}/metamcp/{endpoint}/mcp"
        self.headers = {"Accept": "application/json, text/event-stream"}
        if not self.modern:
            session = gateway.open_session(endpoint=endpoint, elicitation={})
            self.headers |= {"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
            self.post("logging/setLevel", {"level": "info"}).close()

    def post(self, method: str, params: dict[str, Any], tool: str = "") -> requests.Response:
        headers = self.headers
        if self.modern:
            headers = headers | {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, "Mcp-Name": tool}
            envelope = {"protocolVersion": "2026-07-28", "clientCapabilities": {"elicitation": {}}, "logLevel": "info"}
            meta = params.get("_meta", {}) | {f"{META}{key}": value for key, value in envelope.items()}
            params = params | {"_meta": meta}
        body = {"jsonrpc": "2.0", "id": "call", "method": method, "params": params}
        return requests.post(self.url, json=body, headers=headers, stream=True, timeout=20)

    def call(self, tool: str, arguments: dict[str, Any] | None = None, **more: Any) -> Iterator[dict[str, Any]]:
        """Every message of one call as it comes; the call is given up with the iteration."""
        params = {"name": tool, "arguments": arguments or {}, "_meta": {"progressToken": "sk-token"}, **more}
        with closing(self.post("tools/call", params, tool)) as response:
            if response.headers["Content-Type"].startswith("application/json"):
                yield response.json()
                return
            for _, _, data in events(response):
                if data:
                    yield json.loads(data)

    def asked(self, tool: str, arguments: dict[str, Any] | None = None) -> tuple[list[dict[str, Any]], str]:
        """(the params of each question, the text of the result) of a call whose questions are all answered."""
        asked: list[dict[str, Any]] = []
        last: dict[str, Any] = {}
        for last in self.call(tool, arguments):
            if "method" in last and "id" in last:
                asked.append(last["params"])
                answer = {"jsonrpc": "2.0", "id": last["id"], "result": ANSWER}
                assert requests.post(self.url, json=answer, headers=self.headers, timeout=20).status_code == 202
        if required := last["result"].get("inputRequests"):
            asked += [question["params"] for question in required.values()]
            state = {key: last["result"][key] for key in ("requestState",) if key in last["result"]}
            last = list(self.call(tool, arguments, inputResponses=dict.fromkeys(required, ANSWER), **state))[-1]
        return asked, last["result"]["content"][0]["text"]


@pytest.fixture(params=["legacy", "modern"])
def era(request: pytest.FixtureRequest) -> str:
    return str(request.param)


LOGS = {"old": "test_tool_with_logging", "new": "test_logging_tool"}
QUESTIONS = {"old": ("test_elicitation", {"message": "Say your name"}),
             "new": ("test_input_required_result_elicitation", {})}  # fmt: skip


@pytest.mark.parametrize("name", ["old", "new"])
@pytest.mark.parametrize("endpoint", ["safe", "team"])
def test_log_messages_are_masked_and_pass_elsewhere(
    gateway: GatewayProcess, era: str, name: str, endpoint: str
) -> None:
    tool = f"{name}__{LOGS[name]}"
    logs = {it: [message["params"]["data"] for message in Caller(gateway, era, it).call(tool) if "method" in message]
            for it in (endpoint, "plain")}  # fmt: skip
    assert logs["plain"] and all(data.startswith("Tool execution") for data in logs["plain"])
    assert logs[endpoint] == [data.replace("Tool execution", "***") for data in logs["plain"]]


@pytest.mark.parametrize("name", ["old", "new"])
def test_questions_are_masked_and_answered(gateway: GatewayProcess, era: str, name: str) -> None:
    tool, arguments = QUESTIONS[name]
    (plain,), told = Caller(gateway, era, "plain").asked(f"{name}__{tool}", arguments)
    (asked,), masked = Caller(gateway, era).asked(f"{name}__{tool}", arguments)
    assert "your name" in plain["message"] and asked["message"] == plain["message"].replace("your name", "***")
    assert asked["requestedSchema"] == plain["requestedSchema"] and masked == told and "Ada" in told


def test_progress_is_masked_but_for_the_clients_token(gateway: GatewayProcess, era: str) -> None:
    calling = Caller(gateway, era).call("asks__steps")
    found = {}
    for message in calling:
        found[message["method"]] = message["params"]
        if len(found) == 2:
            break
    calling.close()  # type: ignore[attr-defined]
    progress = found["notifications/progress"]
    assert progress["progressToken"] == "sk-token" and progress["progress"] == 3
    assert "onerror" not in str(found) and "***" in progress["message"]
    assert "at 3" in found["notifications/message"]["data"]


def test_server_whose_question_is_refused_is_told_so_and_goes_on(gateway: GatewayProcess, era: str) -> None:
    asked, text = Caller(gateway, era, "shy").asked("asks__ask_person")
    assert asked == [] and '"code": -31005' in text and "'shy': nobody is asked by asks" in text


def test_subscription_ends_when_its_server_is_disabled_in_the_namespace(gateway: GatewayProcess) -> None:
    near, far = Subscribed(gateway, "near"), Subscribed(gateway, "far")
    far.change()
    assert near.next() == far.next() == "resources/updated"
    reloaded(gateway, {"near": {"servers": ["common"], "disabled": ["common"]}})
    far.change()
    assert far.next() == "resources/updated"
    reloaded(gateway, {})
    told = [near.next() for _ in range(6)]  # what comes in between would be among them
    assert sorted(told) == sorted([f"{kind}/list_changed" for kind in ("tools", "prompts", "resources")] * 2)
    near.stream.close()
    far.stream.close()


class Subscribed:
    """A session at ``endpoint`` that subscribed to a resource of the one instance for all."""

    def __init__(self, gateway: GatewayProcess, endpoint: str) -> None:
        self.caller = Caller(gateway, "legacy", endpoint)
        with closing(self.caller.post("resources/subscribe", {"uri": "test://watched-resource"})) as answer:
            assert '"result"' in answer.text
        self.stream = requests.get(self.caller.url, headers=self.caller.headers, stream=True, timeout=20)
        self.events = events(self.stream)

    def change(self) -> None:
        assert "result" in list(self.caller.call("common__test_trigger_resource_change"))[-1]

    def next(self) -> str:
        """What the next message on its stream is about."""
        method = next(json.loads(data)["method"] for _, _, data in self.events if data)
        return str(method).removeprefix("notifications/")


def reloaded(gateway: GatewayProcess, namespaces: dict[str, Any]) -> None:
    before = gateway.status()["configuration"]["loadedAt"]
    write_config(gateway.folder, SERVERS, namespaces=NAMESPACES | namespaces, endpoints=ENDPOINTS)
    eventually(lambda: gateway.status()["configuration"]["loadedAt"] > before, "the namespaces are other ones")
