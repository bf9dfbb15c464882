"""Secrets are canaries; a lot happens, most of it goes wrong; then every output is searched for them."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from containers import container_server
from docker_engine import Engine
from gateway_process import ROOT, GatewayProcess, eventually, process_server, running_gateway

MARK = f"canary{secrets.token_hex(4)}"
"""In every canary of this run, so that a part of one is found, too."""

EXPLAINED = ("git", "plain", "privileged", "mounts", "image", "missing", "away")
SAID = ("git", "starts-not", "dies", "plain")
CLI = (("check-config",), ("doctor",), ("reload",), ("status",), ("status", "--json"),
       *(("explain", name) for name in EXPLAINED), *(("logs", name, "--tail", "1000") for name in SAID))  # fmt: skip
OPERATORS = ("/health", "/ready", "/api/status", "/api/calls", "/api/history", "/api/endpoints",
             "/api/endpoints/default/catalog", *(f"/api/servers/{name}/stderr?follow=false" for name in SAID),
             "/docker-test/check", "/docker-test/test", "/docker-test/info")  # fmt: skip


def canary(name: str) -> str:
    return f"{MARK}-{name}"


class Echo(BaseHTTPRequestHandler):
    """A remote server that refuses, and repeats all that it was sent, as some do."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        said = f"refused: {self.path} {dict(self.headers)}"
        body = json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": -1, "message": said}}).encode()
        self.send_response(403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_DELETE = do_POST  # noqa: N815  names of http.server

    def log_message(self, *_: Any) -> None:
        """Not on the standard error of the test."""


@contextmanager
def echo_server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="echo")
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def environment() -> dict[str, str]:
    names = ("VAR", "ARG", "REFUSED", "MOUNT", "IMAGE", "PASSWORD", "URL", "HEADER")
    return {f"C_{name}": canary(name.lower()) for name in names} | {
        "C_QUOTED": f'{canary("quoted")} "\\ü',
        "C_LINES": f"-----BEGIN KEY-----\n{canary('first')}\n{canary('second')}\n-----END KEY-----",
    }


def servers(engine: Engine, folder: Path, echo: int) -> dict[str, Any]:
    (folder / "secret").write_text(canary("file") + "\n")
    env = {
        "VAR": "${C_VAR}", "FILE": f"${{file:{folder}/secret}}", "QUOTED": "${C_QUOTED}", "LINES": "${C_LINES}",
        "A_TOKEN": "${C_UNSET:-" + canary("default") + "}", "API_KEY": canary("literal"),
        "DB": "postgres://me:${C_PASSWORD}@127.0.0.1/x", "DB2": f"postgres://me:{canary('other-password')}@127.0.0.1/x",
    }  # fmt: skip
    headers = {"Authorization": "Bearer ${C_HEADER}", "X-Api-Key": canary("header2"), "X-Other": "${C_VAR}"}
    short = {"start": 10, "call": 10, "total": 20}

    def docker(*options: str) -> dict[str, Any]:
        return {"command": "docker", "args": ["run", *options], "env": env}

    return {
        "git": container_server(engine, "good", env=env)
        | {"args": ["run", "-i", "-e", "ARG=${C_ARG}", engine.image, "/misbehaving.py", "good"]},
        "starts-not": container_server(engine, "tells-all", "at-start", env=env),
        "dies": container_server(engine, "tells-all", "on-call", env=env),
        "plain": process_server("tells-all", "on-call", env=env),
        "privileged": docker("--privileged", "-e", "X=${C_REFUSED}", engine.image),
        "mounts": docker("-v", "/etc/${C_MOUNT}:/x", engine.image),
        "networks": docker("--network", "${C_REFUSED}", engine.image),
        "flag": docker("--no-such-flag=${C_REFUSED}", engine.image),
        "image": docker("registry.example/${C_IMAGE}:1"),
        "missing": process_server("good", env={"X": "${C_NEVER_SET}", "Y": "${C_VAR}"}),
        "no-file": process_server("good", env={"X": "${file:/nonexistent/${C_VAR}}", "Y": canary("literal")})
        | {"env": {"X": "${file:/nonexistent/x}", "API_KEY": canary("literal")}},
        "away": {"url": "http://127.0.0.1:1/mcp?key=${C_URL}", "headers": headers, "timeouts": short},
        "echoes": {"url": f"http://127.0.0.1:{echo}/${{C_URL}}/mcp?key=${{C_URL}}", "headers": headers,
                   "timeouts": short},
    }  # fmt: skip


def mistaken(document: dict[str, Any]) -> list[str]:
    """Configurations with mistakes beside secrets: one that is no JSON, one that says a name twice, and all others."""
    key = canary("mistake")
    envs = ["${" + key, "${" + key + " x}", [key], key + "\0", {key: key}]
    wrong: dict[str, Any] = {f"env{n}": {"command": "x", "env": {"API_KEY": env}} for n, env in enumerate(envs)}
    wrong |= {
        "whole": {"command": "x", "env": key},
        "args": {"command": "docker", "args": ["run", "-e", {"API_KEY": key}]},
        "limits": {"command": "x", "limits": {"memory": key}, "timeouts": {"start": key}, "isolation": key},
        "user": {"url": f"http://me:{key}@h/mcp", "headers": {"A": f"x\n{key}"}},
        "scheme": {"url": f"ftp://{key}", "headers": {"Authorization": key + "\r\n"}},
    }
    return [
        json.dumps(document)[:-2] + f', "{key}',
        '{"mcpServers": {"a": {"command": "x", "env": {"K": "' + key + '", "K": "' + key + '"}}}}',
        json.dumps({"mcpServers": wrong}),
    ]


def command(gateway: GatewayProcess, env: dict[str, str], *words: str) -> str:
    argv = [sys.executable, "-m", "metamcp", *words]
    done = subprocess.run(argv, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


class Outputs:
    """What came out, by where it came out."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, str]] = []

    def add(self, where: str, text: str) -> None:
        self.texts.append((where, text))

    @property
    def leaks(self) -> list[str]:
        return [
            f"{where}: …{text[max(0, place - 100) : place + 60]}…"
            for where, text in self.texts
            if (place := text.find(MARK)) >= 0
        ]


def ask_operators(gateway: GatewayProcess, out: Outputs) -> None:
    for path in OPERATORS:
        out.add(path, gateway.get(path, timeout=90).text)


def call_all(gateway: GatewayProcess, names: list[str], out: Outputs) -> str:
    """A session that has called every server. What ``git`` says is its caller's own, and so no output here."""
    session = gateway.open_session()
    bearer = {"Authorization": f"Bearer {canary('client')}", "X-Api-Key": canary("client-key")}
    argument = {"text": canary("argument")}
    assert gateway.text(session, "git__echo", argument, **bearer) == canary("argument")
    assert gateway.text(session, "git__env", {"name": "VAR"}, **bearer) == canary("var"), "it has its secret"
    for name in set(names) - {"git"}:
        answer = gateway.call(session, f"{name}__echo", argument, **bearer)
        assert "error" in answer, (name, answer)
        out.add(f"error of {name}", json.dumps(answer))
    return session


def misuse(gateway: GatewayProcess, out: Outputs) -> None:
    """Requests that are wrong, with a canary where the mistake is not."""
    bearer = {"Authorization": f"Bearer {canary('client')}", "Cookie": f"k={canary('cookie')}"}
    for path in ("/metamcp/default/mcp", "/mcp", "/metamcp/nowhere/mcp", "/message?sessionId=x", "/nowhere"):
        for body in (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"x":"%s"}}', b'{"x":"%s', b"[]%s"):
            headers = bearer | {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
            said = gateway.http.post(gateway.url + path, data=body % MARK.encode(), headers=headers, timeout=30)
            out.add(f"POST {path}", f"{said.headers}{said.text}")


def one_sse_session(gateway: GatewayProcess) -> str:
    """Its id stands in the URL of its messages."""
    with gateway.http.get(f"{gateway.url}/sse", stream=True, timeout=30) as stream:
        lines = stream.iter_lines()
        path = next(line[6:].decode() for line in lines if line.startswith(b"data: "))
        gateway.http.post(gateway.url + path, json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, timeout=30)
    return path.partition("sessionId=")[2]


def look_at_machine(engine: Engine, gateway: GatewayProcess, out: Outputs) -> None:
    """What everybody on the machine sees, and what the engine shows besides a container's environment."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            out.add(f"{entry}/cmdline", (entry / "cmdline").read_bytes().decode("utf-8", "replace"))
        except OSError:
            continue
    child = next(child for child in gateway.status()["children"] if child["server"] == "git" and child["session"])
    (container,) = json.loads(engine.docker("inspect", child["containerName"]))
    # The one place where a secret has to stand: whoever may ask the engine can read it there (docs/security.md).
    env = container["Config"].pop("Env")
    assert f"VAR={canary('var')}" in env and f"ARG={canary('arg')}" in env
    assert container["Args"] and container["Config"]["Cmd"]
    out.add("docker inspect", json.dumps(container))


@pytest.mark.timeout(300)
def test_no_output_holds_a_secret_whatever_goes_wrong(engine: Engine, tmp_path: Path) -> None:
    """The log as JSON, which quotes most; how its lines are masked in either form, unit tests show."""
    out, env = Outputs(), environment()
    since = engine.docker("info", "--format", "{{.SystemTime}}").strip()
    more = {"METAMCP_LOG_LEVEL": "DEBUG", "METAMCP_LOG_FORMAT": "json", "DOCKER_HOST": engine.host,
            "GUNICORN_CMD_ARGS": "--access-logfile -", "METAMCP_TEST_IMAGE": engine.image}  # fmt: skip
    with echo_server() as echo:
        configured = servers(engine, tmp_path, echo)
        files = {"METAMCP_CONFIG_DIR": str(tmp_path / "config"), "METAMCP_STATE_DIR": str(tmp_path / "var")}
        with running_gateway(
            tmp_path, configured, images=[engine.image], env=env | more, ready=False
        ) as gateway:  # fmt: skip

            def known() -> bool:
                found = {item["name"]: item for item in gateway.status()["servers"]}
                return all(item["listed"] or item["reason"] for item in found.values())

            eventually(known, "every server was asked", 90)
            session = call_all(gateway, list(configured), out)
            look_at_machine(engine, gateway, out)
            misuse(gateway, out)
            streamed = one_sse_session(gateway)
            ask_operators(gateway, out)
            for words in CLI:
                out.add(" ".join(words), command(gateway, env | more | files, *words))
            servers_json = tmp_path / "config" / "servers.json"
            right = servers_json.read_text()
            for number, wrong in enumerate(mistaken(json.loads(right))):
                servers_json.write_text(wrong)
                for words in (("reload",), ("check-config",)):
                    said = command(gateway, env | more | files, *words)
                    assert "servers.json" in said, (number, said)
                    out.add(f"{words} of mistake {number}", said)
                out.add("status", gateway.get("/api/status").text)
            servers_json.write_text(right)
            assert gateway.stop() == 0
        log = gateway.log
        out.add("log", log)
    for path in (tmp_path / "var").rglob("*"):
        if path.is_file():
            out.add(f"state: {path.name}", path.read_bytes().decode("utf-8", "replace"))
    until = engine.docker("info", "--format", "{{.SystemTime}}").strip()
    out.add("docker events", engine.docker("events", "--since", since, "--until", until, "--format", "{{json .}}"))
    said = dict(out.texts)["/api/servers/dies/stderr?follow=false"]
    for text in (log, said):
        assert "on a call" in text and "***" in text, "what the servers said was there to be searched"
    assert session not in log and streamed not in log, "a session's id is as good as its key"
    assert not out.leaks, "\n".join(out.leaks)


def test_search_finds_a_part_of_a_canary() -> None:
    out = Outputs()
    out.add("here", f"x {canary('var')[:-2]} y")
    assert len(out.leaks) == 1
