"""The real thing for tests: gunicorn with its workers and the supervisor, on a free port of loopback."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parent.parent
MISBEHAVING = str(ROOT / "tests" / "servers" / "misbehaving.py")
START_SECONDS, STOP_SECONDS = 60.0, 15.0
_LINKED = "link-connected"  # said by a web worker that has reached a supervisor


def process_server(mode: str, *options: str, **keys: Any) -> dict[str, Any]:
    """A configured server that is a plain process of the misbehaving server."""
    return {"command": sys.executable, "args": ["-I", "-S", MISBEHAVING, mode, *options], **keys}


def eventually(true: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Wait until ``true()``, asking again and again; fails with ``what`` when it does not come true."""
    pause, until = threading.Event(), time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"not within {seconds:g} s: {what}"
        pause.wait(0.05)


class GatewayProcess:
    """A running gateway; ``url`` has no slash at its end. ``http`` opens a connection for each request: a kept one
    would look like one that a test left behind."""

    http = requests

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder
        self._links = 0  # how often workers have to have said so before the gateway is ready

    @property
    def log(self) -> str:
        return (self.folder / "gateway.log").read_text("utf-8", "replace")

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.http.get(self.url + path, timeout=options.pop("timeout", 10), **options)

    def status(self) -> dict[str, Any]:
        return self.get("/api/status").json()  # type: ignore[no-any-return]

    def rpc(
        self, method: str, params: Mapping[str, Any] | None = None, *, session: str = "", id: Any = 1,
        endpoint: str = "default", timeout: float = 30, **headers: str,
    ) -> requests.Response:  # fmt: skip
        """One request of a Streamable HTTP client that takes JSON."""
        body: dict[str, Any] = {"jsonrpc": "2.0", "id": id, "method": method}
        if params is not None:
            body["params"] = params
        known = {"Accept": "application/json, text/event-stream"} | ({"Mcp-Session-Id": session} if session else {})
        return self.http.post(
            f"{self.url}/metamcp/{endpoint}/mcp", json=body, headers=known | headers, timeout=timeout
        )

    def open_session(self, revision: str = "2025-11-25", endpoint: str = "default", **capabilities: Any) -> str:
        """The id of a new initialized session."""
        hello = {"protocolVersion": revision, "capabilities": capabilities, "clientInfo": {"name": "t", "version": "1"}}
        answer = self.rpc("initialize", hello, endpoint=endpoint)
        assert answer.status_code == 200, answer.text
        return answer.headers["Mcp-Session-Id"]

    def notify(self, method: str, params: Mapping[str, Any] | None = None, *, session: str) -> None:
        """One notification of a Streamable HTTP client."""
        body = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        headers = {"Accept": "application/json, text/event-stream", "Mcp-Session-Id": session}
        answer = self.http.post(f"{self.url}/metamcp/default/mcp", json=body, headers=headers, timeout=30)
        assert answer.status_code == 202, answer.text

    def end_session(self, session: str) -> None:
        """DELETE, as a client that leaves properly."""
        url, headers = f"{self.url}/metamcp/default/mcp", {"Mcp-Session-Id": session}
        assert self.http.delete(url, headers=headers, timeout=30).ok

    def call(self, session: str, tool: str, arguments: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """The JSON-RPC response to one tools/call."""
        answer = self.rpc("tools/call", {"name": tool, "arguments": arguments or {}}, session=session, **options)
        if answer.headers["Content-Type"].startswith("text/event-stream"):
            events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
            return events[-1]
        return answer.json()

    def text(self, session: str, tool: str, arguments: Mapping[str, Any] | None = None, **options: Any) -> str:
        """The text of one successful tools/call."""
        answer = self.call(session, tool, arguments, **options)
        assert "result" in answer, answer
        return str(answer["result"]["content"][0]["text"])

    def call_alone(self, tool: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """As ``call``, in a session of its own."""
        session = self.open_session()
        try:
            return self.call(session, tool, arguments)
        finally:
            self.end_session(session)

    @property
    def supervisor_pid(self) -> int:
        return int(self.status()["supervisor"]["pid"])

    def kill_supervisor(self) -> int:
        """Its pid. ``wait_ready`` waits for every web worker from now on: each looks for the next one by itself."""
        pid = self.supervisor_pid
        self._links = self.log.count(_LINKED) + len(self.worker_pids)
        os.kill(pid, signal.SIGKILL)
        return pid

    @property
    def worker_pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [pid for pid in map(int, children) if b"gunicorn" in _command(pid)]

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Until every enabled server is known."""
        ready = lambda: self._answers("/ready") and self.log.count(_LINKED) >= self._links  # noqa: E731
        eventually(ready, f"/ready\n{self.log}", seconds)

    def wait_up(self) -> None:
        """Until the supervisor answers, whatever its servers do."""
        eventually(lambda: self._answers("/api/status"), f"/api/status\n{self.log}", START_SECONDS)

    def _answers(self, path: str) -> bool:
        assert self.process.poll() is None, f"the gateway ended: {self.log}"
        try:
            return self.get(path).status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it and wait for its end; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


def write_config(
    folder: Path, servers: Mapping[str, Any], images: list[Any] | None = None, **more: Any
) -> dict[str, str]:
    """Configuration files in ``folder``; the environment that points there. ``seed`` is a whole other document."""
    config = folder / "config"
    config.mkdir(parents=True, exist_ok=True)
    document = more.get("seed", {"mcpServers": servers, **more})
    (config / "servers.json").write_text(json.dumps(document))
    (config / "allowlist.json").write_text(json.dumps({"images": images or []}))
    return {"METAMCP_CONFIG_DIR": str(config), "METAMCP_STATE_DIR": str(folder / "var")}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_gateway(
    folder: Path,
    servers: Mapping[str, Any],
    *,
    images: list[Any] | None = None,
    workers: int = 1,
    env: Mapping[str, str] | None = None,
    ready: bool = True,
    python: str = sys.executable,
    **more: Any,
) -> Iterator[GatewayProcess]:
    """A gateway for the length of a test. On failure its log is printed by pytest, as it goes to standard output."""
    port = free_port()
    own = write_config(folder, servers, images, **more) | {
        "METAMCP_BIND": f"127.0.0.1:{port}", "WEB_CONCURRENCY": str(workers), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [python, "-m", "gunicorn", "-c", "config/gunicorn.conf.py", "wsgi:app"],
            cwd=ROOT, env={**os.environ, **own, **(env or {})}, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    gateway = GatewayProcess(process, port, folder)
    try:
        gateway.wait_ready() if ready else gateway.wait_up()
        yield gateway
    finally:
        try:
            gateway.stop()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(5)
            print(re.sub(r"(?m)^.*(GET|POST) .*$\n?", "", gateway.log))


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""  # it ended meanwhile


def processes_with(text: str) -> list[str]:
    """Command lines of all processes of this machine that contain ``text``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if text in line:
                found.append(f"{entry.name}: {line}")
    return found
