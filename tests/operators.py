"""An operator of a gateway under test: with a key over HTTP, and on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from gateway_process import ROOT, GatewayProcess

from metamcp.protocol.sse import EventReader, ServerEvent

SECONDS = 20.0

IN_TIME = pytest.mark.flaky(reruns=4)
"""For a test that gives the gateway two seconds: that the machine stood still meanwhile says nothing of the gateway."""


class Operator:
    """``key`` may be empty, where there are none."""

    def __init__(self, gateway: GatewayProcess, key: str = "", env: Mapping[str, str] | None = None) -> None:
        self.gateway = gateway
        self.headers = {"X-API-Key": key} if key else {}
        own = {"METAMCP_CONFIG_DIR": gateway.folder / "config", "METAMCP_STATE_DIR": gateway.folder / "var",
               "METAMCP_BIND": gateway.url.removeprefix("http://")}  # fmt: skip
        self.env = {**os.environ, **{name: str(value) for name, value in own.items()}, **(env or {})}

    def get(self, path: str, **headers: str) -> Any:
        answer = requests.get(self.gateway.url + path, headers=self.headers | headers, timeout=SECONDS)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def order(self, path: str) -> requests.Response:
        return requests.post(self.gateway.url + path, headers=self.headers, timeout=SECONDS)

    def server(self, name: str) -> dict[str, Any]:
        return server_of(self.get("/api/status"), name)

    @contextmanager
    def events(self, path: str, **headers: str) -> Iterator[Iterator[ServerEvent]]:
        """As they come, until the stream ends."""
        known = self.headers | headers
        response = requests.get(self.gateway.url + path, headers=known, stream=True, timeout=SECONDS)
        with closing(response):
            assert response.status_code == 200, response.text
            yield _events(response)

    def command(self, *words: str, status: int = 0, **options: Any) -> str:
        """What the command printed on standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "metamcp", *words], cwd=ROOT, env=self.env, capture_output=True, text=True,
            timeout=60, **options,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if status == 0 else done.stdout + done.stderr

    def audited(self) -> list[dict[str, Any]]:
        """What operators have ordered, as the audit log has it so far."""
        return audited(self.gateway)


class Administrator(Operator):
    """One who changes the configuration. ``folder``: where that is."""

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


def _events(response: requests.Response) -> Iterator[ServerEvent]:
    reader = EventReader(16 * 1024 * 1024)
    for chunk in response.iter_content(None):
        yield from reader.feed(chunk)


def server_of(status: Mapping[str, Any], name: str) -> dict[str, Any]:
    (found,) = [server for server in status["servers"] if server["name"] == name]
    return dict(found)


def until(events: Iterator[ServerEvent], name: str, true: Callable[[Any], bool]) -> Any:
    """The first document of this name that is so."""
    return next(document for event in events if event.name == name and true(document := json.loads(event.data)))


def audited(gateway: GatewayProcess) -> list[dict[str, Any]]:
    """What operators did, in the audit log."""
    lines = (gateway.folder / "var" / "audit.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == "operator"]


def keys(gateway: GatewayProcess, *arguments: str) -> str:
    """What ``metamcp keys`` writes."""
    own = {"METAMCP_CONFIG_DIR": gateway.folder / "config", "METAMCP_STATE_DIR": gateway.folder / "var"}
    done = subprocess.run(
        [sys.executable, "-m", "metamcp", "keys", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30,
        env={**os.environ, **{name: str(path) for name, path in own.items()}},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
