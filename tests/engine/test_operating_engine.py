"""What operators see of containers: which one runs, how it was started, and what killed it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from containers import container_server
from docker_engine import Engine
from gateway_process import ROOT, eventually, running_gateway, write_config
from operators import IN_TIME, Operator, server_of, until
from registry import registry

from metamcp.runtime.engine import Engine as EngineApi

CANARY = f"canary-{secrets.token_hex(8)}"


@IN_TIME
def test_a_container_shows_what_was_run_and_what_killed_it(engine: Engine, tmp_path: Path) -> None:
    own = container_server(engine, "good", isolation="shared", env={"TOKEN": "${OPERATOR_CANARY}"})
    own["args"] = [*own["args"], "${OPERATOR_CANARY}"]
    env = {**engine.env, "OPERATOR_CANARY": CANARY}
    with running_gateway(tmp_path, {"git": own}, images=[engine.image], env=env) as gateway:
        operator, session = Operator(gateway, env=env), gateway.open_session()
        gateway.text(session, "git__whoami")
        (child,) = [child for child in gateway.status()["children"] if child["state"] in ("READY", "BUSY")]
        name = child["containerName"]
        command = operator.server("git")["command"]
        assert command[:2] == ["docker", "run"] and command[-1] == "***" and f"--name={name}" in command
        with operator.events("/api/events") as events:
            until(events, "status", lambda _status: True)
            begun = time.monotonic()
            engine.docker("kill", name)

            def shown(status: Any) -> bool:
                ended = server_of(status, "git")["lastExit"]
                return bool(ended) and ended["exitCode"] == 137

            ended = server_of(until(events, "status", shown), "git")["lastExit"]
            assert time.monotonic() - begun < 2
        assert "SIGKILL" in ended["reason"]
        with operator.events("/api/servers/git/stderr?follow=false") as lines:
            said = [json.loads(event.data) for event in lines]
        assert {"line": "ready", "container": name} in [{key: it[key] for key in ("line", "container")} for it in said]
        taken = operator.order("/api/servers/git/accept-image")
        assert taken.status_code == 200 and taken.json()["done"] and engine.image in taken.json()["text"]
        assert operator.order("/api/servers/git/restart").json()["done"]
        eventually(lambda: operator.server("git")["instances"] == 1, "a new one is there", 20)
        shown_everywhere = json.dumps(gateway.status()) + operator.command("status") + gateway.log
        assert CANARY not in shown_everywhere
        gateway.end_session(session)


def test_images_are_fetched_before_anybody_waits_for_them(engine: Engine, tmp_path: Path) -> None:
    with EngineApi(engine.host) as api, registry(api.version().arch) as reference:
        other = reference.replace("hello", "other")
        servers = {
            name: {"command": "docker", "args": ["run", "-i", image]}
            for name, image in {"here": engine.image, "git": reference, "nope": other}.items()
        }
        files = write_config(tmp_path, servers, [engine.image, reference, other])
        env = {**os.environ, **engine.env, **files}

        def pull(*names: str) -> tuple[int, list[str]]:
            argv = [sys.executable, "-m", "metamcp", "images", "pull", *names]
            done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
            return done.returncode, (done.stdout + done.stderr).splitlines()

        try:
            here = f"here: docker.io/library/{engine.image} is there"
            assert pull("git", "here") == (0, [f"git: {reference} was fetched", here])
            status, lines = pull()
            assert status == 1 and lines[:2] == [here, f"git: {reference} is there"]
            assert "was not fetched" in lines[2] and "manifest" in lines[2]
            assert pull("nobody")[1] == ["Error: there is no server 'nobody'; configured: git, here, nope"]
        finally:
            engine.docker("image", "rm", reference)
