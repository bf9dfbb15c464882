"""The configuration and the keys changed over HTTP: real gunicorn, plain processes as servers, a real MCP client."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from gateway_process import MISBEHAVING, GatewayProcess, eventually, process_server, running_gateway
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from operators import SECONDS, Operator

CANARY = f"canary-{secrets.token_hex(8)}"
TOOL_ENV = {"GITHUB_TOKEN": CANARY, "HOST": "example.com", "OTHER_TOKEN": "${SOME_TOKEN:-}"}
ENDPOINTS = {"default": {"namespace": "default"}}
NAMESPACES = {"default": {"servers": ["good"]}}
SERVER = {"command": sys.executable, "args": ["-I", "-S", MISBEHAVING, "good"]}


class Administrator(Operator):
    """``folder``: of the configuration."""

    @property
    def folder(self) -> Path:
        return self.gateway.folder / "config"

    def send(self, method: str, path: str, body: Any = None, query: str = "", **headers: str) -> requests.Response:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        url = f"{self.gateway.url}/api/{path}{query}"
        return requests.request(method, url, data=data, headers=self.headers | headers, timeout=SECONDS)

    def read(self, path: str) -> Any:
        answer = self.send("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def does(self, method: str, path: str, body: Any = None, status: int = 200, **more: str) -> dict[str, Any]:
        answer = self.send(method, path, body, **more)
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    def tag(self, path: str) -> str:
        return self.send("GET", path).headers["ETag"]

    def changes(self) -> list[tuple[str, str]]:
        """What is audited of them, in order."""
        own = [line for line in self.audited() if line.get("principal") == "chief" and line["action"] != "reload"]
        return [(line["action"], line["about"]) for line in own]

    def document(self, file: str = "servers.json") -> Any:
        return json.loads((self.folder / file).read_text())


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("administration")
    servers = {"good": process_server("good")}
    with running_gateway(folder, servers, workers=2, namespaces=NAMESPACES, endpoints=ENDPOINTS) as running:
        yield running


@pytest.fixture(scope="module")
def admin(gateway: GatewayProcess) -> Administrator:
    """The first key is made after it was seen what can be done without one."""
    nobody = Administrator(gateway)
    assert [item["name"] for item in nobody.read("servers")] == ["good"], "looking needs no key where there is none"
    for method, path in (("POST", "servers"), ("PUT", "servers/x"), ("DELETE", "servers/good"), ("POST", "keys")):
        refused = nobody.send(method, path, {"name": "x", "command": "x"})
        assert refused.status_code == 403 and "keys create" in refused.json()["error"]["message"]
    key = nobody.command("keys", "create", "chief", "--scope", "admin").strip()
    return Administrator(gateway, key)


@pytest.fixture(autouse=True)
def same_as_before(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test gets, and leaves, the configuration of the module."""
    admin: Administrator = request.getfixturevalue("admin")
    before = {file: (admin.folder / file).read_text() for file in ("servers.json", "allowlist.json")}
    yield
    for file, text in before.items():
        (admin.folder / file).write_text(text)
    admin.order("/api/reload")


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """For root, who may write whatever the modes are, it is mounted so."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        undo: Callable[[], object] = partial(folder.chmod, 0o755)
    else:
        if subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False).returncode:
            pytest.skip("root may not mount here, and modes do not keep root from writing")
        undo = partial(subprocess.run, ["umount", folder], check=True)
    try:
        if os.geteuid() == 0:
            subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        undo()


def call_by_sdk(gateway: GatewayProcess, tool: str, arguments: dict[str, Any]) -> str:
    async def talk() -> str:
        async with (
            streamable_http_client(f"{gateway.url}/metamcp/default/mcp") as (read, write, *_),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            result = await session.call_tool(tool, arguments)
            return str(result.content[0].text)  # type: ignore[union-attr]

    return asyncio.run(talk())


# --- a whole life ------------------------------------------------------------------------------------------


def test_a_server_is_made_put_into_a_namespace_called_changed_and_deleted(
    gateway: GatewayProcess, admin: Administrator
) -> None:
    made = admin.does("POST", "servers", {"name": "more", **SERVER}, status=201)
    assert made["done"] and made["changes"]["servers"]["added"] == ["more"] and made["warnings"] == []
    put = admin.does("PATCH", "namespaces/default", {"servers": ["good", "more"]})
    assert put["changes"]["namespaces"]["changed"] == ["default"]
    eventually(lambda: bool(admin.server("more")["listed"]), "its lists are known")
    assert call_by_sdk(gateway, "more__echo", {"text": "there"}) == "there"
    session = gateway.open_session()
    assert gateway.text(session, "good__echo", {"text": "before"}) == "before"
    admin.does("PATCH", "servers/more", {"idleSeconds": 7, "env": {"A": "b"}})
    assert admin.document()["mcpServers"]["more"] == {**SERVER, "idleSeconds": 7, "env": {"A": "b"}}
    assert gateway.text(session, "more__echo", {"text": "changed"}) == "changed", "the session goes on"
    still_used = admin.send("DELETE", "servers/more")
    assert still_used.status_code == 422
    assert still_used.json()["problems"][0]["path"] == "servers.json: namespaces.default.servers[1]"
    admin.does("PATCH", "namespaces/default", {"servers": ["good"]})
    assert admin.does("DELETE", "servers/more")["changes"]["servers"]["removed"] == ["more"]
    assert admin.send("GET", "servers/more").status_code == 404
    assert "error" in gateway.call(session, "more__echo", {"text": "gone"})
    assert gateway.text(session, "good__echo", {"text": "after"}) == "after"
    gateway.end_session(session)

    noted = [
        ("create", "servers/more"), ("change", "namespaces/default"), ("change", "servers/more"),
        ("delete", "servers/more"), ("change", "namespaces/default"), ("delete", "servers/more"),
    ]  # fmt: skip
    eventually(lambda: admin.changes()[-6:] == noted, "each change has its line")


def test_an_endpoint_and_what_clients_find_there(gateway: GatewayProcess, admin: Administrator) -> None:
    body = {"namespace": "default", "auth": "api-key", "rateLimit": "100/minute"}
    admin.does("PUT", "endpoints/closed", body, status=201)
    assert admin.read("endpoints/closed") == {"name": "closed", **body}
    listed = {item["name"]: item for item in admin.read("endpoints")}
    assert listed["closed"] == {"name": "closed", "transports": ["streamable-http", "sse"], **body}
    assert gateway.rpc("ping", endpoint="closed").status_code == 401
    admin.does("DELETE", "endpoints/closed")
    assert [item["name"] for item in admin.read("endpoints")] == ["default"]


def test_a_call_in_flight_ends_as_it_would_with_a_reload(gateway: GatewayProcess, admin: Administrator) -> None:
    session, answers = gateway.open_session(), []
    caller = threading.Thread(target=lambda: answers.append(gateway.text(session, "good__sleep", {"ms": 1500})))
    caller.start()
    eventually(lambda: admin.server("good")["state"] == "BUSY", "it works")
    before = gateway_pids(admin)
    admin.does("PATCH", "servers/good", {"idleSeconds": 33})
    assert not answers, "the change does not wait for it"
    caller.join(SECONDS)
    assert len(answers) == 1
    assert gateway.text(session, "good__echo", {"text": "next"}) == "next"
    assert gateway_pids(admin).isdisjoint(before), "by another instance"
    gateway.end_session(session)


def gateway_pids(admin: Administrator) -> set[int]:
    return {child["pid"] for child in admin.get("/api/status")["children"] if child["server"] == "good"}


def test_changes_at_the_same_time_are_all_kept(admin: Administrator) -> None:
    """By two workers, for eight operators."""
    names, statuses = [f"n{number}" for number in range(8)], []

    def make(name: str) -> None:
        statuses.append(admin.send("PUT", f"servers/{name}", {**SERVER, "enabled": False}).status_code)

    threads = [threading.Thread(target=make, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert statuses == [201] * 8 and set(names) <= {item["name"] for item in admin.read("servers")}


# --- what is refused ---------------------------------------------------------------------------------------


def test_an_image_that_is_not_allowed_is_refused_with_its_rule_until_it_is(admin: Administrator) -> None:
    server = {"name": "boxed", "command": "docker", "args": ["run", "-i", "ghcr.io/example/tool:1"], "enabled": True}
    refused = admin.send("POST", "servers", server)
    assert refused.status_code == 422 and refused.json()["rule"] == "image-allowlist"
    assert refused.json()["problems"][0]["path"] == "servers.json: mcpServers.boxed"
    allowed = admin.does("POST", "images", {"image": "ghcr.io/example/*"}, status=201)
    assert allowed["changes"]["images"]["added"] == ["ghcr.io/example/*"]
    assert admin.document("allowlist.json") == {"images": ["ghcr.io/example/*"]}
    widened = server | {"args": ["run", "-i", "--privileged", "ghcr.io/example/tool:1"]}
    privileged = admin.send("POST", "servers", widened)
    assert privileged.status_code == 422 and privileged.json()["rule"] not in ("", "image-allowlist")
    planned = admin.does("POST", "servers", server, query="?dry_run=true")
    assert planned["changes"]["servers"]["added"] == ["boxed"]
    admin.does("PUT", "images/ghcr.io/example/*", {"pin": True})
    assert admin.document("allowlist.json") == {"images": [{"image": "ghcr.io/example/*", "pin": True}]}
    assert admin.read("images/ghcr.io/example/*") == {"image": "ghcr.io/example/*", "pin": True}
    before = admin.does("POST", "images", {"image": "ghcr.io/example/tool:1"}, 201, query="?before=ghcr.io/example/*")
    assert before["changes"]["images"]["added"] == ["ghcr.io/example/tool:1"]
    assert [rule["image"] for rule in admin.read("images")] == ["ghcr.io/example/tool:1", "ghcr.io/example/*"]
    admin.does("DELETE", "images/ghcr.io/example/tool:1")
    admin.does("DELETE", "images/ghcr.io/example/*")
    assert admin.read("images") == []


def test_of_two_operators_the_second_is_told_to_read_again(admin: Administrator) -> None:
    tag = admin.tag("servers/good")
    first = admin.send("PATCH", "servers/good", {"idleSeconds": 11}, **{"If-Match": tag})
    assert first.status_code == 200 and first.headers["ETag"] != tag
    second = admin.send("PATCH", "servers/good", {"idleSeconds": 12}, **{"If-Match": tag})
    assert second.status_code == 409 and second.headers["ETag"] == first.headers["ETag"]
    assert admin.read("servers/good")["idleSeconds"] == 11
    again = admin.send("PATCH", "servers/good", {"idleSeconds": 12}, **{"If-Match": admin.tag("servers")})
    assert again.status_code == 200


def test_broken_input_leaves_the_running_configuration_and_the_file(
    gateway: GatewayProcess, admin: Administrator
) -> None:
    before = (admin.folder / "servers.json").read_bytes()
    tried = [
        ("PUT", "servers/good", {"comand": "x"}, 422, 'did you mean "command"'),
        ("PUT", "servers/good", b'{"command": "x", "command": "y"}', 422, "more than once"),
        ("PUT", "servers/good", b'{"command": ', 422, "not JSON"),
        ("PUT", "servers/good", b"[" * 100_000, 422, ""),
        ("PATCH", "servers/good", {"timeouts": {"call": "x"}}, 422, "mcpServers.good.timeouts.call"),
        ("PATCH", "servers/good", {"name": "better"}, 422, "cannot be changed"),
        ("POST", "servers", {"name": "good", **SERVER}, 409, "already"),
        ("POST", "servers", {"name": "a__b", **SERVER}, 422, "no name for a server"),
        ("POST", "servers", {"command": "x"}, 400, "name"),
        ("PATCH", "servers/nobody", {}, 404, "configured: good"),
        ("DELETE", "namespaces/default", None, 422, "names no configured namespace"),
        ("PUT", "servers/good", {"command": "x" * 300_000}, 413, "256 KiB"),
        ("PUT", "servers/good", {**SERVER, "env": {"API_KEY": "***"}}, 422, "mcpServers.good.env.API_KEY"),
    ]  # fmt: skip
    for method, path, body, status, text in tried:
        answer = admin.send(method, path, body)
        assert answer.status_code == status and text in str(answer.json()), answer.text
    assert admin.send("GET", "servers?dry_run=x").status_code == 200
    assert admin.send("PATCH", "servers/good", {}, "?dry_run=x").status_code == 400
    assert admin.send("PATCH", "servers/good", {}, **{"If-Match": ""}).status_code == 400
    assert (admin.folder / "servers.json").read_bytes() == before
    assert admin.get("/api/status")["configuration"]["problems"] == []
    assert call_by_sdk(gateway, "good__echo", {"text": "still"}) == "still"


def test_a_file_with_mistakes_is_mended_by_hand_first(admin: Administrator) -> None:
    path = admin.folder / "servers.json"
    right = path.read_text()
    path.write_text(right.replace("{", "[", 1))
    try:
        refused = admin.send("PATCH", "servers/good", {"idleSeconds": 3})
        assert refused.status_code == 409 and refused.json()["problems"]
        assert admin.send("GET", "servers").status_code == 409
        assert path.read_text() == right.replace("{", "[", 1)
    finally:
        path.write_text(right)


def test_what_only_is_planned_changes_nothing(admin: Administrator) -> None:
    before = (admin.folder / "servers.json").read_bytes()
    assert admin.does("DELETE", "servers/good", query="?dry_run=true", status=422)["problems"]
    planned = admin.does("PUT", "servers/planned", SERVER, query="?dry_run=true")
    assert planned["changes"]["servers"]["added"] == ["planned"] and "done" not in planned
    assert (admin.folder / "servers.json").read_bytes() == before
    admin.does("PUT", "servers/done", SERVER, status=201)
    eventually(lambda: ("replace", "servers/done") in admin.changes(), "a change is noted")
    assert ("replace", "servers/planned") not in admin.changes(), "a plan is not"


# --- the file ----------------------------------------------------------------------------------------------


def test_the_file_keeps_its_mode_and_its_looks_and_has_backups(admin: Administrator) -> None:
    path = admin.folder / "servers.json"
    text = (
        '{\n    "mcpServers": {\n        "good":  ' + json.dumps(SERVER) + "\n    },\n"
        '    "endpoints": {"default": {"namespace":"default"}},\n'
        '    "namespaces": {"default": {"servers": ["good"]}}\n}\n'
    )
    path.write_text(text)
    path.chmod(0o640)
    try:
        admin.does("PATCH", "servers/good", {"enabled": True})
        expected = text.replace(json.dumps(SERVER), json.dumps({**SERVER, "enabled": True}))
        assert path.read_text() == expected
        assert path.stat().st_mode & 0o777 == 0o640
        backup = path.with_name("servers.json.1")
        assert backup.read_text() == text and backup.stat().st_mode & 0o777 == 0o640
        for seconds in range(1, 8):
            admin.does("PATCH", "servers/good", {"idleSeconds": seconds})
        assert sorted(it.name for it in admin.folder.iterdir() if "servers" in it.name) == [
            "servers.json", *(f"servers.json.{number}" for number in range(1, 6))
        ]  # fmt: skip
    finally:
        path.chmod(0o600)


def test_a_directory_that_cannot_be_written_is_said(admin: Administrator) -> None:
    path = admin.folder / "servers.json"
    before = path.read_bytes()
    with read_only(admin.folder):
        refused = admin.send("PATCH", "servers/good", {"idleSeconds": 5})
        assert refused.status_code == 409 and f"{path} cannot be written" in refused.json()["error"], refused.text
        planned = admin.does("PATCH", "servers/good", {"idleSeconds": 5}, query="?dry_run=true")
        assert "cannot be written" in planned["warnings"][0] and planned["changes"]["servers"]["changed"] == ["good"]
        assert path.read_bytes() == before and "idleSeconds" not in admin.read("servers/good")
    assert admin.does("PATCH", "servers/good", {"idleSeconds": 5})["warnings"] == []


# --- secrets -----------------------------------------------------------------------------------------------


def test_literal_secrets_are_kept_and_shown_nowhere(gateway: GatewayProcess, admin: Administrator) -> None:
    body = {"name": "tells", **SERVER, "env": TOOL_ENV, "enabled": False}
    answers = [admin.send("POST", "servers", body), admin.send("GET", "servers/tells"), admin.send("GET", "servers")]
    shown = answers[1].json()
    assert shown["env"] == {**TOOL_ENV, "GITHUB_TOKEN": "***"}
    shown["env"]["HOST"] = "other.example.com"
    answers += [admin.send("PUT", "servers/tells", shown), admin.send("PATCH", "servers/tells", {"command": 5})]
    assert [answer.status_code for answer in answers] == [201, 200, 200, 200, 422]
    assert admin.document()["mcpServers"]["tells"]["env"] == {**TOOL_ENV, "HOST": "other.example.com"}
    assert CANARY not in "".join(answer.text for answer in answers) and CANARY not in gateway.log
    assert CANARY not in (gateway.folder / "var" / "audit.jsonl").read_text()


# --- keys --------------------------------------------------------------------------------------------------


def test_a_key_is_shown_once_opens_what_it_is_for_and_is_taken_back(
    gateway: GatewayProcess, admin: Administrator
) -> None:
    wish = {"name": "laptop", "scopes": ["default", "nowhere"], "expires": "2h"}
    answer = admin.send("POST", "keys", wish)
    made = answer.json()
    assert answer.status_code == 201 and answer.headers["Cache-Control"] == "no-store"
    assert made["expires"] - made["created"] == 7200 and "'nowhere'" in made["warnings"][0]
    (listed,) = [key for key in admin.read("keys") if key["name"] == "laptop"]
    assert listed["id"] == made["id"] and listed["valid"] and "key" not in listed
    stranger = Administrator(gateway, made["key"])
    for method, path in (("GET", "keys"), ("GET", "servers"), ("PUT", "servers/x"), ("POST", "keys")):
        assert stranger.send(method, path, {"name": "x"}).status_code == 403, path
    assert Administrator(gateway).send("GET", "keys").status_code == 401
    assert "revoked: laptop" in admin.does("DELETE", f"keys/{made['id']}")["text"]
    assert stranger.send("GET", "servers").status_code == 401
    assert admin.send("DELETE", f"keys/{made['id']}").status_code == 404
    assert made["key"] not in gateway.log and made["key"] not in (gateway.folder / "var" / "audit.jsonl").read_text()


def test_keys_with_mistakes_and_the_last_one_of_an_operator(admin: Administrator) -> None:
    for wish, path in (
        ({"name": "a b", "scopes": ["x"]}, "name"), ({"name": "a", "scopes": []}, "scopes"),
        ({"name": "a", "scopes": ["x"], "expires": "soon"}, "expires"), ({"name": "a", "scope": "x"}, "(document)"),
    ):  # fmt: skip
        answer = admin.send("POST", "keys", wish)
        assert answer.status_code == 422 and answer.json()["problems"][0]["path"] == path
    (own,) = admin.read("keys")
    last = admin.send("DELETE", f"keys/{own['id']}")
    assert last.status_code == 409 and "keys revoke" in last.json()["error"] and len(admin.read("keys")) == 1
