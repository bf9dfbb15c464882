"""A session whose server has a call in flight, for faults that strike meanwhile; and what must be left afterwards."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from docker_engine import Engine, report
from gateway_process import GatewayProcess, eventually, processes_with

LABEL = "metamcp.instance"
MODES = ("good", "ignores-eof-and-term")
MARKER = f"marker-{os.urandom(6).hex()}"  # on the command line of every server and of its docker command
GONE_SECONDS = 20.0
SECONDS = 40.0  # for what only a loaded machine delays
STATELESS = "2026-07-28"  # the revision in which a client that hangs up has cancelled its request
ENVELOPE = {f"io.modelcontextprotocol/{key}": value for key, value in {
    "protocolVersion": STATELESS, "clientCapabilities": {}, "clientInfo": {"name": "t", "version": "1"},
}.items()}  # fmt: skip


def servers(engine: Engine) -> dict[str, Any]:
    """One of each mode."""

    def server(mode: str) -> dict[str, Any]:
        args = ["run", "-i", engine.image, "/misbehaving.py", mode, MARKER]
        return {"command": "docker", "args": args, "network": "none", "limits": {"memory": "64m"}, "idleSeconds": 5}

    return {mode: server(mode) for mode in MODES}


def request(tool: str, arguments: dict[str, Any], session: str) -> tuple[bytes, dict[str, str]]:
    """Body and headers of one tools/call, in the session, or without one."""
    params = {"name": tool, "arguments": arguments} | ({} if session else {"_meta": ENVELOPE})
    body = {"jsonrpc": "2.0", "id": tool, "method": "tools/call", "params": params}
    own = {"MCP-Protocol-Version": STATELESS, "Mcp-Method": "tools/call", "Mcp-Name": tool}
    headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    return json.dumps(body).encode(), headers | ({"Mcp-Session-Id": session} if session else own)


class Call:
    """One tools/call in flight, on a thread. ``answers`` are all responses that came for it."""

    def __init__(self, gateway: GatewayProcess, session: str, tool: str, **arguments: Any) -> None:
        self.answers: list[dict[str, Any]] = []
        self._connection = http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=SECONDS)
        self._body, self._headers = request(tool, arguments, session)
        self._thread = threading.Thread(target=self._run, name=f"call-{tool}")
        self._thread.start()

    def vanish(self) -> None:
        """As a client whose process was killed."""
        self._connection.sock.shutdown(socket.SHUT_RDWR)

    def end(self) -> list[dict[str, Any]]:
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), "the call is still in flight"
        return self.answers

    def _run(self) -> None:
        try:
            self._connection.request("POST", "/metamcp/default/mcp", self._body, self._headers)
            response = self._connection.getresponse()
            lines = response.read().decode().splitlines()
        except (OSError, http.client.HTTPException):
            lines = []  # the connection is gone, and no answer came on it
        finally:
            self._connection.close()
        messages = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith(("data: {", "{"))]
        self.answers = [message for message in messages if "result" in message or "error" in message]


class Scene:
    """A session whose server has a call in flight."""

    def __init__(self, engine: Engine, gateway: GatewayProcess, mode: str) -> None:
        self.engine, self.gateway, self.mode = engine, gateway, mode
        self.session = gateway.open_session()
        self.before = self.works()
        self.call = Call(gateway, self.session, f"{mode}__sleep", ms=120_000)
        eventually(lambda: self.child()["state"] == "BUSY", "the call is in flight", SECONDS)

    def child(self) -> dict[str, Any]:
        """The child that serves this session."""
        found = [child for child in self.gateway.status()["children"] if child["session"] == self.session[:8]]
        return found[0] if found else {"state": "none"}

    def works(self) -> str:
        """Who answers a new call: a container's host name and a pid. It may have to wait for the end of a backoff."""
        answers: list[Any] = []

        def answered() -> bool:
            answers.append(self.gateway.call(self.session, f"{self.mode}__whoami", timeout=SECONDS))
            return "result" in answers[-1]

        eventually(answered, f"a new call to {self.mode} succeeds", SECONDS)
        return str(answers[-1]["result"]["content"][0]["text"])

    def error(self) -> dict[str, Any]:
        """The one answer to the call in flight."""
        (answer,) = self.call.end()
        found: dict[str, Any] = answer["error"]
        return found

    def finish(self) -> None:
        """End the session: what is left then is too much."""
        headers = {"Mcp-Session-Id": self.session}
        self.gateway.http.delete(f"{self.gateway.url}/metamcp/default/mcp", headers=headers, timeout=10)


def of_gateway(engine: Engine, gateway: GatewayProcess) -> set[str]:
    return set(engine.containers(f"{LABEL}={gateway.status()['instance']}"))


def in_status(gateway: GatewayProcess) -> set[str]:
    return {child["containerId"] for child in gateway.status()["children"]}


def nothing_is_left(engine: Engine, instance: str) -> None:
    def left() -> list[str]:
        return [*engine.containers(f"{LABEL}={instance}"), *processes_with(MARKER)]

    eventually(lambda: not left(), "no container and no process is left", GONE_SECONDS)


@contextmanager
def evidence(engine: Engine, gateway: GatewayProcess) -> Iterator[None]:
    """What a failure is to be understood from: the containers, their processes, the supervisor's log."""
    try:
        yield
    except BaseException:
        print(report(engine, engine.containers(LABEL)), *processes_with(MARKER), gateway.log[-20_000:], sep="\n")
        raise
