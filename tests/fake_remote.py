"""A remote child on a real reactor, and a server without sockets for it: ``responses`` answers what a test says."""

from __future__ import annotations

import io
import json
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests
import responses

from metamcp.concurrency.reactor import Reactor
from metamcp.config.model import ServerSpec, Timeouts
from metamcp.config.secrets import ResolvedServer, resolve_server
from metamcp.runtime.child import Exit
from metamcp.upstream.remote.child import RemoteChild

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes | io.BufferedReader]
Script = Callable[[requests.PreparedRequest, Json], Answer | Exception | None]
SECONDS = 10.0
URL = "http://far.example/mcp"
SPEC = ServerSpec(
    "far", transport="streamable-http", url=URL, headers={"Authorization": "Bearer ${TOKEN}"},
    timeouts=Timeouts(5, 5, 5),
)  # fmt: skip
HELLO: Json = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}
INITIALIZED: Json = {"jsonrpc": "2.0", "method": "notifications/initialized"}


class Breaks(io.RawIOBase):
    """A body that is cut off."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read = self._data.readinto(buffer)
        if not read:
            raise ConnectionResetError(104, "Connection reset by peer")
        return read


def result(identifier: object, value: object = None, **headers: str) -> Answer:
    """A JSON body with the answer to a request."""
    body = json.dumps({"jsonrpc": "2.0", "id": identifier, "result": value or {}}).encode()
    return 200, {"Content-Type": "application/json", **headers}, body


def stream(data: bytes, breaks: bool = False, **headers: str) -> Answer:
    """An event stream, cut off at its end or closed."""
    body = io.BufferedReader(Breaks(data)) if breaks else data
    return 200, {"Content-Type": "text/event-stream; charset=utf-8", **headers}, body


def event(message: object, event_id: str = "", retry: int | None = None) -> bytes:
    head = (f"id: {event_id}\n" if event_id else "") + (f"retry: {retry}\n" if retry is not None else "")
    data = message if isinstance(message, str) else json.dumps(message)
    return f"{head}data: {data}\n\n".encode()


def answer(identifier: object, value: object = None) -> Json:
    return {"jsonrpc": "2.0", "id": identifier, "result": value or {}}


class Far:
    """``script`` answers each request; None in its place is what a plain server with a session would say. Without
    ``mock`` the requests go to the real address of ``spec``."""

    def __init__(self, reactor: Reactor, spec: ServerSpec, mock: responses.RequestsMock | None = None) -> None:
        self.reactor = reactor
        self.spec = spec
        self.script: Script = lambda _request, _body: None
        self.requests: queue.Queue[requests.PreparedRequest] = queue.Queue()
        self.seen: list[requests.PreparedRequest] = []
        self.lines: queue.Queue[Json | Exit] = queue.Queue()
        self.sessions = 0
        for method in (responses.GET, responses.POST, responses.DELETE) if mock is not None else ():
            mock.add_callback(method, spec.url, self._answer)
        self.child: RemoteChild = self.do(self._start)

    def _start(self) -> RemoteChild:
        child = RemoteChild(self.reactor, self.spec, "session-1", self.resolve)
        child.on_data = lambda data: self.lines.put(json.loads(data) if data.startswith(b"{") else {"raw": data})
        child.on_exit = self.lines.put
        return child

    def resolve(self, spec: ServerSpec) -> ResolvedServer:
        return resolve_server(spec, {"TOKEN": "sesame"}, lambda path: path)

    def _answer(self, request: requests.PreparedRequest) -> Any:
        self.seen.append(request)
        self.requests.put(request)
        body = json.loads(request.body) if request.body else {}
        given = self.script(request, body) or self.usual(request, body)
        if isinstance(given, Exception):
            raise given
        return given

    def usual(self, request: requests.PreparedRequest, body: Json) -> Answer:
        if request.method == "GET":
            return 405, {}, b""
        if body.get("method") == "initialize":
            self.sessions += 1
            found = {"protocolVersion": "2025-11-25", "capabilities": {}}
            return result(body["id"], found, **{"Mcp-Session-Id": f"s-{self.sessions}"})
        if "id" in body and "method" in body:
            return result(body["id"], {"method": body["method"]})
        return 202, {}, b""

    # --- what a conversation does ------------------------------------------------------------------------

    def do(self, call: Callable[[], Any]) -> Any:
        """Run ``call`` on the reactor's thread."""
        done: queue.Queue[Any] = queue.Queue()
        self.reactor.call_soon(lambda: done.put(call()))
        return done.get(timeout=SECONDS)

    def write(self, *messages: Json) -> None:
        for message in messages:
            self.do(lambda message=message: self.child.write(json.dumps(message).encode() + b"\n"))  # type: ignore[misc]

    def call(self, identifier: object = 2, method: str = "tools/call", **params: object) -> None:
        self.write({"jsonrpc": "2.0", "id": identifier, "method": method, "params": params})

    def hear(self) -> Any:
        """The next line, or the Exit."""
        return self.lines.get(timeout=SECONDS)

    def handshake(self) -> None:
        self.write(HELLO)
        assert self.hear()["id"] == 1
        self.write(INITIALIZED)
        self.until("GET")

    def until(self, method: str) -> requests.PreparedRequest:
        """The next HTTP request, or the next POST of this JSON-RPC method; what came before is passed over."""
        while True:
            request = self.requests.get(timeout=SECONDS)
            if request.method == method or (request.body and json.loads(request.body).get("method") == method):
                return request

    def count(self, method: str) -> int:
        """How often that came so far."""
        bodies = [json.loads(request.body) if request.body else {} for request in self.seen]
        return sum(body.get("method") == method for body in bodies)

    def stop(self) -> Exit:
        self.do(lambda: self.child.stop("enough"))
        while not isinstance(told := self.hear(), Exit):
            pass
        return told


@contextmanager
def running(spec: ServerSpec, mock: responses.RequestsMock | None = None) -> Iterator[Far]:
    """A child that has begun, and is gone at the end."""
    reactor = Reactor()
    reactor.start()
    try:
        one = Far(reactor, spec, mock)
        yield one
        if one.child.exit is None:
            one.stop()
    finally:
        reactor.close()


@contextmanager
def far(spec: ServerSpec = SPEC) -> Iterator[Far]:
    """The same with a server without sockets."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock, running(spec, mock) as one:
        yield one
