"""The upstream side without processes: a reactor whose clock stands still, children that a test speaks for."""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable
from typing import Any

from metamcp.concurrency.reactor import Timer
from metamcp.config.model import ServerSpec
from metamcp.errors import MetaMCPError
from metamcp.protocol.jsonrpc import Raw
from metamcp.runtime.child import Exit
from metamcp.runtime.places import Caps, Place, Scope
from metamcp.runtime.starts import Starts
from metamcp.runtime.states import ChildState, may_follow
from metamcp.runtime.stderr import StderrRing

Json = dict[str, Any]
_CAPS = Caps()
Script = Callable[["FakeChild", Json], None]
HELLO = b'{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}'


class FakeReactor:
    """Runs what is due when it is told to. ``advance`` is the only thing that moves time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._soon: list[Callable[[], None]] = []
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def clock(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self.now + seconds, callback)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def call_every(self, seconds: float, callback: Callable[[], None]) -> None:
        def again() -> None:
            self.call_later(seconds, again)
            callback()

        self.call_later(seconds, again)

    def turn(self, most: int = 10_000) -> None:
        """Run what was called soon, and what that calls soon; a loop without end is an error."""
        for _ in range(most):
            if not self._soon:
                return
            self._soon.pop(0)()
        raise AssertionError("the callbacks never come to an end")

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        self.turn()
        while self._timers and self._timers[0][0] <= until:
            due, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, due)
            if timer.callback is not None:
                timer.callback()
                self.turn()
        self.now = until


class FakeChild:
    """Records what is written to it. ``say`` is its standard output, ``die`` its end."""

    def __init__(self, reactor: FakeReactor, server: str, session: str, script: Script | None) -> None:
        self.server, self.session = server, session
        self.state = ChildState.STARTING
        self.since = self.born = self.begun = reactor.clock()
        self.plan: Any = None
        self.command: list[str] | None = None
        self.container_id = ""
        self.is_container = False
        self.pid: int | None = 1
        self.runs = True
        self.exit: Exit | None = None
        self.queued = False
        self.unread = 0
        self.error: MetaMCPError | None = None
        self.stderr = StderrRing()
        self.on_data: Callable[[bytes], None] = lambda _chunk: None
        self.on_exit: Callable[[Exit], None] = lambda _exit: None
        self.on_change: Callable[[], None] = lambda: None
        self.written: list[bytes] = []
        self.reason = ""
        self._reactor = reactor
        self._script = script

    @property
    def container_name(self) -> str:
        return self.plan.container_name if self.plan else ""

    @property
    def short_session(self) -> str:
        return self.session[:8]

    @property
    def messages(self) -> list[Json]:
        return [json.loads(line) for line in self.written]

    def sent(self, method: str) -> list[Json]:
        """The messages with this method that came so far."""
        return [message for message in self.messages if message.get("method") == method]

    def write(self, data: bytes) -> None:
        if self.state in (ChildState.STOPPING, ChildState.EXITED):
            return
        assert data.endswith(b"\n") and data.count(b"\n") == 1
        self.written.append(data)
        if self._script is not None:
            script, message = self._script, json.loads(data)
            self._reactor.call_soon(lambda: script(self, message))

    def become(self, state: ChildState) -> None:
        if state is not self.state and may_follow(self.state, state):
            self.state, self.since = state, self._reactor.clock()
            self.on_change()

    def stop(self, reason: str = "") -> None:
        if self.state in (ChildState.STOPPING, ChildState.EXITED):
            return
        self.reason = reason
        self.become(ChildState.STOPPING)
        if self.queued:
            self._reactor.call_soon(lambda: self.die(None))

    # --- what the process would do ---------------------------------------------------------------------

    def say(self, *messages: Json | bytes) -> None:
        for message in messages:
            self.on_data((message if isinstance(message, bytes) else json.dumps(message).encode()) + b"\n")

    def result(self, identifier: object, result: object) -> None:
        self.say({"jsonrpc": "2.0", "id": identifier, "result": result})

    def notify(self, method: str, **params: object) -> None:
        self.say({"jsonrpc": "2.0", "method": method, "params": params})

    def initialized(self, capabilities: Json | None = None, **more: object) -> None:
        """Answer ``initialize``."""
        info = {"name": self.server, "version": "1"}
        says = {"protocolVersion": "2025-11-25", "capabilities": capabilities or {}, "serverInfo": info}
        self.result(self.sent("initialize")[0]["id"], says | more)

    def die(
        self, code: int | None = 0, signal: str | None = None, stderr: tuple[str, ...] = (), oom_killed: bool = False
    ) -> None:
        assert self.exit is None
        self.exit = Exit(code, signal, stderr, self.reason, oom_killed)
        self.become(ChildState.EXITED)
        self.on_exit(self.exit)

    def fail(self, error: MetaMCPError) -> None:
        """It could not be started at all."""
        self.error, self.reason = error, error.text
        self.die(None)


class FakeSupervisor:
    """``started``: children whose turn has come. Who has to wait for a place is decided by the real ``Starts``."""

    def __init__(self, reactor: FakeReactor, script: Script | None = None, caps: Caps = _CAPS) -> None:
        self._reactor = reactor
        self._starts: Any = Starts(reactor, 1000, caps)  # type: ignore[arg-type]
        self.script = script
        self.started: list[FakeChild] = []
        self.ended: list[FakeChild] = []
        self.refusal: MetaMCPError | None = None
        self.free_starts = 4

    @property
    def children(self) -> tuple[FakeChild, ...]:
        return tuple(child for child in self.started if child not in self.ended)

    @property
    def lacking(self) -> list[tuple[FakeChild, Scope]]:
        return self._starts.lacking  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        """``lacks``, ``full_for`` and ``place`` are those of the real one."""
        return getattr(self._starts, name)

    def start(self, spec: ServerSpec, session: str, place: Place) -> FakeChild:
        if self.refusal is not None:
            raise self.refusal
        child = FakeChild(self._reactor, spec.name, session, self.script)
        if spec.url:
            self.started.append(child)
        else:
            self._starts.add(child, place, lambda: self.started.append(child))
        return child

    def assign(self, child: FakeChild, session: str, principal: str) -> None:
        child.session = session
        self._starts.move(child, principal)

    def gone(self, child: FakeChild) -> None:
        self.ended.append(child)


class Hears:
    """A Listener that remembers."""

    def __init__(self) -> None:
        self.ready = 0
        self.withdrawn: list[bytes] = []
        self.requests: list[tuple[bytes, str, bytes]] = []
        self.notifications: list[tuple[str, bytes]] = []

    def on_ready(self, connection: object) -> None:
        self.ready += 1

    def on_gone(self, connection: object) -> None: ...

    def on_withdrawn(self, connection: object, identifier: bytes) -> None:
        self.withdrawn.append(identifier)

    def on_request(self, connection: object, identifier: bytes, method: str, params: Raw) -> None:
        self.requests.append((identifier, method, bytes(params)))

    def on_notification(self, connection: object, method: str, params: Raw) -> None:
        self.notifications.append((method, bytes(params)))


class Outcome:
    """``on_done`` of a call: remembers how it ended, and how often."""

    def __init__(self) -> None:
        self.ends: list[tuple[bytes | None, bytes | MetaMCPError | None]] = []

    def __call__(self, result: bytes | None, error: bytes | MetaMCPError | None) -> None:
        self.ends.append((result, error))

    @property
    def result(self) -> bytes | None:
        ((result, _),) = self.ends
        return result

    @property
    def error(self) -> Any:
        ((_, error),) = self.ends
        return error


class ScriptedServer:
    """Answers like an MCP server. ``lists``: method -> pages, each a list of items; a list method that is not
    there is an unknown one. ``calls`` and every other request are left to the test."""

    def __init__(self, lists: dict[str, list[list[Json]]] | None = None, **says: object) -> None:
        self.lists = lists if lists is not None else {}
        self.says = says
        self.loops = False
        self.on_list: Callable[[FakeChild], None] | None = None
        self.on_initialized: Callable[[FakeChild], None] | None = None
        self.capabilities: Json = {}
        for method in self.lists:
            self.capabilities[method.split("/")[0]] = {"listChanged": True}

    def __call__(self, child: FakeChild, message: Json) -> None:
        method = message.get("method", "")
        if method == "server/discover":
            error = {"code": -32601, "message": "unknown method"}
            child.say({"jsonrpc": "2.0", "id": message["id"], "error": error})
        elif method == "initialize":
            child.initialized(self.capabilities, **self.says)
        elif method == "notifications/initialized" and self.on_initialized is not None:
            self.on_initialized(child)
        elif method.endswith("/list"):
            self._list(child, message)
        elif method == "logging/setLevel":
            child.result(message["id"], {})

    def _list(self, child: FakeChild, message: Json) -> None:
        method = message["method"]
        if method not in self.lists:
            child.say({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no such method"}})
            return
        pages = self.lists[method]
        number = int(message["params"].get("cursor", "0"))
        member = {"resources/templates/list": "resourceTemplates"}.get(method, method.split("/")[0])
        result: Json = {member: pages[number]}
        if self.loops or number + 1 < len(pages):
            result["nextCursor"] = str(number if self.loops else number + 1)
        if self.on_list is not None:
            self.on_list(child)
        if child.exit is None:
            child.result(message["id"], result)


class ModernServer(ScriptedServer):
    """Answers ``server/discover`` and lists; everything else is left to the test."""

    def __call__(self, child: FakeChild, message: Json) -> None:
        if message.get("method") == "server/discover":
            found = {"supportedVersions": ["2026-07-28"], "capabilities": self.capabilities}
            child.result(message["id"], found | self.says)
        else:
            super().__call__(child, message)


def tool(name: str, **more: object) -> Json:
    return {"name": name, "inputSchema": {"type": "object"}} | more
